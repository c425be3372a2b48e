"""Lines of decision lists that never decide: said, as a rule that never holds looks like one that does."""

import pandas as pd

from oncoweave.core import shelf
from oncoweave.evaluate.tables import DECIDED_BY
from oncoweave.train.study import Study


def idle_lines(study: Study, predictions: pd.DataFrame) -> list[str]:
    """Say of each decision list of a resolved study which of its lines decided for no tested patient."""
    said = []
    for model in study.models or ():
        module = shelf.load("fusion", model.fusion)
        if not hasattr(module, "statements"):
            continue
        told = predictions.loc[predictions["model"] == model.name, DECIDED_BY].str.split("; ").explode()
        idle = [line for line in module.statements(model.config, model.modalities or ()) if line not in set(told)]
        if idle:
            lines = "; ".join(repr(line) for line in idle)
            said.append(f"Model {model.name!r}: {len(idle)} line(s) of its decision list decided for no tested patient: {lines}.")
    return said
