"""What a network's outputs do when a modality or a token is deleted, beside what attention makes of it.

A token that is masked has no influence at all, as if it had never been measured, so the change of the output is exactly that of
deletion. It is the check on attention: where the two disagree, the output does not follow what is attended. It is no attribution
either where tokens stand in for each other: of two that say the same, neither changes anything alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from oncoweave.core.errors import DataError, unknown_name
from oncoweave.evaluate.intervals import Interval
from oncoweave.explain.attention import Advance, silent
from oncoweave.explain.batches import collate
from oncoweave.explain.ranking import mean_interval
from oncoweave.model import Model
from oncoweave.nn.tokens import Tokens
from oncoweave.objectives.classify import Classify
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork

Groups = Sequence[Sequence[int]]
"""Places of tokens that are deleted together."""


@torch.no_grad()
def delete_modalities(
    fitted: FittedNetwork, data: Dataset, *, advance: Advance = silent
) -> Float[np.ndarray, "patient modality output"]:
    """Give the outputs with all modalities less those without each; the sign says which way the modality pushed.

    Outputs are those of the head, before they become probabilities, averaged over the networks. 0 for a modality that the patient
    lacks; NaN where it is the patient's only one, or where the patient has none.
    """
    models, names = _models(fitted), list(fitted.modalities)
    changes = np.full((len(data), len(names), fitted.config.num_outputs), np.nan)
    for row in range(len(data)):
        tokens = collate(fitted, data, np.array([row]))
        has = [bool(tokens[name].present) for name in names]
        changes[row, ~np.array(has)] = 0.0 if any(has) else np.nan
        present = [m for m, there in enumerate(has) if there]
        if len(present) > 1:
            keep = {name: tokens[name].keep.repeat(1 + len(present), 1) for name in names}
            for variant, m in enumerate(present, start=1):
                keep[names[m]][variant] = False
            repeated = {name: _repeated(tokens[name], keep[name]) for name in names}
            found = _mean([model(repeated) for model in models])
            changes[row, present] = found[:1] - found[1:]
        advance(1)
    return changes


def delete_tokens(
    fitted: FittedNetwork, data: Dataset, modality: str, *, at_once: int = 64, advance: Advance = silent
) -> tuple[Float[np.ndarray, "_ output"] | None, ...]:
    """Give the outputs with all tokens less those without each token of a modality, patient by patient.

    Tokens are laid out as ``explain.attention.Received`` has them: those of a table all, NaN where not measured; words and
    patches as the patient has them. None for a patient without the modality; NaN where a token is all that the patient has.

    Args:
        fitted: the network.
        data: patients.
        modality: whose tokens are deleted.
        at_once: tokens deleted in one batch.
        advance: told of each patient.

    Raises:
        UnknownNameError: the network has no such modality.
    """
    return delete_groups(fitted, data, modality, [None] * len(data), at_once=at_once, advance=advance)


@torch.no_grad()
def delete_groups(
    fitted: FittedNetwork,
    data: Dataset,
    modality: str,
    groups: Sequence[Groups | None],
    *,
    at_once: int = 64,
    advance: Advance = silent,
) -> tuple[Float[np.ndarray, "_ output"] | None, ...]:
    """Give the outputs with all tokens less those without each group of a modality's tokens, patient by patient.

    A group is what makes sense only together: the pieces of a word, the levels of a category. Other modalities are encoded once.

    Args:
        fitted: the network.
        data: patients.
        modality: whose tokens are deleted.
        groups: of each patient, places as ``explain.attention.Received`` has them; None for each token by itself.
        at_once: groups deleted in one batch.
        advance: told of each patient.

    Returns:
        None for a patient without the modality; NaN where nothing of a group is there, or it is all that the patient has.

    Raises:
        UnknownNameError: the network has no such modality.
    """
    if modality not in fitted.preparations:
        raise unknown_name("modality of the network", modality, fitted.preparations)
    models, found = _models(fitted), list[np.ndarray | None]()
    for row, own in enumerate(groups):
        found.append(None)
        if data.samples[modality][row] is not None:
            tokens = collate(fitted, data, np.array([row]))
            placed = _placed(fitted, tokens[modality], modality, own)
            found[-1] = _without_each(models, tokens, modality, placed, at_once=_room(fitted, tokens, at_once))
        advance(1)
    return tuple(found)


@torch.no_grad()
def delete_sets(
    fitted: FittedNetwork, data: Dataset, modality: str, *, at_once: int = 64, advance: Advance = silent
) -> tuple[Float[np.ndarray, "set output"] | None, ...]:
    """Give the outputs with all less those without each token of an encoder that gives one a set (a pathway), by patient.

    The set's token is deleted; its values stay in the tokens of other sets that share them.

    Returns:
        None for a patient without the modality; NaN where a set has no token, or it is all that the patient has.

    Raises:
        UnknownNameError: the network has no such modality.
    """
    if modality not in fitted.preparations:
        raise unknown_name("modality of the network", modality, fitted.preparations)
    models, found = _models(fitted), list[np.ndarray | None]()
    for row in range(len(data)):
        tokens = collate(fitted, data, np.array([row]))
        found.append(_without_each(models, tokens, modality, None, at_once=_room(fitted, tokens, at_once)))
        advance(1)
    return tuple(found)


def _room(fitted: FittedNetwork, tokens: Mapping[str, Tokens], at_once: int) -> int:
    """Say how many copies of a patient fit a batch: no more of its bags' tokens than the network was trained on at once."""
    longest = sum(t.keep.shape[1] for name, t in tokens.items() if fitted.preparations[name].num_tokens is None)
    return max(1, min(at_once, fitted.tokens // max(longest, 1)))


def _placed(fitted: FittedNetwork, tokens: Tokens, modality: str, groups: Groups | None) -> list[list[int]]:
    """Find the columns of a batch of one that groups stand in: what a patient has not is no part of a group."""
    kept = torch.nonzero(tokens.keep[0]).squeeze(1).tolist()
    places = kept if fitted.preparations[modality].num_tokens is None else list(range(tokens.keep.shape[1]))
    there = set(kept)
    own = [[k] for k in range(len(places))] if groups is None else groups
    return [[places[k] for k in group if places[k] in there] for group in own]


def _without_each(
    models: Sequence[Model], tokens: dict[str, Tokens], modality: str, groups: list[list[int]] | None, *, at_once: int
) -> np.ndarray | None:
    """Delete groups of a modality's tokens; without groups, each token that its encoder gives."""
    if not tokens[modality].keep.any():
        return None
    encoded = [model.encode(tokens) for model in models]
    kept = (tokens[modality] if groups is not None else encoded[0][modality]).keep[0]
    places = [[k] if there else [] for k, there in enumerate(kept.tolist())] if groups is None else groups
    alone = not any(bool(t.present) for name, t in tokens.items() if name != modality)
    changes = np.full((len(places), models[0].config.num_outputs), np.nan)
    deleted = [g for g, group in enumerate(places) if group and not (alone and len(group) == int(kept.sum()))]
    whole = _mean([_scored(model, one) for model, one in zip(models, encoded, strict=True)])
    for start in range(0, len(deleted), at_once):
        chunk = deleted[start : start + at_once]
        keep = kept.repeat(len(chunk), 1)
        for variant, g in enumerate(chunk):
            keep[variant, places[g]] = False
        outputs = []
        for model, one in zip(models, encoded, strict=True):
            others = {name: _repeated(t, t.keep.repeat(len(chunk), 1)) for name, t in one.items() if name != modality}
            if groups is None:
                without = _repeated(one[modality], keep)
            else:
                without = model.encoders[modality](_repeated(tokens[modality], keep))
            outputs.append(_scored(model, {**others, modality: without}))
        changes[chunk] = whole - _mean(outputs)
    return changes


def _scored(model: Model, encoded: dict[str, Tokens]) -> Float[Tensor, "batch output"]:
    """Score from what encoders gave, in the order of the network's modalities."""
    return model.score({name: encoded[name] for name in model.encoders})


def _repeated(tokens: Tokens, keep: Bool[Tensor, "batch token"]) -> Tokens:
    """Make copies of one patient's tokens, each with another mask."""
    return Tokens(
        values=tokens.values.expand(len(keep), -1, -1),
        keep=keep,
        positions=None if tokens.positions is None else tokens.positions.expand(len(keep), -1, -1),
    )


def _models(fitted: FittedNetwork) -> list[Model]:
    return [fitted.model(k).eval() for k in range(len(fitted.members))]


def _mean(outputs: Sequence[Float[Tensor, "batch output"]]) -> Float[np.ndarray, "batch output"]:
    """Average over the networks."""
    return torch.stack([part.detach().double() for part in outputs]).mean(dim=0).numpy()


def sizes(fitted: FittedNetwork, changes: Float[np.ndarray, "*shape output"]) -> Float[np.ndarray, "*shape"]:
    """Say how large changes of outputs are, whatever their sign: the root mean square over outputs.

    What all classes of a softmax have in common is taken off before: no probability depends on it.
    """
    if isinstance(fitted.objective, Classify) and changes.shape[-1] > 1:
        changes = changes - changes.mean(axis=-1, keepdims=True)
    return np.sqrt(np.mean(np.square(changes), axis=-1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How well attention ranks a patient's tokens as deletion does: the mean of the patients' Spearman correlations."""

    correlation: Interval
    patients: int
    """Those of whom two tokens or more can be compared."""


def agreement(
    received: Sequence[Float[np.ndarray, " _"] | None],
    changes: Sequence[Float[np.ndarray, "_ output"] | None],
    *,
    generator: np.random.Generator,
    replicates: int = 1000,
) -> Agreement:
    """Correlate the attention that tokens (or modalities) receive with the size of the change when they are deleted.

    Spearman's correlation within each patient; sizes are root mean squares over outputs, as attention has no sign. The interval
    resamples patients.

    Args:
        received: attention of each patient's tokens; None where absent, NaN where a token is not there.
        changes: as :func:`delete_tokens` gives them.
        generator: of the bootstrap.
        replicates: of the bootstrap.

    Raises:
        DataError: the lists differ in length or a patient's in tokens, or no patient can be compared.
    """
    values = correlations(received, changes)
    if not len(values):
        raise DataError("no patient has two tokens whose attention and whose changes differ; nothing can be compared")
    return Agreement(correlation=mean_interval(values, generator=generator, replicates=replicates), patients=len(values))


def correlations(
    received: Sequence[Float[np.ndarray, " _"] | None], changes: Sequence[Float[np.ndarray, "_ output"] | None]
) -> Float[np.ndarray, " patient"]:
    """Give Spearman's correlation of attention and size of change in each patient in whom two tokens or more can be compared.

    Raises:
        DataError: the lists differ in length or a patient's in tokens.
    """
    from scipy.stats import rankdata

    if len(received) != len(changes):
        msg = f"wanted attention and changes of the same patients, got {len(received)} and {len(changes)}"
        raise DataError(msg)
    found = []
    for attention, change in zip(received, changes, strict=True):
        if attention is None or change is None:
            continue
        if len(attention) != len(change):
            msg = f"wanted attention and changes of the same tokens, got {len(attention)} and {len(change)}"
            raise DataError(msg)
        size = np.sqrt(np.mean(np.square(change), axis=1))
        both = ~np.isnan(attention) & ~np.isnan(size)
        if both.sum() > 1 and np.ptp(attention[both]) > 0 and np.ptp(size[both]) > 0:
            found.append(float(np.corrcoef(rankdata(attention[both]), rankdata(size[both]))[0, 1]))
    return np.array(found, dtype=float)
