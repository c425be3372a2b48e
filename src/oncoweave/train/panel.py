"""The models of a study on one set of training rows: baselines, each modality alone, every fusion, and the permuted null."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from oncoweave.core import shelf
from oncoweave.core.errors import InfeasibleSplitError
from oncoweave.core.files import sha256
from oncoweave.nn.views import FUSED
from oncoweave.train.filling import Policy, fit_filled
from oncoweave.train.finetune import Start, start_settings
from oncoweave.train.fold import Fold, Trained
from oncoweave.train.late_learner import fit_base, fit_late
from oncoweave.train.linear_learner import fit_linear, fit_site
from oncoweave.train.loop import LoopConfig
from oncoweave.train.network_learner import NetworkOptions, NetworkSpec, fit_network
from oncoweave.train.policies import MASK, acts_on_blocks
from oncoweave.train.study import ModelSpec, Study
from oncoweave.train.unread import fit_nothing

SITE_ONLY = "site_only"
ALONE = "only_"
PERMUTED = "permuted_"
_PERMUTATIONS_TRIED = 20
"""Lots drawn for one null before it is left out of a fold."""
SHAPLEY_LIMIT = 4
"""With at most this many modalities, a main model that is no late fusion is fitted on every subset; else on all but each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One model to fit on every fold, and how to fit it."""

    name: str
    role: str
    """baseline, single, fusion, null or ablation."""
    modalities: tuple[str, ...]
    fit: "Fit"


Fit = Callable[[Fold], Trained | None]
"""None where the fold can teach none of the model's modalities: the model is not applicable there."""


def plan(study: Study, *, has_sites: bool) -> list[Planned]:
    """List everything a resolved study fits on each fold, cheapest first."""
    modalities, models = study.modalities or (), study.models or ()
    main = next(m for m in models if m.name == study.main)
    planned = [Planned(name=SITE_ONLY, role="baseline", modalities=(), fit=fit_site)] if has_sites else []
    for name in modalities:
        role = "baseline" if name == study.reference else "single"
        planned.append(Planned(name=ALONE + name, role=role, modalities=(name,), fit=_alone(name)))
    planned += [Planned(name=m.name, role="fusion", modalities=_of(m), fit=_fitter(m, study)) for m in models]
    for subset in ablations(_of(main), apart=scored_apart(main)):
        smaller = narrowed(main, subset)
        fit = _or_nothing(_fitter(smaller, study))
        planned.append(Planned(name=subset_name(main.name, subset), role="ablation", modalities=subset, fit=fit))
    for k in range(study.protocol.permutations):
        suffix = "" if k == 0 else f"_{k + 1}"
        planned.append(
            Planned(name=PERMUTED + main.name + suffix, role="null", modalities=_of(main), fit=_permuted(_fitter(main, study), k))
        )
    return planned


def scored_apart(main: ModelSpec) -> bool:
    """Whether subsets of a model's modalities are scored by the models it combines (see ``train.subsets``), which is cheap.

    Not where a policy stands in for absent modalities: each of these models then knows of the others' modalities.
    """
    return main.stage == "late" and not acts_on_blocks(main.missing)


def ablations(modalities: tuple[str, ...], *, apart: bool) -> Iterator[tuple[str, ...]]:
    """Yield the subsets on which the main model is fitted again, to say what each modality adds; few if all are scored apart."""
    if len(modalities) < 2:
        return
    every = len(modalities) <= SHAPLEY_LIMIT and not apart
    sizes = range(1, len(modalities)) if every else (len(modalities) - 1,)
    for size in sizes:
        yield from combinations(modalities, size)


def narrowed(model: ModelSpec, modalities: tuple[str, ...]) -> ModelSpec:
    """Ask for the same model of some of its modalities."""
    wrapped = {key: _narrowed(model.wrapped[key], own, modalities) for key, own in model.wrapped_settings.items()}
    settings = _narrowed(model.fusion, model.settings, modalities)
    return model.model_copy(update={"modalities": modalities, "settings": settings, "wrapped_settings": wrapped})


def _narrowed(fusion: str, settings: dict, modalities: tuple[str, ...]) -> dict:
    narrow = getattr(shelf.load("fusion", fusion), "narrow", None)
    return settings if narrow is None else narrow(settings, modalities)


def subset_name(main: str, subset: tuple[str, ...]) -> str:
    """Name the main model fitted on some modalities only."""
    return f"{main}[{'+'.join(subset)}]"


def _of(model: ModelSpec) -> tuple[str, ...]:
    return model.modalities or ()


def _alone(modality: str) -> Fit:
    # the same model that late fusions are made of, so that it is fitted once a fold
    return lambda fold: _linear_base(fold, modality) if fold.learnable([modality]) else None


def _linear_base(fold: Fold, modality: str) -> Trained:
    def fit(part: Fold) -> Trained | None:
        return fit_linear(part, [modality], fusion="concat") if part.learnable([modality]) else None

    return fit_base(fold, modality, learner="linear", fit=fit)


def _fitter(model: ModelSpec, study: Study) -> Fit:
    """Fit a model of those of its modalities that a fold can teach."""

    def fit(fold: Fold) -> Trained | None:
        learned = learned_part(model, fold)
        return None if learned is None else _fit(fold, learned, study)

    return fit


def learned_part(model: ModelSpec, fold: Fold) -> ModelSpec | None:
    """Ask for the same model of those of its modalities that a fold can teach; None where these are none."""
    learnable = fold.learnable(_of(model))
    return model if learnable == _of(model) else narrowed(model, learnable) if learnable else None


def _or_nothing(fit: Fit) -> Fit:
    return lambda fold: fit(fold) or fit_nothing(fold)


def _fit(fold: Fold, model: ModelSpec, study: Study) -> Trained:
    names, policy = _of(model), block_policy(model)
    if model.stage == "early":
        return fit_filled(
            fold,
            names,
            policy,
            lambda f: fit_linear(f, names, fusion=model.fusion, settings=model.settings, penalty=model.penalty),
        )
    if model.levels is not None:
        return _two_level(fold, model, study)
    if model.stage in ("intermediate", "hybrid"):
        return fit_filled(fold, names, policy, lambda f: fit_network(f, names, network_spec(model, study)), read=names)
    return _late(fold, model, study)


def block_policy(model: ModelSpec) -> Policy | None:
    """Say what stands in for absent modalities before a model reads them; None where nothing does."""
    if not acts_on_blocks(model.missing):
        return None
    return Policy(name=str(model.missing), settings=model.missing_settings)


def _late(fold: Fold, model: ModelSpec, study: Study) -> Trained:
    bases = late_bases(fold, model, study)
    return fit_late(fold, _of(model), bases, fusion=model.fusion, settings=model.settings)[0]


def _two_level(fold: Fold, model: ModelSpec, study: Study) -> Trained:
    assert model.levels is not None, f"{model.fusion!r} has no levels"
    own = model.wrapped_settings
    update = {"fusion": model.levels.feature, "settings": own.get("feature", {}), "wrapped_settings": {}}
    feature = model.model_copy(update=update)
    fit = _fitter(feature, study)
    known = feature.model_copy(update={"name": ""}).model_dump_json()  # all but its name tells fused models of a fold apart
    bases = [*late_bases(fold, model, study), fit_base(fold, None, learner=known, fit=fit)]
    decision, names = model.levels.decision, (*_of(model), FUSED)
    return fit_late(fold, _of(model), bases, fusion=decision, settings=own.get("decision", {}), names=names)[0]


def late_bases(fold: Fold, model: ModelSpec, study: Study) -> list[Trained]:
    """Fit the models that a late fusion is made of, one a modality, each once a fold."""
    bases = []
    for name in _of(model):
        encoder = model.encoders.get(name) or model.encoders.get(fold.train.kinds[name])
        if encoder is not None:
            bases.append(_network_base(fold, name, encoder, model, study))
        else:
            bases.append(_linear_base(fold, name) if block_policy(model) is None else _filled_base(fold, name, model))
    return bases


def _filled_base(fold: Fold, modality: str, model: ModelSpec) -> Trained:
    """Fit a modality's linear model on everybody: what those who lack it are given comes from their other modalities."""
    policy, names = block_policy(model), _of(model)

    def fit(part: Fold) -> Trained | None:
        if not part.learnable([modality]):
            return None
        return fit_filled(part, part.learnable(names), policy, lambda f: fit_linear(f, [modality], fusion="concat"))

    return fit_base(fold, None, learner=f"linear {modality} {names} {policy}", fit=fit)


def _network_base(fold: Fold, modality: str, encoder: str, model: ModelSpec, study: Study) -> Trained:
    spec = network_spec(model, study)
    given = spec.encoder_settings.get(modality) or spec.encoder_settings.get(fold.train.kinds[modality]) or {}
    alone = replace(spec, encoders={modality: encoder}, encoder_settings={modality: given})
    spec = replace(alone, fusion="mean", settings={}, operator_settings={}, missing=MASK, missing_settings={})
    single = replace(spec, options=replace(spec.options, members=1))

    policy, names = block_policy(model), _of(model)

    def fit(part: Fold) -> Trained | None:
        if not part.learnable([modality]):
            return None
        # out-of-fold scores come from one network an inner fold, not from several: as many times the work would change little
        asked = spec if part is fold else single
        return fit_filled(part, part.learnable(names), policy, lambda f: fit_network(f, [modality], asked), read=[modality])

    learner = f"{encoder} {given} {model.objective} {spec.starts}"
    if policy is None:
        return fit_base(fold, modality, learner=learner, fit=fit)
    return fit_base(fold, None, learner=f"{learner} {modality} {names} {policy}", fit=fit)


def network_spec(model: ModelSpec, study: Study) -> NetworkSpec:
    """Say which network a model of a study is, and how it is trained."""
    inside = not acts_on_blocks(model.missing)
    return NetworkSpec(
        fusion=model.fusion,
        encoders=model.encoders,
        encoder_settings=model.encoder_settings,
        settings=model.settings,
        operator_settings=model.wrapped_settings.get("operator", {}),
        missing=model.missing if inside and model.missing else MASK,
        missing_settings=model.missing_settings if inside else {},
        objective=model.objective,
        starts={name: _start(model, name, Path(path)) for name, path in model.weights.items()},
        options=NetworkOptions(**study.network.part(NetworkOptions)),
        loop=LoopConfig(**study.network.part(LoopConfig)),
    )


def _start(model: ModelSpec, name: str, path: Path) -> Start:
    settings = start_settings(path, model.encoders[name])
    return Start(path=path, sha256=sha256(path), frozen=name in model.frozen, settings=settings)


def _permuted(fit: Fit, k: int) -> Fit:
    def fit_null(fold: Fold) -> Trained | None:
        orders = fold.rng("permutation", k)
        for _ in range(_PERMUTATIONS_TRIED):
            null = _permuted_fold(fold, orders.permutation(len(fold.train)), k)
            # by lot a rare class may fall to the patients of one hospital, who cannot be on both sides of an inner split
            with suppress(InfeasibleSplitError):
                if len(null.inner):
                    return fit(null)
        return None

    return fit_null


def _permuted_fold(fold: Fold, order: np.ndarray, k: int) -> Fold:
    return Fold(
        train=fold.train.with_target(fold.train.outcome.take(order)),
        seed=fold.seed + 104_729 * (k + 1),  # its own, so that nothing random is shared with the models it is held against
        inner_folds=fold.inner_folds,
        group_by_site=fold.group_by_site,
        scratch=fold.scratch,
    )
