"""A study and a bench whose rows are specimens: persons are kept on one side, audited, and asked for by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from drawn_cohort import write_drawn
from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.data.cohort import Cohort
from oncoweave.data.splits import read_splits
from oncoweave.data.store import write_cohort
from oncoweave.serve import wording
from oncoweave.serve.bench.run import run_bench
from oncoweave.serve.report import write_report
from oncoweave.tasks.detection_pancancer import COMMON, RARE
from oncoweave.train.bench.asked import ask
from oncoweave.train.bench.spec import Bench, entries, read_bench
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, run_study

PROTOCOL = Protocol(folds=3, repeats=1, inner_folds=2, bootstrap=100, permutations=0, group_by_site=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Ninety-six specimens, each cancer among them, four of a person."""
    root = tmp_path_factory.mktemp("specimens")
    drawn = write_drawn(root / "phantom", patients=96, seed=1, without=("film", "report", "expression", "variants"))
    order = np.arange(96)
    cancers = [*COMMON, *RARE]
    patients = drawn.patients.assign(
        cancer=[cancers[i // 6] for i in order],
        whose=[f"person{i // 4}" for i in order],
        cancer_present=drawn.patients["driver_a"],
    )
    endpoint = Endpoint(name="cancer_present", kind="binary", columns=("cancer_present",), classes=("benign", "cancer"))
    write_cohort(replace(drawn, name="own", patients=patients, endpoints={"cancer_present": endpoint}), root / "own")
    return root


def crossing(splits: pd.DataFrame, cohort: Cohort) -> int:
    named = splits.assign(person=splits["patient_id"].map(cohort.patients["whose"]))
    return int((named.groupby(["repeat", "person"])["fold"].nunique() > 1).sum())


def asked(place: Path, out: Path, **where):
    bench = {
        "name": "b",
        "tasks": {"detection_pancancer": {"cohort": "own", **where}},
        "aggregators": ["pool/mean"],
        "main": ["pool-mean"],
        "protocol": {"folds": 3, "repeats": 2, "inner_folds": 2, "permutations": 0, "bootstrap": 100},
    }
    path = place / "bench.yaml"
    path.write_text(yaml.safe_dump(bench), encoding="utf-8")
    read = read_bench(path)
    return ask(read, entries(read)[0], out, earlier=[])


def test_a_bench_keeps_persons_apart_in_as_many_splits_as_its_protocol_says(place, tmp_path):
    cohort = Cohort.open(place / "own")
    found = asked(place, tmp_path / "with", person="whose")
    splits = read_splits(Path(found.study.protocol.splits))
    assert splits["repeat"].nunique() == 6  # two dealings into three folds, each tested in turn
    assert crossing(splits, cohort) == 0
    assert found.study.person == "whose"
    assert found.study.name == "detection_pancancer"
    without = asked(place, tmp_path / "without")
    assert crossing(read_splits(Path(without.study.protocol.splits)), cohort) > 0
    assert without.study.name == "detection_pancancer (every row taken for a person of its own)"


def test_a_study_of_specimens_never_parts_a_person_and_says_so(place, tmp_path):
    study = Study(
        name="s",
        cohort=str(place / "own"),
        endpoint="cancer_present",
        person="whose",
        modalities=("record",),
        models=(ModelSpec(name="concat", fusion="concat"),),
        main="concat",
        protocol=PROTOCOL,
    )
    run = run_study(study, tmp_path / "run")
    cohort = Cohort.open(place / "own")
    assert crossing(read_splits(run / "splits.parquet"), cohort) == 0
    predictions = pd.read_parquet(run / "predictions.parquet")
    assert (predictions["person"] == predictions["patient_id"].map(cohort.patients["whose"])).all()
    operating = pd.read_parquet(run / "operating.parquet")
    assert (operating["n_effective"] <= operating["n"]).all() and (operating["n_effective"] < operating["n"]).any()
    audit = pd.read_parquet(run / "audits.parquet").set_index("audit").loc["patient on both sides"]
    assert audit["verdict"] == "passed"
    assert "Of 24 persons whose specimens these are, 0 stand on both sides" in audit["evidence"]
    for text in ("bootstraps of persons (whose; a row is a specimen)", "Main measure: auroc;"):
        assert text in (run / "tripod_ai.csv").read_text(encoding="utf-8")
    page = write_report(run).read_text(encoding="utf-8")
    for text in (
        "bootstrap samples of persons, each with all specimens",
        "tests at cut-offs count the rows of a person together",
    ):
        assert text in page
    parted = pd.DataFrame({"patient_id": cohort.patient_ids, "repeat": 0, "fold": np.arange(96) % 2})
    parted.to_csv(tmp_path / "parted.csv", index=False)
    leaking = study.model_copy(update={"protocol": PROTOCOL.model_copy(update={"splits": str(tmp_path / "parted.csv")})})
    with pytest.raises(DataError, match=r"24 person\(s\) have rows on two sides of a repeat"):
        run_study(leaking, tmp_path / "leaking")


def test_the_page_tells_common_and_rare_cancers_apart_and_names_those_that_are_not_there(place, tmp_path):
    own = Cohort.open(place / "own")
    kinds = np.repeat(["breast", "prostate", "liver", "bone"], [30, 26, 32, 8])
    rng = np.random.default_rng(0)
    write_cohort(replace(own, patients=own.patients.assign(cancer=rng.permutation(kinds))), tmp_path / "few")
    bench = Bench(
        name="b",
        tasks={"detection_pancancer": str(tmp_path / "few")},
        aggregators=("pool/mean",),
        main=("pool-mean",),
        protocol=Protocol(folds=2, repeats=1, inner_folds=2, permutations=0, bootstrap=100, scheme="cross_validation"),
        network=NetworkConfig(epochs=1, members=1, width=8),
    )
    found = run_bench(bench, tmp_path / "out")
    assert not found.failures
    groups = pd.read_parquet(tmp_path / "out" / "groups.parquet")
    assert set(groups["metric"]) == {"auroc", "auroc_all_pairs"}
    sizes = groups[groups["metric"] == "auroc"].set_index("group")["n"]
    assert sizes.to_dict() == {
        "seen in training": 56, "not seen in training": 40, "breast": 30, "prostate": 26, "liver": 32, "bone": 8,
    }  # fmt: skip
    assert sizes.index[:2].tolist() == ["not seen in training", "seen in training"]
    small = groups[groups["group"] == "bone"]
    assert small["value"].isna().all() and small["note"].eq("fewer than 10 patients").all()
    page = (tmp_path / "out" / "bench.md").read_text(encoding="utf-8")
    row = groups[(groups["group"] == "not seen in training") & (groups["metric"] == "auroc")].iloc[0]
    line = next(line for line in page.splitlines() if "| not seen in training |" in line)
    assert wording.estimate(row["value"], row["low"], row["high"]) in line
    told = "5 groups that the task tests without training on it are not in this cohort: stomach, brain, ovary, cervix and testis."
    assert told in page
    assert "2 of 7 unseen groups, without stomach, brain, ovary, cervix, testis" in found.asked[0].study.name
    assert "split of our own" in page and "released split" not in page
