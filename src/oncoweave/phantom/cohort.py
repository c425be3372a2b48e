"""The phantom cohort on disk: an ordinary cohort folder, and beside it a folder with the truth.

Nothing of the truth stands in the cohort folder, so nothing that reads the cohort can meet it.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.core.truth import PatientTruth
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import MANIFEST, write_cohort
from oncoweave.phantom import lungs, molecular, radiology
from oncoweave.phantom.biology import LABELS, SUBTYPES, Config, Outcome, draw_outcome, draw_truths, stream
from oncoweave.phantom.lung_signs import draw_signs
from oncoweave.phantom.missingness import draw_presence
from oncoweave.phantom.record import Value, draw_record
from oncoweave.phantom.reports import Facts, draw_report
from oncoweave.phantom.sections import SlideOrder, order_slides, render_slides
from oncoweave.phantom.truth_folder import Revealed, truth_folder, write_truth

ENDPOINTS = (
    Endpoint(name="overall_survival", kind="survival", columns=("os_months", "os_event"), time_unit="months"),
    Endpoint(name="progression_24m", kind="binary", columns=("progression_24m",), classes=("no", "yes")),
    Endpoint(name="driver_a", kind="binary", columns=("driver_a",), classes=("wild type", "mutated")),
    Endpoint(name="subtype", kind="multiclass", columns=("subtype",), classes=SUBTYPES),
    Endpoint(name="grade", kind="ordinal", columns=("grade",), classes=("G1", "G2", "G3")),
    Endpoint(name="findings", kind="multilabel", columns=tuple(f"finding_{n}" for n in LABELS), classes=LABELS),
    Endpoint(name="ki67", kind="regression", columns=("ki67_percent",)),
)
"""Of every phantom cohort; ``lungs.ENDPOINT`` joins them where it is asked for."""
_NOTES = {
    "expression": {"scale": "counts"},
    "record": {"units": "in the column names"},
    "volume": {"unit": "HU", "format": "NIfTI"},
    "film": {"format": "PNG"},
}
_HORIZON_MONTHS = 24.0


def write_phantom(config: Config, out: Path, *, workers: int = 1, progress: bool = True) -> Cohort:
    """Draw a cohort and write it to ``out``, with its truth in :func:`truth_folder`; the same config gives the same bytes.

    Args:
        config: Which patients, and what is planted in them.
        out: The cohort folder; an older cohort there is replaced.
        workers: Processes that render slides.
        progress: Show a bar.

    Raises:
        DataError: the place is taken by something that is not a cohort.
        MissingExtraError: a library that slides or scans need is not installed.
    """
    out = Path(out).resolve()
    _refuse_taken(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent) as scratch:
        root, hidden = Path(scratch) / "cohort", Path(scratch) / "truth"
        cohort, revealed, orders = draw_cohort(config, root=root)
        if "volume" not in config.without or "film" not in config.without:
            _write_scans(config, revealed, root)
        slides = render_slides(config, revealed.truths, orders, (root, hidden), workers=workers, progress=progress)
        write_truth(config, revealed, slides, hidden, out)
        write_cohort(cohort, out)
    return Cohort.open(out)


def draw_cohort(config: Config, *, root: Path | None = None) -> tuple[Cohort, Revealed, list[SlideOrder]]:
    """Draw everything but pixels: the cohort's tables, the truth behind them, and the slides to render.

    Paths in the tables of slides and scans are relative to ``root``, where the files have yet to be written.
    """
    truths = draw_truths(config)
    outcomes = [draw_outcome(config, i, t) for i, t in enumerate(truths)]
    presence = [draw_presence(config, i, t) for i, t in enumerate(truths)]
    orders = order_slides(config, truths, presence)
    revealed = _reveal(config, truths, outcomes, presence)
    patients = pd.DataFrame([_patient_row(t, o) for t, o in zip(truths, outcomes, strict=True)]).set_index("patient_id")
    if revealed.lungs:
        patients[list(lungs.ENDPOINT.columns)] = [drawn.labels for drawn in revealed.lungs]
    tables = {name: table for name, table in _tables(config, revealed, orders).items() if name not in config.without}
    cohort = Cohort(
        name="phantom",
        patients=patients,
        tables=tables,
        modalities={name: ModalitySpec(name=name, kind=name, notes=_NOTES.get(name, {})) for name in tables},
        endpoints={e.name: e for e in (*ENDPOINTS, *((lungs.ENDPOINT,) if config.lung_diseases else ()))},
        root=root,
    )
    return cohort, revealed, orders


def _refuse_taken(out: Path) -> None:
    for place, mark in ((out, MANIFEST), (truth_folder(out), "truth.json")):
        if place.is_file() or (place.is_dir() and any(place.iterdir()) and not (place / mark).is_file()):
            msg = f"{place}: already there and not a phantom cohort's; it is left as it is, choose another place"
            raise DataError(msg)


def _patient_row(truth: PatientTruth, outcome: Outcome) -> dict[str, object]:
    """Give the patient table's row: times are seen to a tenth of a month, and only while the patient is followed."""
    seen = min(outcome.death_months, outcome.censored_months)
    progressed = outcome.progression_months <= min(_HORIZON_MONTHS, outcome.censored_months)
    followed = outcome.censored_months >= _HORIZON_MONTHS
    row: dict[str, object] = {
        "patient_id": truth.patient_id,
        "site": truth.site,
        "os_months": max(0.1, round(seen, 1)),
        "os_event": int(outcome.death_months <= outcome.censored_months),
        "progression_24m": 1.0 if progressed else 0.0 if followed else float("nan"),
        "driver_a": float(truth.driver_a),
        "subtype": SUBTYPES[truth.subtype],
        "grade": f"G{outcome.grade}",
        "ki67_percent": outcome.ki67_percent,
    }
    return row | {f"finding_{name}": value for name, value in zip(LABELS, outcome.labels, strict=True)}


def _reveal(config: Config, truths: list[PatientTruth], outcomes: list[Outcome], presence: list[dict[str, bool]]) -> Revealed:
    genes = molecular.gene_table(config)
    indexed = list(enumerate(truths))
    drawn = [lungs.draw_lungs(config, i) for i, _ in indexed] if config.lung_diseases else []
    reports = [draw_report(config, i, t, outcomes[i]) for i, t in indexed]
    records = [draw_record(config, i, t) for i, t in indexed]
    return Revealed(
        truths=truths,
        outcomes=outcomes,
        presence=presence,
        genes=genes,
        counts=[
            molecular.draw_expression(config, i, t, genes) if p["expression"] else None
            for (i, t), p in zip(indexed, presence, strict=True)
        ],
        variants=[molecular.draw_variants(config, i, t) for i, t in indexed],
        reports=_with_histories(config, reports, drawn) if drawn else reports,
        records=_with_values(records, drawn) if drawn else records,
        lesions=[radiology.draw_lesion(t, stream(config, "lesion", i)) for i, t in indexed],
        lungs=drawn,
    )


def _with_histories(
    config: Config, reports: Sequence[tuple[str, Facts]], drawn: Sequence[lungs.Lungs]
) -> list[tuple[str, Facts]]:
    return [
        (f"{lungs.write_history(config, i, own)}\n\n{text}", facts)
        for i, ((text, facts), own) in enumerate(zip(reports, drawn, strict=True))
    ]


def _with_values(
    records: Sequence[tuple[dict[str, Value], dict[str, Value]]], drawn: Sequence[lungs.Lungs]
) -> list[tuple[dict[str, Value], dict[str, Value]]]:
    found = []
    for (complete, observed), own in zip(records, drawn, strict=True):
        before, after = lungs.laboratory(own)
        found.append((complete | before, observed | after))
    return found


def _tables(config: Config, revealed: Revealed, orders: Sequence[SlideOrder]) -> dict[str, pd.DataFrame]:
    def rows(name: str, values: Sequence[dict]) -> pd.DataFrame:
        here = [(t, v) for t, v, p in zip(revealed.truths, values, revealed.presence, strict=True) if p[name]]
        keys = [{"patient_id": t.patient_id, "sample_id": f"{t.patient_id}-T1"} for t, _ in here]
        return pd.DataFrame(
            [k | v for k, (_, v) in zip(keys, here, strict=True)], columns=["patient_id", "sample_id", *values[0]]
        )

    genes = list(revealed.genes["gene"])
    empty = [0] * len(genes)
    ids = [t.patient_id for t in revealed.truths]
    return {
        "slide": pd.DataFrame(
            [(o.patient_id, o.sample_id, o.slide_id, o.slide_path) for o in orders],
            columns=["patient_id", "sample_id", "slide_id", "slide_path"],
        ),
        "expression": rows("expression", [dict(zip(genes, empty if c is None else c, strict=True)) for c in revealed.counts]),
        "variants": rows("variants", [calls for _, calls in revealed.variants]),
        "report": rows("report", [{"text": text} for text, _ in revealed.reports]),
        "record": rows("record", [observed for _, observed in revealed.records]),
        "volume": rows("volume", [{"path": f"volumes/{p}.nii.gz"} for p in ids]),
        "film": rows("film", [{"path": f"films/{p}.png"} for p in ids]),
    }


def _write_scans(config: Config, revealed: Revealed, root: Path) -> None:
    for index, (truth, present) in enumerate(zip(revealed.truths, revealed.presence, strict=True)):
        if not (present["volume"] or present["film"]):
            continue
        lesion, rng = revealed.lesions[index], stream(config, "scan", index)
        volume = radiology.draw_volume(truth, lesion, rng)
        if present["volume"]:
            radiology.write_volume(root / "volumes" / f"{truth.patient_id}.nii.gz", volume)
        if present["film"]:
            film = radiology.draw_film(truth, volume, lesion, stream(config, "film", index))
            if revealed.lungs:
                film = draw_signs(film, revealed.lungs[index].signs, stream(config, "lungs film", index))
            radiology.write_film(root / "films" / f"{truth.patient_id}.png", film)


def describe(cohort: Cohort) -> dict[str, int]:
    """Count patients, events and who has each modality."""
    have = {str(name): int(n) for name, n in cohort.availability().sum().items()}
    return {"patients": len(cohort), "deaths seen": int(cohort.patients["os_event"].sum())} | have
