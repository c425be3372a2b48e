"""Every audit catches the fault that is planted for it, and a clean study passes them all."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.files import read_json
from oncoweave.core.truth import PatientTruth
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.columns import MEASURED_AT
from oncoweave.data.store import write_cohort
from oncoweave.modalities import slide
from oncoweave.phantom.biology import Config, draw_truths
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.serve.report import write_report
from oncoweave.train import protocol
from oncoweave.train.audits.amounts import audit_events, audit_horizons
from oncoweave.train.audits.baselines import audit_missingness, audit_null, audit_site_only
from oncoweave.train.audits.columns import audit_columns, audit_times
from oncoweave.train.audits.optimism import audit_epochs, measure_optimism
from oncoweave.train.audits.refits import audit_refits
from oncoweave.train.audits.result import Audit, Audited
from oncoweave.train.audits.sides import audit_patients, audit_sites, audit_slides, audit_twins
from oncoweave.train.audits.sources import audit_sources
from oncoweave.train.dataset import load_dataset
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, run_study

DRAWN = Config(patients=100, seed=3, sites=3, without=("slide", "report", "volume", "film", "variants"))
QUICK = Protocol(folds=2, repeats=1, inner_folds=2, bootstrap=100, group_by_site=False, horizons=(12.0, 36.0))
MODELS = (ModelSpec(name="network", fusion="gated"), ModelSpec(name="stacking", fusion="stacking"))


def study(cohort: Path, **changes: object) -> Study:
    content = {"name": "s", "cohort": str(cohort), "endpoint": "overall_survival", "models": MODELS, "protocol": QUICK}
    return Study(**(content | {"network": NetworkConfig(epochs=3, members=1)} | changes))


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> tuple[Audited, Path]:
    """A small study without a fault, as its audits saw it, and its run folder."""
    cohort, _, _ = draw_cohort(DRAWN)
    seen: list[Audited] = []
    original = protocol.write_audits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "write_audits", lambda out, run: (seen.append(run), original(out, run))[1])
        folder = tmp_path_factory.mktemp("audits")
        run = run_study(study(write_cohort(cohort, folder / "cohort")), folder / "run")
    return seen[0], run


def of(run: Audited, cohort: Cohort) -> Audited:
    """The same study of a cohort that was changed."""
    data = load_dataset(cohort, run.endpoint.name, run.study.modalities or ())
    return replace(run, cohort=cohort, data=data.take(np.isin(data.patient_ids, run.data.patient_ids)))


def with_table(run: Audited, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Audited:
    return of(run, replace(run.cohort, tables={**run.cohort.tables, name: change(run.cohort.tables[name].copy())}))


def with_column(run: Audited, name: str, values: np.ndarray) -> Audited:
    """Add a column to the record, from values in the order of the cohort's patients."""
    column = pd.Series(values, index=run.cohort.patients.index)
    return with_table(run, "record", lambda t: t.assign(**{name: t["patient_id"].map(column)}))


def leaky(run: Audited) -> Audited:
    """A scaler that is fitted on all rows: the record's preparation sees tested patients."""

    def make(study, data, rows, repeat, fold, scratch):
        made = run.make_fold(study, data, rows, repeat, fold, scratch)
        everyone = run.make_fold(study, data, np.arange(len(data)), repeat, fold, scratch)
        made._preparations["record"] = everyone.preparation("record")
        return made

    return replace(run, make_fold=make)


def early_stopper(run: Audited) -> Audited:
    """A network whose inner validation rows are the tested patients."""

    def make(study, data, rows, repeat, fold, scratch):
        made = run.make_fold(study, data, np.arange(len(data)), repeat, fold, scratch)
        made._inner = np.isin(np.arange(len(data)), rows).astype(int)  # 0, left out by the first network, is the test fold
        return made

    return replace(run, make_fold=make)


def slides(run: Audited, change: Callable[[list[slide.Sample]], list[slide.Sample]] = list) -> Audited:
    """Give every patient bags of tiles, changed before the study sees them."""
    truths: dict[str, PatientTruth] = {t.patient_id: t for t in draw_truths(DRAWN)}
    rng = np.random.default_rng(0)
    samples = change([slide.synthesise(truths[p], rng) for p in run.data.patient_ids])
    rows = [
        {"patient_id": p, "sample_id": f"{b.attrs.slide_id}-s", "slide_id": b.attrs.slide_id}
        for p, s in zip(run.data.patient_ids, samples, strict=True)
        for b in s.bags
    ]
    cohort = replace(
        run.cohort,
        tables={**run.cohort.tables, "slide": pd.DataFrame(rows)},
        modalities={**run.cohort.modalities, "slide": ModalitySpec(name="slide", kind="slide")},
    )
    data = replace(run.data, samples={**run.data.samples, "slide": tuple(samples)}, kinds={**run.data.kinds, "slide": "slide"})
    modalities = (*(run.study.modalities or ()), "slide")
    return replace(run, cohort=cohort, data=data, study=run.study.model_copy(update={"modalities": modalities}))


def borrowed(samples: list[slide.Sample], *, noise: float = 0.0, half: bool = False) -> list[slide.Sample]:
    """The second patient's bags are the first one's under other ids, with noise in standard deviations, or half of them."""
    rng = np.random.default_rng(1)
    bags = [
        replace(
            b,
            features=(b.features + noise * b.features.std(axis=0) * rng.normal(size=b.features.shape)).astype(np.float32),
            attrs=replace(b.attrs, slide_id=f"copy-{i}"),
        )
        for i, b in enumerate(samples[0].bags)
    ]
    if half:
        bags = [replace(b, features=b.features[::2], coords=b.coords[::2], tissue_fraction=None) for b in bags]
    copy = slide.from_bags(samples[1].patient_id, bags, paths=[f"copy {i}" for i in range(len(bags))])
    return [samples[0], copy, *samples[2:]]


def other_encoder(samples: list[slide.Sample]) -> list[slide.Sample]:
    bags = [replace(b, attrs=replace(b.attrs, encoder_fingerprint="another", mpp=0.25)) for b in samples[0].bags]
    return [slide.from_bags(samples[0].patient_id, bags, paths=["x"] * len(bags)), *samples[1:]]


def crossing_split(run: Audited) -> Audited:
    again = run.splits.iloc[[0]].assign(fold=1 - run.splits["fold"].iloc[0])
    return replace(run, splits=pd.concat([run.splits, again], ignore_index=True))


def swapped_predictions(run: Audited) -> Audited:
    return replace(run, predictions=run.predictions.assign(fold=1 - run.predictions["fold"]))


def spelt_twice(run: Audited) -> Audited:
    """One tested patient's id becomes that of a training patient in small letters."""
    first, second = (run.splits.loc[run.splits["fold"] == k, "patient_id"].iloc[0] for k in (0, 1))

    def rename(ids: pd.Series) -> pd.Series:
        return ids.where(ids != second, first.lower())

    patients = run.cohort.patients.rename(index={second: first.lower()})
    tables = {m: t.assign(patient_id=rename(t["patient_id"])) for m, t in run.cohort.tables.items()}
    data = replace(run.data, patient_ids=rename(pd.Series(run.data.patient_ids)).to_numpy(dtype=object))
    frames = {k: getattr(run, k).assign(patient_id=rename(getattr(run, k)["patient_id"])) for k in ("splits", "predictions")}
    return replace(run, cohort=replace(run.cohort, patients=patients, tables=tables), data=data, **frames)


def twin(run: Audited, *, noise: float = 0.0) -> Audited:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        values = [c for c in table.columns if c not in ("patient_id", "sample_id")]
        table[values] = table[values].astype(float)
        table.loc[table.index[5], values] = table.loc[table.index[2], values].to_numpy() * (1 + noise)
        return table

    return with_table(run, "expression", change)


def grouped(run: Audited) -> Audited:
    return replace(run, study=run.study.model_copy(update={"protocol": QUICK.model_copy(update={"group_by_site": True})}))


def scoring_sites(run: Audited) -> Audited:
    """The hospital alone scores above chance, whether or not hospitals differ."""
    rows = run.metrics["model"] == "site_only"
    return replace(
        run, metrics=run.metrics.assign(low=run.metrics["low"].mask(rows, 0.56), value=run.metrics["value"].mask(rows, 0.6))
    )


def telling_sites(run: Audited) -> Audited:
    """Those who lived long were treated in other hospitals."""
    time = run.data.outcome.time
    site = np.array(["A", "B", "C"], dtype=object)[np.searchsorted(np.quantile(time, [1 / 3, 2 / 3]), time)]
    return scoring_sites(replace(run, data=replace(run.data, site=site)))


def leaking_null(run: Audited) -> Audited:
    rows, rng = run.metrics["role"] == "null", np.random.default_rng(0)
    return replace(run, metrics=run.metrics.assign(value=run.metrics["value"].mask(rows, 0.7 + 0.01 * rng.random(len(rows)))))


def informative_gaps(run: Audited) -> Audited:
    """Expression was measured of those who lived long."""
    long = run.cohort.patients.index[run.cohort.patients["os_months"] > 25]
    return with_table(run, "expression", lambda t: t[t["patient_id"].isin(long)])


def batches(run: Audited) -> Audited:
    time = run.cohort.patients["os_months"].to_numpy()
    return with_column(run, "scanner", np.where(time > np.median(time), "A", "B"))


def few_events(run: Audited) -> Audited:
    values = run.data.outcome.values.copy()
    values[np.flatnonzero(values[:, 1])[6:], 1] = 0
    return replace(run, data=run.data.with_target(replace(run.data.outcome, values=values)))


def uneven_folds(run: Audited) -> Audited:
    return replace(run, metrics=run.metrics.assign(fold_sd=0.2))


def far_horizon(run: Audited) -> Audited:
    return replace(run, study=run.study.model_copy(update={"protocol": QUICK.model_copy(update={"horizons": (12.0, 240.0)})}))


def one_sided_cutoff(run: Audited) -> Audited:
    return replace(run, predictions=run.predictions.assign(high_risk=True))


def followed(run: Audited, months: float) -> np.ndarray:
    return run.cohort.patients["os_months"].to_numpy() * 30.4375 + months * 30.4375


def no_follow_up(run: Audited) -> Audited:
    patients = run.cohort.patients.copy()
    patients.iloc[:4, patients.columns.get_loc("os_months")] = 0.0
    keep = ~np.isin(run.data.patient_ids, patients.index[:4])
    return replace(run, cohort=replace(run.cohort, patients=patients), data=run.data.take(keep))


FAULTS: dict[str, tuple[Callable[[Audited], Audit], Callable[[Audited], Audited], str]] = {
    "a scaler fitted on all rows": (audit_refits, leaky, "they move in .*only_record"),
    "a patient in two folds": (audit_patients, crossing_split, "1 patient.s. stand in two folds"),
    "predictions of trained patients": (audit_patients, swapped_predictions, "of patients outside the fold"),
    "a patient under an id of other case": (audit_patients, spelt_twice, "1 id.s. cross the split that differ by case"),
    "a hospital on both sides": (audit_sites, grouped, "hospitals stand on both sides"),
    "a patient twice under other ids": (audit_twins, twin, "equal rows of values: expression: 1"),
    "the same slide under another id": (audit_slides, lambda r: slides(r, borrowed), "1 pair.s. of patients hold near-equal"),
    "a near-copy of a slide": (audit_slides, lambda r: slides(r, lambda s: borrowed(s, noise=0.1)), "1 pair.s. of patients"),
    "half the tiles of a slide": (audit_slides, lambda r: slides(r, lambda s: borrowed(s, half=True)), "1 pair.s. of patients"),
    "a patient twice in other digits": (audit_twins, lambda r: twin(r, noise=1e-6), "equal rows of values: expression: 1"),
    "follow-up among the features": (
        audit_columns,
        lambda r: with_column(r, "lab_7", r.cohort.patients["os_months"].to_numpy() + 1e-3 * np.arange(100)),
        "record, column 'lab_7': orders follow-up with C-index 1.000|record, column 'lab_7'.*C-index 0.99",
    ),
    "the event among the features": (
        audit_columns,
        lambda r: with_column(r, "lab_8", r.cohort.patients["os_event"].to_numpy().astype(float)),
        "record, column 'lab_8': tells the event with AUROC 1.000",
    ),
    "an epoch chosen on the test fold": (
        lambda r: audit_epochs(r, measure_optimism(r)),
        early_stopper,
        "In 2 of 2 folds the rows that decide when network stops are the tested ones",
    ),
    "a null beyond chance": (audit_null, leaking_null, "has a mean c-index of 0.70"),
    "hospitals that tell the outcome": (audit_site_only, telling_sites, "group the split by site"),
    "gaps that tell the outcome": (audit_missingness, informative_gaps, "without any value, scores c-index 0"),
    "two encoders in one modality": (audit_sources, lambda r: slides(r, other_encoder), "2 different values of encoder"),
    "a scanner that goes with the outcome": (audit_sources, batches, "column 'scanner' has 2 values and goes with the outcome"),
    "too few events": (audit_events, few_events, "smallest test fold holds [0-6] events"),
    "unstable folds": (audit_events, uneven_folds, "standard deviation of 0.200 between folds"),
    "a horizon beyond follow-up": (audit_horizons, far_horizon, "at 240 months 0 patients are still followed"),
    "a cut-off that parts nobody": (audit_horizons, one_sided_cutoff, "calls 100% of the patients high risk"),
    "no follow-up": (audit_times, no_follow_up, "4 of 100 patients have a follow-up of zero"),
    "measured after the event": (
        audit_times,
        lambda r: with_column(r, MEASURED_AT, followed(r, 1.0)),
        "98 of 98 dated patients were measured after event",
    ),
    "measured long after the index date": (
        audit_times,
        lambda r: with_column(r, MEASURED_AT, np.minimum(followed(r, -0.05), 200.0)),
        "more than 90 days after the index date",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught_and_its_absence_is_not(clean, fault):
    audit, plant, words = FAULTS[fault]
    found = audit(plant(clean[0]))
    assert found.verdict == "failed", found.evidence
    assert pd.Series([found.evidence]).str.contains(words).item(), found.evidence
    assert audit(clean[0]).verdict in ("passed", "not applicable")


@pytest.mark.parametrize(("notes", "passes"), [({}, False), ({"mask_words": "intub*"}, True)])
def test_a_word_that_tells_the_outcome_is_caught_unless_models_do_not_see_it(clean, notes, passes):
    run = clean[0]
    died = run.cohort.patients[run.endpoint.columns[1]].to_numpy(dtype=float) > 0
    said = np.where(died, "Cough and fever; intubated.", "Cough and fever.")
    ids = run.cohort.patients.index
    texts = pd.DataFrame({"patient_id": ids, "sample_id": [f"{i}-r" for i in ids], "text": said})
    spec = ModalitySpec(name="report", kind="report", notes=notes)
    cohort = replace(
        run.cohort,
        tables={**run.cohort.tables, "report": texts},
        modalities={**run.cohort.modalities, "report": spec},
    )
    names = (*(run.study.modalities or ()), "report")
    audit = audit_columns(of(replace(run, study=run.study.model_copy(update={"modalities": names})), cohort))
    assert (audit.verdict == "passed") is passes
    assert ("report, column 'word intubated'" in audit.evidence) is not passes


@pytest.mark.parametrize("runs", [0, 1, 4])
def test_too_few_permuted_runs_judge_nothing_and_say_how_many_are_needed(clean, runs):
    leaking = leaking_null(clean[0])
    nulls = leaking.metrics.loc[leaking.metrics["role"] == "null", "model"].unique()
    found = audit_null(replace(leaking, metrics=leaking.metrics[~leaking.metrics["model"].isin(nulls[runs:])]))
    assert (found.verdict, found.n) == ("not applicable", 0)
    assert "ask for 5 or more (protocol.permutations)" in found.evidence
    assert (f"in {runs} run(s), has a mean c-index of 0.7" in found.evidence) is (runs > 0)


def test_a_score_of_the_hospital_that_lots_reach_is_no_fault(clean):
    found = audit_site_only(scoring_sites(clean[0]))
    assert found.verdict == "passed"
    assert "scores c-index 0.600 (0.560 to" in found.evidence and "by lot (39 times at most) score as much" in found.evidence


def test_a_gene_that_is_called_like_a_batch_is_none(clean):
    """KIT is a receptor in a table of genes, and what tissue was kept in elsewhere."""
    followed_long = clean[0].cohort.patients["os_months"].rank(pct=True).gt(0.5).astype(float)
    genes = with_table(clean[0], "expression", lambda t: t.assign(KIT=t["patient_id"].map(followed_long)))
    assert audit_sources(genes).verdict != "failed"
    assert audit_sources(with_column(clean[0], "KIT", followed_long.to_numpy())).verdict == "failed"


@pytest.mark.parametrize("audit", [audit_slides, audit_sources])
def test_clean_slides_pass(clean, audit):
    assert audit(slides(clean[0])).verdict == "passed"


def test_a_clean_study_passes_every_audit_and_its_report_says_so(clean):
    table = pd.read_parquet(clean[1] / "audits.parquet")
    assert len(table) == 14
    assert set(table["verdict"]) == {"passed", "not applicable"}
    assert (table["verdict"] == "passed").sum() >= 10
    page = write_report(clean[1]).read_text(encoding="utf-8")
    assert "The run looked for 14 kinds of fault by itself: 0 failed" in page
    assert "read the section Audits" not in page


def test_optimism_stands_beside_the_metrics_of_the_network_and_changes_none(clean):
    metrics, optimism = (pd.read_parquet(clean[1] / f"{name}.parquet") for name in ("metrics", "optimism"))
    told = metrics[metrics["optimism"].notna()]
    assert told[["model", "metric"]].to_numpy().tolist() == [["network", "c_index"]]
    assert told["optimism"].item() == pytest.approx(optimism["optimism"].mean())
    assert (optimism["optimism"] >= 0).all()


def test_performance_is_told_by_age_and_sex_with_counts(clean):
    groups = pd.read_parquet(clean[1] / "groups.parquet").query("model == 'stacking'")
    for grouping in ("age group", "sex"):
        rows = groups[groups["grouping"] == grouping]
        assert rows["n"].sum() == clean[0].data.patient_ids.size
        assert (rows.loc[rows["value"].notna(), "low"] <= rows.loc[rows["value"].notna(), "value"]).all()


def test_the_model_card_and_the_checklist_say_what_the_run_knows_and_name_nobody(clean):
    card = (clean[1] / "model_card.md").read_text(encoding="utf-8")
    checklist = pd.read_csv(clean[1] / "tripod_ai.csv", keep_default_na=False)
    by_item = checklist.set_index("item")
    assert "Who these patients are, and whom they stand for: *to be written by a person*" in card
    assert by_item.loc["12a", "text"].startswith("2-fold cross-validation; at most 2 inner folds; 3 of 3 hospitals stand on both")
    assert re.match(r"0 of 1\d audits that could be made failed; \d more were not applicable", by_item.loc["26", "text"])
    assert "coverage" not in by_item.loc["12e", "text"]  # there are no prediction sets of a survival time
    assert "retrospective" not in card + checklist.to_string()
    assert by_item.loc["17", ["state", "text"]].tolist() == ["to be written by a person", ""]
    assert f"{len(clean[0].data)} patients were analysed" in by_item.loc["10", "text"]
    assert checklist["asks for"].str.contains("BMJ 2024;385:e078378").sum() == 1
    assert len(checklist) == 53
    both = card + checklist.to_string()
    assert not any(patient in both for patient in clean[0].cohort.patient_ids)
    manifest = read_json(clean[1] / "manifest.json")
    assert {"audits.parquet", "model_card.md", "tripod_ai.csv", "optimism.parquet"} <= set(manifest["hashes"])


def test_a_fault_in_the_cohort_reaches_the_head_of_the_report(tmp_path):
    cohort, _, _ = draw_cohort(replace(DRAWN, patients=40, without=(*DRAWN.without, "expression")))
    record = cohort.tables["record"]
    record = record.assign(months_seen=record["patient_id"].map(cohort.patients["os_months"]))
    folder = write_cohort(replace(cohort, tables={"record": record}), tmp_path / "cohort")
    few = QUICK.model_copy(update={"permutations": 0})
    run = run_study(
        study(folder, models=(ModelSpec(name="linear", fusion="concat"),), main="linear", protocol=few), tmp_path / "run"
    )
    table = pd.read_parquet(run / "audits.parquet")
    assert table["verdict"].iloc[0] == "failed"
    page = write_report(run).read_text(encoding="utf-8")
    assert "outcome in a feature" in page and "read the section Audits before all else" in page
    assert not any(patient in page for patient in cohort.patient_ids)
