"""What is said of splits is counted from them: schemes, hospitals on both sides, and what `group_by_site: auto` becomes."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import DataError
from oncoweave.data.cohort import Cohort
from oncoweave.data.how_split import HowSplit, hospital_words, how_split, scheme_words
from oncoweave.train.audits.amounts import audit_events
from oncoweave.train.audits.result import Audited
from oncoweave.train.dataset import UNKNOWN_SITE, Dataset
from oncoweave.train.protocol_defaults import fill_in
from oncoweave.train.splitting import study_splits
from oncoweave.train.study import ModelSpec, Protocol, Study

IDS = np.array([f"p{i:02d}" for i in range(60)], dtype=object)
SITE = np.array([f"H{i % 6}" for i in range(60)], dtype=object)
RESPONSE = Endpoint(name="y", kind="binary", columns=("y",), classes=("no", "yes"))


def table(fold: np.ndarray, repeat: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"patient_id": IDS, "repeat": repeat, "fold": fold})


HELD = table(np.where(np.arange(60) < 20, 0, -1))
BY_PATIENT, BY_SITE = table(np.arange(60) // 20), table(np.arange(60) % 6 // 2)


def test_hospitals_on_both_sides_are_counted_with_the_share_of_the_tested_they_concern():
    assert how_split(BY_PATIENT, IDS, SITE).overlap == 1.0
    apart = how_split(BY_SITE, IDS, SITE)
    assert (apart.crossing, apart.sites, apart.overlap, apart.unseen) == (0, 6, 0.0, True)
    one = BY_SITE.assign(fold=BY_SITE["fold"].where(IDS != "p00", 2))  # one of H0 is tested elsewhere: all ten of H0 cross
    found = how_split(one, IDS, SITE)
    assert (found.crossing, found.overlap, found.apart) == (1, pytest.approx(10 / 60), False)


def test_two_spellings_of_a_hospital_are_one():
    spelt = SITE.copy()
    spelt[6::12] = "h0 "
    assert how_split(BY_SITE, IDS, spelt).sites == 6
    moved = BY_SITE.assign(fold=np.where(spelt == "h0 ", 1, BY_SITE["fold"]))
    assert how_split(moved, IDS, spelt).crossing == 1


def test_a_hospital_that_only_trains_crosses_with_none_of_its_patients_tested_or_some():
    only = table(np.where(SITE == "H0", -1, BY_SITE["fold"]))
    found = how_split(only, IDS, SITE)
    assert (found.crossing, found.tested, found.patients) == (0, 50, 60)
    assert scheme_words(found) == "3-fold cross-validation, of 50 patients; 10 more only train"


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        (BY_PATIENT, "3-fold cross-validation"),
        (table(np.where(np.arange(60) < 15, 0, -1)), "one hold-out of 15 of 60 patients"),
        (
            pd.concat([table(np.where(np.arange(60) % 4 == k, 0, -1), k) for k in range(3)]),
            "3 splits, each of which tests 15 of 60 patients (45 are tested at least once)",
        ),
        (pd.concat([BY_PATIENT, table(np.arange(60) % 3, 1)]), "3-fold cross-validation, repeated 2 times with other splits"),
        (
            pd.concat([BY_PATIENT, table(np.arange(60) % 2, 1)]),
            "2 to 3-fold cross-validation, repeated 2 times with other splits",
        ),
    ],
)
def test_a_scheme_is_named_as_the_splits_are(splits, words):
    assert scheme_words(how_split(splits, IDS, SITE)) == words


def test_new_hospitals_are_claimed_only_where_every_tested_patient_is_of_one():
    how = how_split(BY_SITE, IDS, SITE)
    assert "every figure is for hospitals the model had not seen" in hospital_words(how)
    for other in (
        replace(how, without_site=3),
        replace(how, crossing=1, overlap=0.1),
        replace(how, sites=1, crossing=1, overlap=1.0),
        replace(how, sites=0, overlap=None, without_site=60),
    ):
        assert "had not seen" not in hospital_words(other)
    assert hospital_words(how_split(BY_PATIENT, IDS, SITE)).startswith("6 of 6 hospitals stand on both sides (100% of the tested")


def cohort(site: np.ndarray) -> Cohort:
    patients = pd.DataFrame({"site": site, "y": np.arange(60) // 3 % 2}, index=pd.Index(IDS, name="patient_id"))
    return Cohort(name="c", patients=patients, tables={}, modalities={}, endpoints={"y": RESPONSE})


@pytest.mark.parametrize(("splits", "wanted"), [(BY_PATIENT, False), (BY_SITE, True)])
def test_auto_becomes_what_published_splits_do(tmp_path, splits, wanted):
    splits.to_csv(tmp_path / "s.csv", index=False)
    protocol = Protocol(splits=str(tmp_path / "s.csv"))
    assert fill_in(protocol, cohort(SITE), RESPONSE).group_by_site is wanted
    assert fill_in(Protocol(), cohort(SITE), RESPONSE).group_by_site is True
    assert fill_in(protocol, cohort(np.where(IDS == "p03", None, SITE)), RESPONSE).group_by_site is False


def dataset(site=SITE, outcome=None):
    outcome = outcome or Target(endpoint=RESPONSE, values=(np.arange(60) // 3 % 2).astype(float))
    return Dataset(patient_ids=IDS, site=site, target=outcome, samples={"m": (1.0,) * 60}, kinds={"m": "record"})


def split(tmp_path, splits, site=SITE, outcome=None, **changed):
    splits.to_csv(tmp_path / "s.csv", index=False)
    data = dataset(site, outcome)
    settings = Protocol(**({"splits": str(tmp_path / "s.csv"), "inner_folds": 2, "group_by_site": False} | changed))
    study = Study(name="s", cohort="c", endpoint="y", models=(ModelSpec(name="m", fusion="average"),), protocol=settings)
    return study_splits(study, data, cohort_ids=np.append(IDS, "q0"))


def test_published_splits_whose_hospitals_cross_are_refused_where_they_are_to_be_apart(tmp_path):
    with pytest.raises(DataError, match=r"6 of 6 site\(s\) are on two sides.*or set group_by_site to false"):
        split(tmp_path, BY_PATIENT, group_by_site=True)
    assert len(split(tmp_path, BY_SITE, group_by_site=True)[0]) == 60


def test_patients_of_published_splits_who_are_left_out_are_counted(tmp_path):
    more = pd.DataFrame({"patient_id": ["q0", "x1", "x2"], "repeat": 0, "fold": [0, 1, 2]})
    splits, warnings = split(tmp_path, pd.concat([BY_SITE, more]))
    assert len(splits) == 60
    assert warnings == [
        "The published splits name 3 patients whom this run leaves out: 2 not in the cohort and 1 in it but not analysed. Folds"
        " are smaller by them than published."
    ]


def test_patients_without_a_hospital_are_counted_whoever_is_tested(tmp_path):
    nowhere = np.full(60, UNKNOWN_SITE, dtype=object)
    assert split(tmp_path, HELD, nowhere)[1] == [
        "No hospital is known for any patient: the split is by patient only, and a site effect cannot be ruled out."
    ]
    some = np.where(np.arange(60) >= 50, UNKNOWN_SITE, SITE)
    assert "The hospital of 10 patients is not known; each counts as a group of its own." in split(tmp_path, HELD, some)[1]


def test_a_class_that_no_training_patient_has_is_said_and_counts_as_none(tmp_path):
    kinds = Endpoint(name="y", kind="multiclass", columns=("y",), classes=("a", "b", "c"))
    outcome = Target(endpoint=kinds, values=np.where(np.arange(60) < 20, np.arange(60) // 2 % 2, np.arange(60) % 2) * 1.0)
    outcome.values[:5] = 2.0
    splits, warnings = split(tmp_path, HELD, outcome=outcome)
    assert warnings[0] == (
        "Class 'c' is absent from the training patients of 1 of 1 folds: no model can learn it there, and 5 tested patient(s)"
        " of it are missed."
    )
    run = Audited(
        study=Study(name="s", cohort="c", endpoint="y", main="m"),
        cohort=cohort(SITE),
        data=dataset(outcome=outcome),
        splits=splits,
        planned=(),
        make_fold=lambda *_: None,
        scratch=tmp_path,
        predictions=pd.DataFrame(),
        metrics=pd.DataFrame(columns=["model", "metric"]),
        site_audit=None,
    )
    found = audit_events(run)
    assert found.verdict == "failed"
    assert "holds 5 patients of the rarest class (bound 5) and the smallest training part 0 (bound 20)" in found.evidence
    limits = [(0.501, 0.62), (0.50003, 0.62), (0.5, 0.62), (np.nan, np.nan)]
    written = [run.figure(pd.Series({"value": 0.56, "low": low, "high": high})) for low, high in limits]
    assert [w.partition(" (")[2] for w in written] == [
        "0.501 to 0.620)",
        "0.50003 to 0.62000)",
        "0.500 to 0.620)",
        "no interval)",
    ]


def test_counts_go_through_the_manifest_and_back():
    how = how_split(BY_SITE, IDS, SITE)
    assert HowSplit(**asdict(how)) == how
