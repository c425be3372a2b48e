"""Clinical records of phantom patients: history and labs, with values missing for three kinds of reason."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.truth import PatientTruth
from oncoweave.phantom.biology import STAGES, Config, stream

Value = float | str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """Why values of one column are missing."""

    column: str
    mechanism: str
    """``MCAR`` at random, ``MAR`` by something observed, ``MNAR`` by the value itself."""
    depends_on: str


GAPS = (
    Gap(column="bmi_kg_m2", mechanism="MCAR", depends_on=""),
    Gap(column="creatinine_umol_l", mechanism="MCAR", depends_on=""),
    Gap(column="cea_ug_l", mechanism="MAR", depends_on="stage"),
    Gap(column="ecog", mechanism="MAR", depends_on="age_years"),
    Gap(column="ldh_u_l", mechanism="MNAR", depends_on="ldh_u_l"),
    Gap(column="smoking", mechanism="MNAR", depends_on="smoking"),
)


def draw_record(config: Config, index: int, truth: PatientTruth) -> tuple[dict[str, Value], dict[str, Value]]:
    """Draw a record.

    Frailty (``private_record``) shows in albumin, C-reactive protein, haemoglobin and performance status; tumour load (stage) in
    CEA and LDH.

    Returns:
        ``complete`` and ``observed``: the same columns before and after values went missing (NaN for numbers, None for text).
    """
    rng = stream(config, "record", index)
    complete = _complete(truth, rng)
    observed = dict(complete)
    chance = {
        "bmi_kg_m2": 0.1,
        "creatinine_umol_l": 0.12,
        "cea_ug_l": _logistic(0.2 - 0.9 * (truth.stage - 1)),
        "ecog": _logistic(-2.6 + 0.9 * (truth.age_years - 64) / 10),
        "ldh_u_l": _logistic(-0.9 - 1.6 * (np.log(float(complete["ldh_u_l"] or 0)) - np.log(215)) / 0.28),
        "smoking": {"never": 0.04, "former": 0.12, "current": 0.35}[str(complete["smoking"])],
    }
    draws = rng.random(len(GAPS))
    for gap, draw in zip(GAPS, draws, strict=True):
        if draw < min(1.0, chance[gap.column] * config.missing):
            observed[gap.column] = None if isinstance(complete[gap.column], str) else float("nan")
    return complete, observed


def _complete(truth: PatientTruth, rng: np.random.Generator) -> dict[str, Value]:
    frail, load = truth.private_record, (truth.stage - 2.3) / 1.0
    noise = rng.standard_normal(12)
    ecog = int(np.searchsorted((-0.4, 0.9, 1.9), 0.75 * frail + 0.2 * (truth.age_years - 64) / 10 + 0.6 * noise[0]))
    return {
        "age_years": truth.age_years,
        "sex": "female" if truth.female else "male",
        "stage": STAGES[truth.stage - 1],
        "ecog": float(ecog),
        "smoking": str(rng.choice(["never", "former", "current"], p=(0.35, 0.4, 0.25))),
        "bmi_kg_m2": round(float(26 + 4 * noise[1] - 0.8 * frail), 1),
        "albumin_g_l": round(float(41 - 2.8 * frail + 2.4 * noise[2]), 1),
        "crp_mg_l": round(float(np.exp(1.5 + 0.75 * frail + 0.6 * noise[3])), 1),
        "haemoglobin_g_dl": round(float((12.8 if truth.female else 14.0) - 0.8 * frail + 0.9 * noise[4]), 1),
        "leukocytes_g_l": round(float(np.exp(1.95 + 0.12 * frail + 0.25 * noise[5])), 2),
        "platelets_g_l": round(float(270 + 25 * frail + 65 * noise[6])),
        "creatinine_umol_l": round(float(np.exp(4.35 + 0.2 * noise[7]))),
        "ldh_u_l": round(float(np.exp(np.log(215) + 0.14 * load + 0.24 * noise[8]))),
        "cea_ug_l": round(float(np.exp(1.2 + 0.45 * load + 0.7 * noise[9])), 1),
    }


def _logistic(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))
