"""What of a fusion does nothing for the modalities of a study: said, as a run of it looks like one in which it acts."""

from collections.abc import Mapping

from oncoweave.core import shelf
from oncoweave.train.default_encoders import operator_in
from oncoweave.train.study import ModelSpec, Study


def fusion_notes(study: Study, kinds: Mapping[str, str]) -> list[str]:
    """Say of each network of a resolved study what of its fusion has no effect on its modalities, as the fusion tells it."""
    said = []
    for model in study.models or ():
        operator = operator_in(model)
        if operator is None or not hasattr(module := shelf.load("fusion", operator), "without_effect"):
            continue
        modalities = model.modalities or study.modalities or ()
        bags = frozenset(name for name in modalities if getattr(shelf.load("modalities", kinds[name]), "BAG", False))
        config = shelf.configure("fusion", operator, _settings(model, operator), where=f"model {model.name!r}")
        if told := module.without_effect(config, modalities=modalities, bags=bags):
            said.append(f"Model {model.name!r}: of fusion {operator!r} something has no effect: {told}.")
    return said


def _settings(model: ModelSpec, operator: str) -> Mapping[str, object]:
    if model.fusion == operator:
        return model.settings
    key = next(key for key, fusion in model.wrapped.items() if fusion == operator)
    return model.wrapped_settings.get(key, {})
