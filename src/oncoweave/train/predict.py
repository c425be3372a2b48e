"""Apply a locked model of a run to new patients."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from scipy import stats

from oncoweave.core.errors import ConfigError, DataError, unknown_name
from oncoweave.core.files import publish, read_json, sha256
from oncoweave.core.state import load_state
from oncoweave.data.cohort import Cohort
from oncoweave.data.store import refuse_changed_tables
from oncoweave.evaluate.certainty import ALPHA
from oncoweave.evaluate.tables import NOVEL, NOVELTY_P
from oncoweave.train.dataset import Dataset, load_dataset
from oncoweave.train.ledger import LEDGER, recorded
from oncoweave.train.locked import LockedModel
from oncoweave.train.texts import TextReading, read_texts_as

_CHANCE = 0.01
"""Counts of flagged patients that chance gives less often are warned of."""
_SHOWN = 5
"""Columns of a modality that warnings name one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionSummary:
    """How many patients got a prediction."""

    predicted: int
    without: int
    """Patients who have none of the model's modalities."""
    warnings: tuple[str, ...]
    """What the new patients' tables lack or hold that the training patients' did not."""


def predict_cohort(run: Path, cohort_path: Path, out: Path, *, model: str | None) -> PredictionSummary:
    """Predict for a cohort's patients and write a table, one row a patient.

    Modalities that the new cohort lacks are treated as absent for every patient.

    Raises:
        DataError: not a finished run; a modality is of another kind than in training, or has none of the columns the model reads;
            or no patient has a usable modality.
    """
    if out.suffix not in (".csv", ".parquet") or out.is_dir():
        msg = f"{out}: predictions are written as .csv or .parquet"
        raise ConfigError(msg)
    locked = load_locked(run, model)
    data, warnings = read_patients(run, locked, cohort_path)
    frame = locked.frame(data)
    if frame.empty:
        msg = f"no patient of {cohort_path} has any of the model's modalities ({', '.join(locked.modalities)})"
        raise DataError(msg)
    warnings += _strange(frame)
    with publish(out) as partial:
        if out.suffix == ".parquet":
            frame.to_parquet(partial, index=False)
        else:
            frame.to_csv(partial, index=False)
    return PredictionSummary(predicted=len(frame), without=len(data) - len(frame), warnings=warnings)


def read_patients(run: Path, locked: LockedModel, cohort_path: Path) -> tuple[Dataset, tuple[str, ...]]:
    """Read what a model of a run needs of a cohort's patients, as its study read them; also says what is unlike training.

    Raises:
        DataError: a table was changed since the cohort was written, or a modality is of another kind than in training or has none
            of the columns the model reads.
    """
    cohort = Cohort.open(cohort_path)
    cohort = read_texts_as(cohort, _texts_read_again(run, cohort), None)
    shared = [m for m in locked.modalities if m in cohort.modalities]
    for name in shared:
        if cohort.modalities[name].kind != locked.kinds[name]:
            msg = (
                f"modality {name!r} is {cohort.modalities[name].kind!r} in {cohort_path}, the model was trained on"
                f" {locked.kinds[name]!r}; import it as that"
            )
            raise DataError(msg)
    refuse_changed_tables(cohort_path)
    configs = {m: p.config for m, p in locked.fitted.preparations.items() if hasattr(p, "config")}
    data = load_dataset(cohort, None, shared, configs).completed(locked.kinds)
    return data, _differences(locked, cohort, data)


def _strange(frame: pd.DataFrame) -> tuple[str, ...]:
    """Say where more patients are flagged than patients like those of training would be."""
    judged = frame[frame[NOVELTY_P].notna()] if NOVELTY_P in frame else frame.iloc[:0]
    flagged = int((judged[NOVEL] != "").sum()) if len(judged) else 0
    if stats.binom.sf(flagged - 1, len(judged), ALPHA) >= _CHANCE:
        return ()
    return (
        f"{flagged} of {len(judged)} patients are unlike the training patients, where chance gives at most {100 * ALPHA:.0f}%;"
        f" the column {NOVEL!r} names the modalities",
    )


def _texts_read_again(run: Path, cohort: Cohort) -> dict[str, TextReading]:
    """List modalities of the run that are texts of another one, which the new cohort has; models know how they are read."""
    sources = {name: t["of"] for name, t in yaml.safe_load((run / "study.yaml").read_text("utf-8")).get("texts", {}).items()}
    texts = [m for m, spec in cohort.modalities.items() if spec.kind == "report"]
    return {name: TextReading(of=of) for name, of in sources.items() if of in texts and name not in cohort.modalities}


def _differences(locked: LockedModel, cohort: Cohort, data: Dataset) -> tuple[str, ...]:
    """Say which columns the model reads that a table lacks, and count values unlike all that training patients had."""
    warnings = []
    for name, preparation in locked.fitted.preparations.items():
        if name not in cohort.modalities:
            warnings.append(f"modality {name!r} is not in the cohort: absent for every patient")
            continue
        lacking = [c for c in preparation.columns if c not in cohort.tables[name].columns]
        if lacking and len(lacking) == len(preparation.columns):
            there = [c for c in cohort.tables[name].columns if c not in ("patient_id", "sample_id")]
            msg = (
                f"modality {name!r} has none of the {len(lacking)} columns that the model reads ({', '.join(lacking[:3])}, ...);"
                f" it has {', '.join(there[:3])}, ...; were they renamed?"
            )
            raise DataError(msg)
        if lacking:
            shown = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
            warnings.append(
                f"modality {name!r} lacks {len(lacking)} of {len(preparation.columns)} columns that the model reads: {shown}"
            )
        if hasattr(preparation, "differs") and (told := preparation.differs(data.samples[name])):
            warnings.append(f"modality {name!r}: {told}")
        if hasattr(preparation, "unknown"):
            unseen = preparation.unknown(data.samples[name])
            warnings += [
                f"modality {name!r}, column {c!r}: {n} patients have a category never seen in training" for c, n in unseen.items()
            ]
        if hasattr(preparation, "outside"):
            far = preparation.outside(data.samples[name])
            warnings += [
                f"modality {name!r}, column {c!r}: {n} of {_count(data, name)} patients have a value far outside the training"
                " range; is it in another unit?"
                for c, n in list(far.items())[:_SHOWN]
            ]
            if len(far) > _SHOWN:
                warnings.append(f"modality {name!r}: {len(far) - _SHOWN} more columns have values far outside the training range")
    return tuple(warnings)


def _count(data: Dataset, modality: str) -> int:
    return sum(s is not None for s in data.samples[modality])


def _refuse_foreign(run: Path, file: Path) -> None:
    """Refuse a model file that the run did not write, or that is not as the run wrote it."""
    known = read_json(run / "manifest.json").get("hashes", {}) if (run / "manifest.json").exists() else recorded(run)
    digest = known.get(file.relative_to(run).as_posix())
    if digest is None:
        msg = (
            f"{file}: not a model that this run wrote, neither manifest.json nor {LEDGER} lists it; delete it, or predict with"
            " the run folder that it comes from"
        )
        raise DataError(msg)
    if digest != sha256(file):
        msg = f"{file}: changed since the run wrote it; run the study again with the same --out, which makes the model again"
        raise DataError(msg)


def load_locked(run: Path, model: str | None) -> LockedModel:
    """Load a model of a run by name; the run's main model when none is named.

    Raises:
        DataError: not a run folder, or the model's file is not one the run wrote, as it wrote it.
    """
    if not (run / "study.yaml").exists():
        msg = f"{run} is not a run folder: it has no study.yaml; make one with: oncoweave run STUDY --out {run}"
        raise DataError(msg)
    name = model or yaml.safe_load((run / "study.yaml").read_text(encoding="utf-8"))["main"]
    stored = {p.stem: p for p in (run / "models").glob("*.safetensors")}
    if name not in stored:
        raise unknown_name("stored model", name, stored)
    _refuse_foreign(run, stored[name])
    locked = load_state(stored[name])
    if not isinstance(locked, LockedModel):
        msg = f"{stored[name]} holds a {type(locked).__name__}, wanted a locked model"
        raise DataError(msg)
    return locked
