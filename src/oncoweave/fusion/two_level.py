"""Fusion at two levels: a model of all modalities fused stands beside the modalities' own, and a late fusion weighs them all.

The fused model is one more base of the late fusion, fitted on the same inner folds as the others (hybrid fusion, Baltrusaitis et
al. 2019, section 6.1). Where the modalities interact the fused model earns weight; where they do not, nothing is lost.
"""

from dataclasses import dataclass

from oncoweave.nn.views import Levels

STAGE = "hybrid"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Which fusion at which level."""

    feature: str = "concat"
    """An early or intermediate file of the shelf; its settings are the study's ``wrapped_settings``."""
    decision: str = "stacking"
    """A late one; where it names who votes, as ``rules`` does, the fused model is ``fused``."""


def levels(config: Config) -> Levels:
    """Name the fusions."""
    return Levels(feature=config.feature, decision=config.decision)
