"""Who has what, and how long patients were followed."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.describe import NOTHING, describe, median_follow_up, missingness, patterns
from oncoweave.data.plausible import check_times

SURVIVAL = Endpoint(name="os", kind="survival", columns=("t", "e"), time_unit="days")


def cohort_of(have: dict[str, str]) -> Cohort:
    """Five patients; ``have`` says for each modality which of them (letters) have it. a, b and e died, of c nothing is known."""
    patients = pd.DataFrame(
        {"t": [1, 2, np.nan, 4, 5], "e": [1, 1, np.nan, 0, 1.0]}, index=pd.Index(list("abcde"), name="patient_id")
    )
    tables = {name: pd.DataFrame({"patient_id": list(who), "sample_id": list(who), "x": 1.0}) for name, who in have.items()}
    specs = {name: ModalitySpec(name=name, kind="record") for name in have}
    return Cohort(name="five", patients=patients, tables=tables, modalities=specs, endpoints={"os": SURVIVAL})


def test_every_patient_is_in_one_pattern_and_in_all_smaller_subsets():
    cohort = cohort_of({"rna": "abc", "he": "abd"})
    assert patterns(cohort).tolist() == ["rna+he", "rna+he", "rna", "he", NOTHING]
    table = missingness(cohort, endpoint="os", subsets=True).set_index("pattern")
    assert len(table) == 4
    assert table["n"].to_dict() == {"rna+he": 2, "rna": 1, "he": 1, NOTHING: 1}
    assert table["events"].to_dict() == {"rna+he": 2, "rna": 0, "he": 0, NOTHING: 1}  # c is not known: no event
    assert table["n_at_least"].to_dict() == {"rna+he": 2, "rna": 3, "he": 3, NOTHING: 5}
    assert table["events_at_least"].to_dict() == {"rna+he": 2, "rna": 2, "he": 2, NOTHING: 3}
    assert table["share"].sum() == pytest.approx(1)
    assert table.loc["rna", ["has rna", "has he"]].tolist() == [True, False]


def test_subsets_of_nobody_are_listed_when_asked_for():
    cohort = cohort_of({"a": "abcde", "b": "abcde", "c": "abcde"})
    assert missingness(cohort, endpoint="os")["pattern"].tolist() == ["a+b+c"]
    assert missingness(cohort, endpoint="os", subsets=True)["n"].tolist() == [5] + [0] * 7
    without = missingness(cohort)
    assert without["events"].isna().all()


def test_modalities_may_be_called_as_the_columns_are():
    table = missingness(cohort_of({"n": "abc", "pattern": "abd"}))
    assert table[["pattern", "n"]].to_numpy().tolist() == [["n+pattern", 2], ["pattern", 1], ["n", 1], [NOTHING, 1]]


def test_a_cohort_without_modalities_has_one_pattern():
    assert missingness(cohort_of({}), endpoint="os")[["pattern", "n", "events"]].to_numpy().tolist() == [[NOTHING, 5, 3]]


def test_median_follow_up_is_kaplan_meier_of_the_censoring():
    # four patients censored at 10, 20, 30, 40: half are still followed until 20
    target = Target(endpoint=SURVIVAL, values=np.array([[10, 0], [20, 0], [30, 0], [40, 0.0]]))
    assert median_follow_up(target) == 20
    # deaths leave the risk set: censored at 20 of {20, 40} is one half
    target = Target(endpoint=SURVIVAL, values=np.array([[10, 1], [20, 0], [15, 1], [40, 0.0], [np.nan, 0]]))
    assert median_follow_up(target) == 20
    # a death at the time of a censoring leaves first: of two at risk at 20 one died, so the one censored is everybody
    target = Target(endpoint=SURVIVAL, values=np.array([[20, 0], [20, 1.0]]))
    assert median_follow_up(target) == 20
    assert median_follow_up(Target(endpoint=SURVIVAL, values=np.array([[20, 1], [30, 1.0]]))) == np.inf


def test_description_counts_what_is_there():
    about = describe(cohort_of({"rna": "abc", "he": "abd"}))
    assert about.endpoint == "os"
    assert about.endpoints[["name", "known", "summary"]].to_numpy().tolist() == [["os", 4, "3 events, median follow-up 4 days"]]
    assert about.modalities[["name", "patients", "columns", "missing"]].to_numpy().tolist() == [
        ["rna", 3, 1, 0.0],
        ["he", 3, 1, 0.0],
    ]


@pytest.mark.parametrize(
    ("longest", "unit", "finding"),
    [
        (6000, "months", ("error", "probably days")),
        (4963, "months", ("error", "probably days")),
        (3000, "weeks", ("warning", "57")),  # possible, and rare enough to ask
        (100, "years", ("error", "probably months")),  # 8 years, the nearest unit that makes sense
        (8, "days", ("warning", "probably years")),
        (29, "days", ("warning", "probably months")),  # 2.4 years, the nearest unit that makes sense
        (3522, "days", None),
        (211, "months", None),
        (25, "years", None),
        (40, "years", ("warning", "40")),
    ],
)
def test_times_that_no_patient_can_have(longest, unit, finding):
    endpoint = Endpoint(name="os", kind="survival", columns=("t", "e"), time_unit=unit)
    found = check_times(Target(endpoint=endpoint, values=np.array([[longest, 1.0], [longest / 2, 0]])))
    assert [f.level for f in found] == ([] if finding is None else [finding[0]])
    if finding is not None:
        assert finding[1] in found[0].message
