"""Which network was followed, in which patients, and what a change of its output means."""

from collections.abc import Mapping
from dataclasses import dataclass

from oncoweave.serve import wording
from oncoweave.train.network_learner import FittedNetwork


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What was asked, for the page to say."""

    study: str
    model: str
    fusion: str
    """As the study named it, with the operator that a hybrid wraps."""
    encoders: Mapping[str, str]
    """By modality."""
    members: int
    endpoint: str
    endpoint_kind: str
    unit: str
    """Of a change of the output."""
    scale: str
    """What a change of some size means, as a sentence; empty where there is no short way."""
    own: bool
    """Whether the cohort is the one that the network was fitted on."""
    seen: int
    """Patients, of those followed, whom the network was fitted on."""
    hashes: Mapping[str, str]
    versions: Mapping[str, str]
    sample: int
    seed: int


_UNITS = {
    "classify": ("log-odds", "classes"),
    "multilabel": ("log-odds", "labels"),
    "ordinal": ("log-odds", "cut-points"),
    "cox": ("log-risk", "outputs"),
    "discrete_survival": ("log-odds of the hazard", "intervals"),
    "regress": ("standard deviations of the outcome", "outputs"),
}
_SCALES = {
    "log-odds": "A change of 0.69 doubles or halves the odds, one of 0.10 changes them by a tenth.",
    "log-risk": "A change of 0.69 doubles or halves the hazard, one of 0.10 changes it by a tenth.",
}


def unit_of(fitted: FittedNetwork) -> tuple[str, str]:
    """Name the unit of a network's outputs, and what some of it means."""
    objective = type(fitted.objective).__module__.rpartition(".")[2]
    unit, many = _UNITS.get(objective, ("units of the output", "outputs"))
    scale = _SCALES.get(unit, "")
    if fitted.config.num_outputs > 1:
        unit = f"{unit}, root mean square over {wording.count(fitted.config.num_outputs)} {many}"
    return unit, scale
