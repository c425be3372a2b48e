"""Ranking within a stratum: a model that knows the type of cancer alone has no skill, whatever it gains over all pairs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import UnknownNameError
from oncoweave.data.row_groups import groups_of
from oncoweave.evaluate.comparisons import BOOTSTRAP, DELONG
from oncoweave.evaluate.metrics import ALL_PAIRS
from oncoweave.evaluate.summary import SummaryOptions, summarise
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.serve import wording
from oncoweave.train.rows import SEEN, TRAINING, UNSEEN, labelled, row_notes, told_apart
from oncoweave.train.study import Study, resolve

BINARY = Endpoint(name="r", kind="binary", columns=("r",))


def drawn(count: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 4, count)
    prevalence = np.array([0.1, 0.3, 0.6, 0.9])[kind]
    y = (rng.random(count) < prevalence).astype(int)
    ids = [f"P{i}" for i in range(count)]
    base = pd.DataFrame({"patient_id": ids, "site": "A", "repeat": 0, "fold": np.arange(count) % 5, "pattern": "x", "y": y})
    skilled = np.clip(prevalence * 0.2 + 0.5 * y + rng.normal(0, 0.15, count), 0, 1)
    return pd.concat([base.assign(model="type", p=prevalence, kind=kind), base.assign(model="skilled", p=skilled, kind=kind)])


def test_both_figures_stand_in_the_table_and_the_one_within_strata_decides():
    rows, roles = drawn(), {"type": "baseline", "skilled": "fusion"}
    options = SummaryOptions(replicates=100, references=("type",), pair=("skilled", "type"))
    pooled, within = (
        summarise(table, BINARY, roles=roles, generator=np.random.default_rng(0), options=options)
        for table in (rows.drop(columns="kind"), rows.rename(columns={"kind": "stratum"}))
    )
    assert not pooled.metrics["metric"].str.endswith(ALL_PAIRS).any()
    usual = pooled.metrics.set_index(["model", "metric"])["value"]
    found = within.metrics.set_index(["model", "metric"])["value"]
    assert found["type", "auroc"] == 0.5
    assert found["type", "auroc" + ALL_PAIRS] == usual["type", "auroc"] > 0.8
    assert found["type", "auprc" + ALL_PAIRS] == usual["type", "auprc"]
    assert found["type", "brier"] == usual["type", "brier"]
    assert within.metrics["metric"].iloc[:2].tolist() == ["auroc", "auroc" + ALL_PAIRS]
    compared = within.comparisons[within.comparisons["metric"].str.startswith("auroc")]
    assert set(compared["metric"]) == {"auroc"}
    paired = compared[compared["method"].isin([BOOTSTRAP, DELONG])]
    assert len(paired) == 2
    assert paired["difference"].to_numpy() == pytest.approx(found["skilled", "auroc"] - 0.5)


def test_measures_over_all_pairs_are_named():
    assert wording.measure("c_index" + ALL_PAIRS, "months") == "C-index over all pairs"


@pytest.fixture(scope="module")
def cohort():
    without = ("slide", "volume", "film", "report", "expression", "variants")
    made, _, _ = draw_cohort(Config(patients=12, seed=0, without=without))
    kinds = ["lung", "lung", "colon", "colon", "brain", "brain", None, " ", "lung", "colon", "brain", "lung"]
    return replace(made, patients=made.patients.assign(kind=kinds))


def study(**given) -> Study:
    return Study(name="s", cohort="c", endpoint="driver_a", modalities=("record",), **given)


def test_unknown_columns_are_refused_and_patients_without_a_value_counted(cohort):
    assert groups_of(cohort, "kind", what="stratum").tolist()[5:8] == ["brain", "unknown", "unknown"]
    for asked in (study(stratum="knid"), study(groups=("knid",))):
        with pytest.raises(
            UnknownNameError, match=r"column of the patient table \((stratum|groups)\).*'knid'.*did you mean 'kind'"
        ):
            resolve(asked, cohort)
    (note,) = row_notes(study(stratum="kind"), cohort, cohort.patients.index)
    assert "pairs of patients of one kind (4 of them)" in note
    assert "2 patient(s) have no value in it" in note
    table = labelled(pd.DataFrame({"patient_id": cohort.patient_ids[::-1]}), study(stratum="kind"), cohort)
    assert table["stratum"].tolist() == groups_of(cohort, "kind", what="stratum").tolist()[::-1]


def test_groups_are_the_studys_own_and_those_that_never_train(cohort):
    ids, kind = cohort.patient_ids, groups_of(cohort, "kind", what="groups")
    hidden = (kind == "brain").to_numpy()
    dealt = np.where(hidden, 0, np.where(np.arange(12) % 2, 0, -1))
    other = np.where(hidden, 0, np.where(np.arange(12) % 2, -1, 0))
    splits = pd.concat([pd.DataFrame({"patient_id": ids, "repeat": i, "fold": f}) for i, f in enumerate((dealt, other))])
    groups = told_apart(study(groups=("kind",)), cohort, splits)
    assert groups["kind"].equals(kind)
    assert (groups[TRAINING] == np.where(hidden, UNSEEN, SEEN)).all()
    crossed = pd.DataFrame({"patient_id": ids, "repeat": 0, "fold": np.arange(12) % 3})
    assert TRAINING not in told_apart(study(), cohort, crossed)
    assert TRAINING not in told_apart(study(), cohort, splits[splits["repeat"] == 0].assign(fold=np.arange(12) % 2 - 1))
