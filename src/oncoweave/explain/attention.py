"""Where a fitted network looks: attention that modalities, values, words and patches receive (IRENE, Zhou et al. 2023, fig. 3).

A fusion that returns the attention of all its blocks and what its tokens weigh in the readout is followed from the patient's
vector back to the tokens that encoders gave (``explain.rollout``). An encoder has mixed its modality's tokens before: what a
token's place receives is not all the token's own. What attention is not: a sign, or an attribution. ``explain.occlusion`` says
what the output does when a token or a modality is deleted, and how far attention agrees with that.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from oncoweave.core.errors import ConfigError, DataError, unknown_name
from oncoweave.explain.rollout import last_block, roll_out, to_modalities
from oncoweave.model import Model
from oncoweave.nn.attention_path import Attentive
from oncoweave.nn.tokens import Tokens
from oncoweave.nn.views import Hybrid, WithDropout
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork

FOLLOWED = ("bottleneck", "mcat", "mdt", "mmp", "modality_transformer", "motcat", "perceiver", "survpath")
"""Fusions that can be followed; the others are products, sums, gates and trees of vectors, in which no token attends to one."""
MAX_TOKENS = 4096
"""Tokens of a patient, all modalities together, up to which whole attention maps are held in memory."""

Advance = Callable[[int], None]
"""Told that so many patients more are done."""


def silent(_: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Received:
    """Attention received, n patients; a patient's numbers sum to one over all modalities.

    What ends on tokens that are no modality's (bottlenecks, latents) is left out before.
    """

    tokens: dict[str, tuple[Float[np.ndarray, " _"] | None, ...]]
    """Of each input token. None for a patient without the modality, and where the encoder gives no token for each it is given.

    Where all patients have the same number of tokens (values of a record), all are there, NaN where not measured; otherwise
    (words, patches, tiles) those that the patient has, in their order.
    """
    rest: dict[str, Float[np.ndarray, " patient"]]
    """Of tokens that stand for no single input token: an encoder's summary, or all of an encoder that pools."""

    @property
    def shares(self) -> Float[np.ndarray, "patient modality"]:
        """The share of attention of each modality, which is neither sign nor attribution: 0 where absent, rows sum to one.

        A patient without any modality has NaN.
        """
        columns = [
            self.rest[name] + np.array([0.0 if t is None else np.nansum(t) for t in tokens])
            for name, tokens in self.tokens.items()
        ]
        return np.stack(columns, axis=1)

    def table(self, modality: str) -> Float[np.ndarray, "patient token"]:
        """Lay out a modality of which every patient has the same tokens; NaN where not measured or absent.

        Raises:
            DataError: patients differ in their number of tokens, or no patient's tokens can be told apart.
        """
        if modality not in self.tokens:
            raise unknown_name("modality", modality, self.tokens)
        present = [t for t in self.tokens[modality] if t is not None]
        if len({len(t) for t in present}) != 1:
            msg = (
                f"modality {modality!r}: wanted the same tokens for every patient, got {sorted({len(t) for t in present})} tokens"
            )
            raise DataError(msg)
        absent = np.full(len(present[0]), np.nan)
        return np.stack([absent if t is None else t for t in self.tokens[modality]])


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Attention:
    """What the tokens of n patients receive from the readout: through all blocks, and in the last one alone."""

    patient_ids: np.ndarray
    modalities: tuple[str, ...]
    rollout: Received
    last: Received | None
    """None where the last block by itself reaches no modality, or not all: perceiver, MCAT, MOTCat, modality transformer."""


def attend(fitted: FittedNetwork, data: Dataset, *, at_once: int = 8, advance: Advance = silent) -> Attention:
    """Follow the attention of a fitted network from each patient's vector back to the tokens, averaged over its members.

    The result has no sign and attributes nothing; compare it with ``explain.occlusion``.

    Args:
        fitted: a network whose fusion is :class:`Attentive`.
        data: patients; those who have none of the modalities get NaN.
        at_once: patients whose maps are in memory together.
        advance: told how many patients are done.

    Raises:
        ConfigError: the fusion has no attention from its vector to the tokens.
        DataError: a patient has more than ``MAX_TOKENS`` tokens.
    """
    parts: dict[str, list[tuple[np.ndarray, dict[str, np.ndarray]]]] = {"rollout": []}
    traced = {name: _is_traced(fitted, data, name) for name in fitted.modalities}
    models = [fitted.model(k).eval() for k in range(len(fitted.members))]
    keeps: list[dict[str, np.ndarray]] = []
    for rows, tokens in _batches(fitted, data, at_once):
        keeps.append({name: t.keep.numpy() for name, t in tokens.items()})
        found = [_followed(model, tokens) for model in models]
        for kind in found[0]:
            mean = {name: np.mean([one[kind][name] for one in found], axis=0) for name in tokens}
            parts.setdefault(kind, []).append((rows, mean))
        advance(len(rows))
    received = {kind: _received(fitted, len(data), found, keeps, traced) for kind, found in parts.items()}
    return Attention(
        patient_ids=data.patient_ids, modalities=fitted.modalities, rollout=received["rollout"], last=received.get("last")
    )


def attend_from(
    fitted: FittedNetwork, patient: Dataset, *, modality: str, places: Sequence[int]
) -> dict[str, Float[np.ndarray, " _"]]:
    """Follow the attention of some of a patient's tokens, such as the pieces of a word, to all tokens of all modalities.

    Not signed, and no attribution: it says what the word's own token has drawn from, not what the word does to the output.

    Args:
        fitted: a network whose fusion is :class:`Attentive`.
        patient: one row.
        modality: the tokens' modality.
        places: their places among the modality's tokens, as :class:`Received` has them.

    Returns:
        For each modality that the patient has and whose tokens can be told apart, what each receives; in all at most one.

    Raises:
        ConfigError: the fusion has no attention from its vector to the tokens, or the modality's encoder gives no token for each
            it is given.
        DataError: there is not exactly one patient, or no such place.
    """
    if len(patient) != 1:
        msg = f"wanted one patient whose tokens are followed, got {len(patient)}"
        raise DataError(msg)
    traced = {name: _is_traced(fitted, patient, name) for name in fitted.modalities}
    if not traced.get(modality, False):
        msg = f"modality {modality!r} has no tokens that can be told apart; use an encoder variant that keeps them (tokens)"
        raise ConfigError(msg)
    tokens = collate(fitted, patient, np.arange(1))
    count = tokens[modality].keep.shape[1]
    if not places or not all(0 <= place < count and bool(tokens[modality].keep[0, place]) for place in places):
        msg = f"modality {modality!r}: wanted places among {count} tokens that the patient has, got {list(places)}"
        raise DataError(msg)
    models, start = [fitted.model(k).eval() for k in range(len(fitted.members))], (modality, list(places))
    found = [_followed(model, tokens, start=start)["rollout"] for model in models]
    return {
        name: np.mean([one[name] for one in found], axis=0)[0, -part.keep.shape[1] :][part.keep[0].numpy()]
        for name, part in tokens.items()
        if traced[name] and bool(part.present[0])
    }


def collate(fitted: FittedNetwork, data: Dataset, rows: np.ndarray) -> dict[str, Tokens]:
    """Make a batch of some rows."""
    return {name: p.collate([data.samples[name][i] for i in rows]) for name, p in fitted.preparations.items()}


def attentive(model: Model) -> Attentive:
    """Find the operator of a network whose attention can be followed.

    Raises:
        ConfigError: it has none.
    """
    operator = model.fusion.fusion if isinstance(model.fusion, Hybrid) else model.fusion
    operator = operator.fusion if isinstance(operator, WithDropout) else operator
    if not isinstance(operator, Attentive):
        msg = (
            f"fusion {model.config.fusion!r} has no attention that leads from its vector back to the tokens, and rollout none;"
            f" followed are {', '.join(FOLLOWED)}; explain.occlusion takes every fusion"
        )
        raise ConfigError(msg)
    return operator


def _batches(fitted: FittedNetwork, data: Dataset, at_once: int) -> Iterator[tuple[np.ndarray, dict[str, Tokens]]]:
    for start in range(0, len(data), at_once):
        rows = np.arange(start, min(start + at_once, len(data)))
        tokens = collate(fitted, data, rows)
        present = np.any([t.present.numpy() for t in tokens.values()], axis=0)
        if present.any():
            index = torch.from_numpy(np.flatnonzero(present))
            yield rows[present], {name: t.take(index) for name, t in tokens.items()}


@torch.no_grad()
def _followed(
    model: Model, tokens: Mapping[str, Tokens], *, start: tuple[str, list[int]] | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """Follow the readout, or some tokens of a modality: ``rollout`` through all blocks and, where it can be, ``last`` alone."""
    operator = attentive(model)
    encoded = model.missing(model.encode(tokens))
    longest = int(torch.stack([part.keep.sum(dim=1) for part in encoded.values()]).sum(dim=0).max())
    if longest > MAX_TOKENS:
        msg = f"a patient has {longest} tokens; whole attention maps are followed up to {MAX_TOKENS}, use fewer tiles"
        raise DataError(msg)
    path = operator.attention_path(encoded)
    begin = path.readout
    if start is not None:
        name, places = start
        first = path.spans[name].stop - tokens[name].keep.shape[1]
        begin = torch.zeros_like(begin)
        begin[:, [first + place for place in places]] = 1 / len(places)
    results = {"rollout": roll_out(path, begin)} | ({"last": last_block(path, begin)} if path.last_alone else {})
    return {
        kind: {name: part.double().numpy() for name, part in to_modalities(path, received).items()}
        for kind, received in results.items()
    }


def _received(
    fitted: FittedNetwork,
    num_patients: int,
    found: Sequence[tuple[np.ndarray, dict[str, np.ndarray]]],
    keeps: Sequence[dict[str, np.ndarray]],
    traced: Mapping[str, bool],
) -> Received:
    """Sort what encoded tokens received by the input tokens they stand for: the last of a modality's, after its summaries."""
    tokens: dict[str, list[np.ndarray | None]] = {name: [None] * num_patients for name in fitted.modalities}
    rest = {name: np.full(num_patients, np.nan) for name in fitted.modalities}
    for (rows, parts), keep in zip(found, keeps, strict=True):
        for name, values in parts.items():
            held, ragged = keep[name], fitted.preparations[name].num_tokens is None
            for i, row in enumerate(rows):
                rest[name][row] = values[i].sum()
                if traced[name] and held[i].any():
                    own = values[i][-held.shape[1] :]
                    rest[name][row] -= own[held[i]].sum()
                    tokens[name][row] = own[held[i]] if ragged else np.where(held[i], own, np.nan)
                rest[name][row] = max(rest[name][row], 0.0)  # a difference of equal sums may come out below zero
    return Received(tokens={name: tuple(t) for name, t in tokens.items()}, rest=rest)


@torch.no_grad()
def _is_traced(fitted: FittedNetwork, data: Dataset, modality: str) -> bool:
    """Whether a modality's encoder gives a token for each it is given: one that is masked has to be missing where it stood."""
    preparation, encoder = fitted.preparations[modality], fitted.model().eval().encoders[modality]
    for sample in data.samples[modality]:
        tokens = None if sample is None else preparation.collate([sample])
        if tokens is not None and int(tokens.keep.sum()) > 1:
            keep = tokens.keep.clone()
            keep[0, int(keep[0].int().argmax())] = False
            masked = encoder(Tokens(values=tokens.values, keep=keep, positions=tokens.positions)).keep
            return masked.shape[1] >= keep.shape[1] and torch.equal(masked[:, -keep.shape[1] :], keep)
    return False
