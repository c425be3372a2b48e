"""The truth of a phantom cohort on disk, beside the cohort and never inside it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.core.files import publish, read_json, write_json
from oncoweave.core.truth import PatientTruth
from oncoweave.data.tables import read_table, write_table
from oncoweave.phantom.biology import EFFECTS, LABELS, Config, Outcome, site_effects, site_name
from oncoweave.phantom.gene_sets import DECOYS, PLANTED, gmt
from oncoweave.phantom.lungs import DISEASES, Lungs
from oncoweave.phantom.missingness import ABSENCES, absence_probability
from oncoweave.phantom.radiology import Lesion
from oncoweave.phantom.record import GAPS, Value
from oncoweave.phantom.reports import Facts
from oncoweave.phantom.sections import stain_of

SCHEMA = "oncoweave.phantom.truth"
VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Revealed:
    """Everything drawn for the patients of a cohort, in their order, whether or not the cohort shows it."""

    truths: Sequence[PatientTruth]
    outcomes: Sequence[Outcome]
    presence: Sequence[dict[str, bool]]
    genes: pd.DataFrame
    counts: Sequence[np.ndarray | None]
    """RNA counts; None for patients without expression."""
    variants: Sequence[tuple[str, dict[str, float]]]
    reports: Sequence[tuple[str, Facts]]
    records: Sequence[tuple[dict[str, Value], dict[str, Value]]]
    """Complete and observed."""
    lesions: Sequence[Lesion]
    lungs: Sequence[Lungs] = ()
    """None unless the cohort has lung diseases."""


def truth_folder(cohort: Path) -> Path:
    """Name the folder that holds the truth of a phantom cohort: ``<cohort>-truth``."""
    cohort = Path(cohort).resolve()
    return cohort.with_name(f"{cohort.name}-truth")


def read_truth(cohort: Path) -> tuple[dict, pd.DataFrame]:
    """Read what is planted (``truth.json``) and the patients' truth (indexed by patient) of a phantom cohort.

    Raises:
        DataError: there is no truth beside the cohort.
    """
    folder = truth_folder(cohort)
    if not (folder / "truth.json").is_file():
        msg = f"{cohort}: no truth beside it (wanted {folder}); make a phantom cohort with: oncoweave phantom {cohort}"
        raise DataError(msg)
    return read_json(folder / "truth.json"), read_table(folder / "patients.parquet").set_index("patient_id")


def write_truth(config: Config, revealed: Revealed, slides: pd.DataFrame, hidden: Path, cohort: Path) -> None:
    """Complete the folder ``hidden`` (which may hold ``slides/``) and move it to its place beside the cohort.

    ``truth.json``: config, effects on the hazard, absences, gaps, gene sets, sites. Tables: ``patients`` (latent biology, true
    times, presence and its probability), ``genes``, ``records`` (before values went missing), ``reports`` (facts stated),
    ``panels``, ``lesions``, ``lungs`` (diseases, and what film and report show of them, where they are drawn), ``slides`` (cells
    and regions counted). ``slides/``: nuclei and masks of each slide;
    ``pathways.gmt``: the gene sets that a model may be given; nothing in it tells planted sets from decoys.
    """
    hidden.mkdir(parents=True, exist_ok=True)
    write_json(hidden / "truth.json", _planted(config))
    (hidden / "pathways.gmt").write_text(gmt(), encoding="utf-8")
    write_table(hidden / "patients.parquet", _patients(config, revealed))
    write_table(hidden / "genes.parquet", revealed.genes)
    ids = [{"patient_id": t.patient_id} for t in revealed.truths]
    columns: dict[str, Sequence[dict]] = {
        "records": [complete for complete, _ in revealed.records],
        "reports": [{k: np.nan if v is None else float(v) for k, v in facts.items()} for _, facts in revealed.reports],
        "panels": [{"panel": panel} for panel, _ in revealed.variants],
        "lesions": [asdict(lesion) for lesion in revealed.lesions],
    }
    if revealed.lungs:
        columns["lungs"] = [_of_lungs(lungs) for lungs in revealed.lungs]
    for name, rows in columns.items():
        write_table(hidden / f"{name}.parquet", pd.DataFrame([i | r for i, r in zip(ids, rows, strict=True)]))
    if len(slides):
        write_table(hidden / "slides.parquet", slides)
    with publish(truth_folder(cohort)) as partial:
        hidden.rename(partial)


def _of_lungs(lungs: Lungs) -> dict[str, bool]:
    parts = {"present": lungs.present, "sign": lungs.signs, "complaint": lungs.complaints}
    return {f"{part} {d.name}": v for part, values in parts.items() for d, v in zip(DISEASES, values, strict=True)}


def _planted(config: Config) -> dict[str, object]:
    effects = site_effects(config)
    sites = [
        {"site": site_name(i), "effect": float(effects[i]), "stain": asdict(stain_of(config, site_name(i)))}
        for i in range(config.sites)
    ]
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "config": asdict(config),
        "effects": [asdict(e) for e in EFFECTS],
        "absences": [asdict(a) for a in ABSENCES],
        "gaps": [asdict(g) for g in GAPS],
        "gene_sets": [{"name": s.name, "factor": s.factor, "loading": s.loading, "genes": s.genes} for s in (*PLANTED, *DECOYS)],
        "sites": sites,
    }


def _patients(config: Config, revealed: Revealed) -> pd.DataFrame:
    rows = []
    for truth, outcome, present in zip(revealed.truths, revealed.outcomes, revealed.presence, strict=True):
        times = {n: getattr(outcome, n) for n in ("death_months", "progression_months", "censored_months")}
        findings = {f"finding_{n}": f for n, f in zip(LABELS, outcome.findings, strict=True)}
        chance = {f"p_absent_{a.modality}": absence_probability(a, truth, missing=config.missing) for a in ABSENCES}
        rows.append(asdict(truth) | times | findings | {f"has_{m}": p for m, p in present.items()} | chance)
    return pd.DataFrame(rows)
