"""Diseases of phantom lungs: eight labels that film, report and record each show in part, drawn beside all other biology.

Each carrier shows a disease by itself: given who has it, its sign on the film, the complaint in the report and the value of the
laboratory are independent, so that what each knows, and all together, is known exactly (:func:`evidence`). Alone the film tells a
label with an AUROC of .80, the report of .75, the record of .65; all three together of .91. Slide, expression, variants and
volume show nothing of them. All draws are from streams of their own: nothing else of a patient changes when they are asked for.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from oncoweave.core.endpoint import Endpoint
from oncoweave.phantom.biology import Config, stream
from oncoweave.phantom.record import Value

CARRIERS = ("film", "report", "record")
SIGN = (0.72, 0.12)
"""How often a film shows a disease's sign: in who has it, in who has not. The AUROC is (1 + .72 - .12) / 2."""
COMPLAINT = (0.60, 0.10)
"""The same of the complaint in the report."""
SHIFT = 0.6
"""Standard deviations by which a disease moves its value of the laboratory."""
_VALUE_MISSING = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Disease:
    """One label: how frequent, what makes it likelier, and what a patient and the laboratory say of it."""

    name: str
    share: float
    """Of patients who have none of ``raised_by``."""
    raised_by: dict[str, float]
    """Log odds ratio of each earlier disease."""
    unknown: float
    """Share of patients in whom nobody looked."""
    complaints: tuple[str, ...]
    value: str
    """Column of the record."""
    usual: float
    """Median of the value without the disease."""
    spread: float
    """Its standard deviation on a logarithmic scale; negative where the disease lowers it."""


DISEASES = (
    Disease(
        name="COPD", share=0.22, raised_by={}, unknown=0.06, value="paco2_mmhg", usual=39.0, spread=0.09,
        complaints=("wheezes on every flight of stairs", "has used inhalers for years", "breathes out through pursed lips"),
    ),
    Disease(
        name="bronchiectasis", share=0.10, raised_by={"COPD": 0.9}, unknown=0.12, value="iga_g_l", usual=2.2, spread=0.35,
        complaints=("brings up cupfuls of sputum each morning", "lifelong loose cough", "clubbed fingers were noted"),
    ),
    Disease(
        name="pneumothorax", share=0.08, raised_by={"COPD": 1.0}, unknown=0.04, value="pao2_mmhg", usual=84.0, spread=-0.12,
        complaints=("sudden stabbing pain in one side", "sharp pain at one shoulder since morning", "pain on a deep breath"),
    ),
    Disease(
        name="pneumonia", share=0.22, raised_by={"COPD": 0.5, "bronchiectasis": 0.8}, unknown=0.06, value="procalcitonin_ug_l",
        usual=0.09, spread=0.9, complaints=("shaking chills for three days", "rusty sputum", "feverish since the weekend"),
    ),
    Disease(
        name="interstitial lung disease", share=0.12, raised_by={}, unknown=0.15, value="kl6_u_ml", usual=310.0, spread=0.5,
        complaints=("dry cough that will not settle", "crackles like Velcro at both bases", "slower on the flat month by month"),
    ),
    Disease(
        name="tuberculosis", share=0.10, raised_by={}, unknown=0.2, value="esr_mm_h", usual=18.0, spread=0.6,
        complaints=("drenching night sweats", "a relative at home takes four drugs", "was born where skin tests are routine"),
    ),
    Disease(
        name="lung cancer", share=0.16, raised_by={"COPD": 0.7}, unknown=0.08, value="cyfra21_ng_ml", usual=1.9, spread=0.5,
        complaints=("streaks of blood when coughing", "hoarse since spring", "has lost eight kilograms"),
    ),
    Disease(
        name="pleural effusion", share=0.14, raised_by={"pneumonia": 1.0, "tuberculosis": 0.8, "lung cancer": 1.0}, unknown=0.06,
        value="ldh_fluid_ratio", usual=0.45, spread=0.3,
        complaints=("sleeps propped on three pillows", "one base is dull to percussion", "heaviness low in the chest when lying"),
    ),
)  # fmt: skip
ENDPOINT = Endpoint(
    name="pulmonary_diseases",
    kind="multilabel",
    columns=tuple(f"lung_{d.name.replace(' ', '_').lower()}" for d in DISEASES),
    classes=tuple(d.name for d in DISEASES),
)
_ASIDES = (
    "Referred by the family doctor.",
    "No chest trauma.",
    "Lives with her daughter on the third floor.",
    "Appetite as usual.",
    "No recent travel.",
    "Retired from office work.",
    "Takes tablets for blood pressure.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lungs:
    """The diseases of one patient and what shows of them, each in the order of :data:`DISEASES`."""

    present: tuple[bool, ...]
    labels: tuple[float, ...]
    """As recorded: 0, 1, or NaN where nobody looked."""
    signs: tuple[bool, ...]
    """What the film shows; see :func:`oncoweave.phantom.lung_signs.draw_signs`."""
    complaints: tuple[bool, ...]
    """What the report tells of."""
    levels: tuple[float, ...]
    """Values of the laboratory before any went missing, in standard deviations from those without the disease."""
    measured: tuple[bool, ...]


def draw_lungs(config: Config, index: int) -> Lungs:
    """Draw the diseases of a patient, one after the other, and independently what each carrier shows of each."""
    rng = stream(config, "lungs", index)
    present: dict[str, bool] = {}
    for disease, draw in zip(DISEASES, rng.random(len(DISEASES)), strict=True):
        odds = np.log(disease.share / (1 - disease.share)) + sum(o for name, o in disease.raised_by.items() if present[name])
        present[disease.name] = bool(draw < 1 / (1 + np.exp(-odds)))
    has = np.array(list(present.values()))
    unknown = rng.random(len(has)) < [d.unknown for d in DISEASES]
    signs = stream(config, "lungs signs", index).random(len(has)) < np.where(has, *SIGN)
    complaints = stream(config, "lungs complaints", index).random(len(has)) < np.where(has, *COMPLAINT)
    values = stream(config, "lungs values", index)
    levels = values.standard_normal(len(has)) + SHIFT * has
    measured = values.random(len(has)) >= min(1.0, _VALUE_MISSING * config.missing)
    return Lungs(
        present=tuple(map(bool, has)),
        labels=tuple(float("nan") if u else float(h) for h, u in zip(has, unknown, strict=True)),
        signs=tuple(map(bool, signs)),
        complaints=tuple(map(bool, complaints)),
        levels=tuple(map(float, levels)),
        measured=tuple(map(bool, measured)),
    )


def evidence(lungs: Lungs) -> dict[str, Float[np.ndarray, " disease"]]:
    """Give, by carrier, the log likelihood ratio of each disease: the best that anybody can make of it. Sum over carriers."""

    def seen(shown: tuple[bool, ...], rates: tuple[float, float]) -> np.ndarray:
        with_it, without = rates
        ratio = np.log([(1 - with_it) / (1 - without), with_it / without])
        return np.array([ratio[s] for s in map(int, shown)])

    value = np.where(lungs.measured, SHIFT * np.array(lungs.levels) - SHIFT**2 / 2, 0.0)
    return {"film": seen(lungs.signs, SIGN), "report": seen(lungs.complaints, COMPLAINT), "record": value}


def write_history(config: Config, index: int, lungs: Lungs) -> str:
    """Write what the patient complains of: in other words than the labels', in any order, between sentences that say nothing."""
    rng = stream(config, "lungs history", index)
    told = [d.complaints[int(rng.integers(len(d.complaints)))] for d, c in zip(DISEASES, lungs.complaints, strict=True) if c]
    asides = [_ASIDES[i] for i in rng.permutation(len(_ASIDES))[: rng.integers(1, 4)]]
    sentences = [f"{words[0].upper()}{words[1:]}." for words in told] + asides
    return f"Clinical information\n{' '.join(sentences[i] for i in rng.permutation(len(sentences)))}"


def laboratory(lungs: Lungs) -> tuple[dict[str, Value], dict[str, Value]]:
    """Give the values that tell of the diseases, before and after some went missing (NaN)."""
    levels = zip(DISEASES, lungs.levels, strict=True)
    complete: dict[str, Value] = {d.value: float(f"{d.usual * np.exp(d.spread * level):.3g}") for d, level in levels}
    kept = zip(complete.items(), lungs.measured, strict=True)
    return complete, {name: value if known else float("nan") for (name, value), known in kept}
