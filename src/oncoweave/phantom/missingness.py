"""Which phantom patient lacks which modality, and why: at random, by what is observed, or by what nobody wrote down."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.truth import PatientTruth
from oncoweave.phantom.biology import MODALITIES, Config, stream


@dataclass(frozen=True, kw_only=True, slots=True)
class Absence:
    """Why patients lack a modality: the probability is logistic in a base and one factor."""

    modality: str
    mechanism: str
    """``MCAR``, ``MAR`` (depends on something observed in every patient's table) or ``MNAR`` (on something unobserved)."""
    base: float
    """Log odds of absence where the factor is average."""
    factor: str = ""
    slope: float = 0.0
    centre: float = 0.0
    scale: float = 1.0


ABSENCES = (
    Absence(modality="slide", mechanism="MCAR", base=-2.2),
    Absence(modality="expression", mechanism="MAR", base=-1.2, factor="age_years", slope=0.8, centre=64, scale=10),
    Absence(modality="variants", mechanism="MCAR", base=-1.9),
    Absence(modality="report", mechanism="MCAR", base=-2.6),
    Absence(modality="record", mechanism="MCAR", base=-3.5),
    Absence(modality="volume", mechanism="MNAR", base=-1.1, factor="private_record", slope=1.0),
    Absence(modality="film", mechanism="MAR", base=-0.8, factor="stage", slope=-0.7, centre=2.3),
)


def absence_probability(absence: Absence, truth: PatientTruth, *, missing: float) -> float:
    """Give the probability that a patient lacks the modality; ``missing`` scales it and 1 bounds it."""
    value = (float(getattr(truth, absence.factor)) - absence.centre) / absence.scale if absence.factor else 0.0
    return float(min(1.0, missing / (1 + np.exp(-(absence.base + absence.slope * value)))))


def draw_presence(config: Config, index: int, truth: PatientTruth) -> dict[str, bool]:
    """Say which modalities a patient has; somebody who would have none keeps the first that the cohort offers."""
    draws = stream(config, "presence", index).random(len(MODALITIES))
    offered = [m for m in MODALITIES if m not in config.without]
    present = {
        a.modality: bool(d >= absence_probability(a, truth, missing=config.missing)) and a.modality in offered
        for a, d in zip(ABSENCES, draws, strict=True)
    }
    if not any(present.values()):
        present["record" if "record" in offered else offered[0]] = True
    return present
