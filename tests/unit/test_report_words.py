"""Words and privacy of the report: numbers as journals print them, identifiers never."""

import numpy as np
import pytest

from oncoweave.evaluate.metrics import MAIN
from oncoweave.serve import wording
from oncoweave.serve.page import Page, Prose, Section, Verdict, render
from oncoweave.serve.privacy import eraser


@pytest.mark.parametrize(
    ("value", "sign", "wanted"),
    [
        (0.1234, False, "0.123"),
        (-0.02, False, "−0.020"),
        (0.02, True, "+0.020"),
        (-0.0001, True, "0.000"),
        (float("nan"), True, "–"),
    ],
)
def test_numbers(value, sign, wanted):
    assert wording.number(value, sign=sign) == wanted


@pytest.mark.parametrize("value", [14, 14.0, np.int64(14), np.float32(14)])
def test_counts_of_any_number_type(value):
    assert wording.count(value) == "14"


@pytest.mark.parametrize(
    ("p", "wanted"), [(0.0, "p < 0.001"), (0.00099, "p < 0.001"), (0.0321, "p = 0.032"), (0.21, "p = 0.21"), (1.0, "p = 1.00")]
)
def test_p_values_are_never_zero(p, wanted):
    assert wording.p_equals(p) == wanted


def test_estimates_without_value_or_interval_say_so():
    assert wording.estimate(float("nan"), 0.1, 0.2) == "not estimable"
    assert wording.estimate(0.5, float("nan"), 0.6) == "0.500 (no interval)"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("auc@36", "time-dependent AUC at 36 months"),
        ("brier@12.0", "Brier score at 12 months"),
        ("balanced_accuracy", "balanced accuracy"),
        ("something_new", "something new"),
    ],
)
def test_measures_with_a_horizon_name_their_unit(name, wanted):
    assert wording.measure(name, "months") == wanted


def test_measures_of_a_label_name_the_label():
    assert wording.measure("auroc@edema") == "AUROC, edema"


def test_the_first_measure_of_every_kind_is_explained():
    assert [kind for kind, names in MAIN.items() if not wording.meaning(names[0])] == []


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("a+b+c+d", "every modality"),
        ("a+b+c", "all but d"),
        ("a+b", "a + b"),
        ("", "no modality"),
    ],
)
def test_combinations_are_named_by_the_shorter_way(pattern, wanted):
    assert wording.combination(pattern, ["a", "b", "c", "d"]) == wanted


def test_counts_and_lists():
    assert wording.plural(1, "patient") == "1 patient"
    assert wording.plural(12345, "patient") == "12\u202f345 patients"
    assert wording.listed(["a", "b", "c"], last="or") == "a, b or c"
    assert wording.percent(1, 30) == "3.3%"
    assert wording.percent(15, 30) == "50%"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("dropped TCGA-AA-1234 twice", "dropped [patient] twice"),
        ("bags/TCGA-AA-1234.h5", "bags/[patient].h5"),
        ("TCGA-AA-12345 is another", "TCGA-AA-12345 is another"),
        ("two rows of patient 007, mean taken", "two rows of patient [patient], mean taken"),
        ("first '007'", "first '[patient]'"),
        ("007 is also a number", "007 is also a number"),
        ("Patient Anna is in Anna hospital", "Patient [patient] is in Anna hospital"),
        ("file a(1*.csv", "file [patient].csv"),
    ],
)
def test_identifiers_are_erased_and_counts_are_not(text, wanted):
    assert eraser(["TCGA-AA-1234", "TCGA-AA-1", "007", "Anna", "a(1*"])(text) == wanted


def test_text_of_tables_cannot_become_markup():
    verdict = Verdict(headline="<i>", sentences=("<script>x</script>",), figures=())
    section = Section(key="s", title="<b>", blocks=(Prose(text="a<b_c"),))
    html = render(Page(title="</title>", facts=(("n", "<"),), verdict=verdict, sections=(section,), colophon="&"))
    assert "<script" not in html
    assert "<i>" not in html
    assert "a&lt;b_<wbr>c" in html
    assert "+<wbr>0" not in render(Page(title="t", facts=(), verdict=verdict, sections=(), colophon="+0.1"))
