"""Lines of decision lists to be told of: those that never decide, and those that decide for more patients than they ask for."""

import pandas as pd
from scipy.stats import binom

from oncoweave.core import shelf
from oncoweave.evaluate.tables import DECIDED_BY
from oncoweave.nn.views import FUSED
from oncoweave.train.study import ModelSpec, Study

_BY_CHANCE = 0.001
"""How rarely a line that keeps to its share may be said not to."""


def lines_to_mind(study: Study, predictions: pd.DataFrame) -> list[str]:
    """Say of each decision list of a resolved study which lines decided for no tested patient, and which for too many."""
    said = []
    for model in study.models or ():
        fusion, config, voters = _deciding(model)
        module = shelf.load("fusion", fusion)
        if not hasattr(module, "statements"):
            continue
        own = predictions[predictions["model"] == model.name]
        told = own[DECIDED_BY].str.split("; ").explode()
        idle = [line for line in module.statements(config, voters) if line not in set(told)]
        if idle:
            lines = "; ".join(repr(line) for line in idle)
            said.append(f"Model {model.name!r}: {len(idle)} line(s) of its decision list decided for no tested patient: {lines}.")
        first = told[own.loc[told.index, "repeat"] == own["repeat"].min()]
        for line, most in module.shares(config).items():
            count = int((first == line).sum())
            if binom.sf(count - 1, len(first), most) < _BY_CHANCE:
                # of several classes each is decided apart
                advice = " Ask for a smaller share." if most else ""
                whom = "tested patients" if first.index.is_unique else "decisions, one a class and tested patient"
                said.append(
                    f"Model {model.name!r}: the line {line!r} asks for at most {most:.0%} and decided for {count} of {len(first)}"
                    f" {whom} ({count / len(first):.0%}): its cut-offs come from scores of training patients left out of the fit,"
                    f" which spread less than those of the model fitted on all of them.{advice}"
                )
    return said


def _deciding(model: ModelSpec) -> tuple[str, object, tuple[str, ...]]:
    """Give the fusion that decides, its configuration and who votes: of two levels, the upper one's, and the fused model too."""
    if model.levels is None:
        return model.fusion, model.config, model.modalities or ()
    settings = model.wrapped_settings.get("decision", {})
    config = shelf.configure("fusion", model.levels.decision, settings, where=f"model {model.name!r}")
    return model.levels.decision, config, (*(model.modalities or ()), FUSED)
