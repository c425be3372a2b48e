"""What of a fusion does nothing for the modalities of a study: said, as a run of it looks like one in which it acts."""

from collections.abc import Mapping

from oncoweave.core import shelf
from oncoweave.train.default_encoders import operator_in
from oncoweave.train.policies import acts_on_blocks
from oncoweave.train.study import ModelSpec, Study


def fusion_notes(study: Study, kinds: Mapping[str, str]) -> list[str]:
    """Say of each network of a resolved study what of its fusion has no effect on its modalities, as the fusion tells it."""
    said = []
    for model in study.models or ():
        if model.stage == "hybrid" and model.levels is None and acts_on_blocks(model.missing):
            said.append(
                f"Model {model.name!r}: missing {model.missing!r} stands in for absent modalities before the network reads them,"
                f" so that fusion {model.fusion!r} takes every patient for one with all of them: the heads of modalities learn"
                " from stand-ins too, and no patient has a single modality. With mask, learned or latent they know who has what."
            )
        if operator_in(model) is not None and acts_on_blocks(model.missing) and _drops(study, model):
            said.append(
                f"Model {model.name!r}: missing {model.missing!r} fills in every absent modality, so that modality_dropout trains"
                " the network for a lack that it never meets; leave out one of the two."
            )
        operator = operator_in(model)
        if operator is None or not hasattr(module := shelf.load("fusion", operator), "without_effect"):
            continue
        modalities = model.modalities or study.modalities or ()
        bags = frozenset(name for name in modalities if getattr(shelf.load("modalities", kinds[name]), "BAG", False))
        config = shelf.configure("fusion", operator, _settings(model, operator), where=f"model {model.name!r}")
        if told := module.without_effect(config, modalities=modalities, bags=bags):
            said.append(f"Model {model.name!r}: of fusion {operator!r} something has no effect: {told}.")
    if study.network.modality_dropout and not any(operator_in(m) or m.encoders for m in study.models or ()):
        said.append("network: modality_dropout has no effect, as no model of this study is a network.")
    return said


def _drops(study: Study, model: ModelSpec) -> bool:
    """Whether training drops any of a model's modalities."""
    rates, modalities = study.network.modality_dropout, model.modalities or study.modalities or ()
    return any(rates.get(m, 0.0) > 0 for m in modalities) if isinstance(rates, dict) else rates > 0


def _settings(model: ModelSpec, operator: str) -> Mapping[str, object]:
    if model.fusion == operator:
        return model.settings
    key = next(key for key, fusion in model.wrapped.items() if fusion == operator)
    return model.wrapped_settings.get(key, {})
