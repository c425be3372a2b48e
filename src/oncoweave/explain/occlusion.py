"""What a network's outputs do when a modality or a token is deleted, beside what attention makes of it.

A token that is masked has no influence at all, as if it had never been measured, so the change of the output is exactly that of
deletion. It is the check on attention: where the two disagree, the output does not follow what is attended. It is no attribution
either where tokens stand in for each other: of two that say the same, neither changes anything alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from oncoweave.core.errors import DataError, unknown_name
from oncoweave.evaluate.intervals import Interval, draw_weights, percentile_interval
from oncoweave.explain.attention import collate
from oncoweave.nn.tokens import Tokens
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork

Outputs = Callable[[dict[str, Tokens]], Float[Tensor, "batch output"]]


def delete_modalities(fitted: FittedNetwork, data: Dataset) -> Float[np.ndarray, "patient modality output"]:
    """Give the outputs with all modalities less those without each; the sign says which way the modality pushed.

    Outputs are those of the head, before they become probabilities, averaged over the networks. 0 for a modality that the patient
    lacks; NaN where it is the patient's only one, or where the patient has none.
    """
    outputs, names = _outputs(fitted), list(fitted.modalities)
    changes = np.full((len(data), len(names), fitted.config.num_outputs), np.nan)
    for row in range(len(data)):
        tokens = collate(fitted, data, np.array([row]))
        has = [bool(tokens[name].present) for name in names]
        changes[row, ~np.array(has)] = 0.0 if any(has) else np.nan
        if sum(has) < 2:
            continue
        present = [m for m, there in enumerate(has) if there]
        keep = {name: tokens[name].keep.repeat(1 + len(present), 1) for name in names}
        for variant, m in enumerate(present, start=1):
            keep[names[m]][variant] = False
        found = outputs(_repeated(tokens, keep))
        changes[row, present] = (found[:1] - found[1:]).numpy()
    return changes


def delete_tokens(
    fitted: FittedNetwork, data: Dataset, modality: str, *, at_once: int = 64
) -> tuple[Float[np.ndarray, "_ output"] | None, ...]:
    """Give the outputs with all tokens less those without each token of a modality, patient by patient.

    Tokens are laid out as ``explain.attention.Received`` has them: those of a table all, NaN where not measured; words and
    patches as the patient has them. None for a patient without the modality; NaN where a token is all that the patient has.

    Args:
        fitted: the network.
        data: patients.
        modality: whose tokens are deleted.
        at_once: tokens deleted in one batch.

    Raises:
        UnknownNameError: the network has no such modality.
    """
    if modality not in fitted.preparations:
        raise unknown_name("modality of the network", modality, fitted.preparations)
    outputs = _outputs(fitted)
    return tuple(
        None
        if sample is None
        else _without_each(outputs, collate(fitted, data, np.array([row])), modality, fitted=fitted, at_once=at_once)
        for row, sample in enumerate(data.samples[modality])
    )


def _without_each(
    outputs: Outputs, tokens: dict[str, Tokens], modality: str, *, fitted: FittedNetwork, at_once: int
) -> np.ndarray | None:
    kept = tokens[modality].keep[0]
    places = torch.nonzero(kept).squeeze(1).tolist()
    if not places:
        return None
    changes = np.full((len(kept), fitted.config.num_outputs), np.nan)
    if len(places) > 1 or any(bool(t.present) for name, t in tokens.items() if name != modality):
        whole = outputs(tokens)
        for start in range(0, len(places), at_once):
            chunk = places[start : start + at_once]
            keep = {name: t.keep.repeat(len(chunk), 1) for name, t in tokens.items()}
            keep[modality][torch.arange(len(chunk)), torch.tensor(chunk)] = False
            changes[chunk] = (whole - outputs(_repeated(tokens, keep))).numpy()
    return changes[places] if fitted.preparations[modality].num_tokens is None else changes


def _repeated(tokens: dict[str, Tokens], keep: dict[str, Tensor]) -> dict[str, Tokens]:
    def copies(values: Tensor, name: str) -> Tensor:
        return values.expand(len(keep[name]), -1, -1)

    return {
        name: Tokens(
            values=copies(t.values, name),
            keep=keep[name],
            positions=None if t.positions is None else copies(t.positions, name),
        )
        for name, t in tokens.items()
    }


def _outputs(fitted: FittedNetwork) -> Outputs:
    models = [fitted.model(k).eval() for k in range(len(fitted.members))]

    def run(tokens: dict[str, Tokens]) -> Tensor:
        with torch.no_grad():
            return torch.stack([model(tokens).double() for model in models]).mean(dim=0)

    return run


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
    if not found:
        raise DataError("no patient has two tokens whose attention and whose changes differ; nothing can be compared")
    values = np.array(found)
    drawn = draw_weights(len(values), replicates=replicates, generator=generator)
    interval = percentile_interval(float(values.mean()), drawn @ values / len(values))
    return Agreement(correlation=interval, patients=len(values))
