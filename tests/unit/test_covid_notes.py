"""Masked notes of the covid benchmark: neither a mark nor a gap says that a label word stood there."""

import importlib.util
import re
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[2] / "benchmarks" / "covid_cohort.py"


@pytest.fixture(scope="module")
def mask():
    spec = importlib.util.spec_from_file_location("covid_cohort", _PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mask


@pytest.mark.parametrize(
    ("note", "left"),
    [
        ("Fever. He was intubated on day 4.", "Fever. He was on day 4."),
        ("Swab positive for SARS-CoV-2 (RT-PCR), COVID-19.", "positive for."),
        ("Moved to ICU, ventilated, died; opacities [COVID].", "Moved to; opacities."),
        ("Pneumonia - COVID-19 - of both lungs", "Pneumonia of both lungs"),
        ("Cough.\nFollow-up: discharged home", "Cough."),
        ("ARDS", ""),
    ],
)
def test_nothing_shows_where_a_word_stood(mask, note, left):
    assert mask(note)[0] == left
    assert mask(note)[1] > 0
    assert not re.search(r"\s\s|\(\s*\)|\s[.,;:]|[.,;:]\s*[.,;:]|MASK", mask(note)[0])


def test_notes_that_held_no_such_word_are_tidied_alike(mask):
    assert mask("Known  asthma ( ), no fever ; cough") == ("Known asthma, no fever; cough", 0)
