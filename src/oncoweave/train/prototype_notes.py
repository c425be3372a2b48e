"""Which of a run's networks took clusters for prototypes, as a mixture lost a component: said, as nothing else shows it."""

from collections.abc import Mapping
from pathlib import Path

from oncoweave.core.state import load_state
from oncoweave.train.late_learner import FittedLate
from oncoweave.train.locked import LockedModel
from oncoweave.train.network_learner import FittedNetwork

_BUFFER = ".by_k_means"


def prototype_notes(locked: Mapping[str, Path]) -> list[str]:
    """Say of each locked network, by the file of its model, in how many of its members prototypes are clusters of k-means."""
    said = []
    for name, path in locked.items():
        model = load_state(path)
        assert isinstance(model, LockedModel), f"{path} holds a {type(model).__name__}"
        networks = [n for n in (model.fitted, *_bases(model.fitted)) if isinstance(n, FittedNetwork)]
        clustered = [[bool(value) for key, value in m.items() if key.endswith(_BUFFER)] for n in networks for m in n.members]
        if count := sum(any(flags) for flags in clustered):
            said.append(
                f"Model {name!r}: in {count} of {len(clustered)} networks the mixture of prototypes lost a component, and"
                " clusters of k-means stand in its place; fewer prototypes (encoder_settings) are less likely to."
            )
    return said


def _bases(fitted: object) -> tuple[object, ...]:
    return fitted.bases if isinstance(fitted, FittedLate) else ()
