"""Where a fitted network looks: attention that modalities, values, words and patches receive (IRENE, Zhou et al. 2023, fig. 3).

A fusion that returns the attention of all its blocks and what its tokens weigh in the readout is followed from the patient's
vector back to the tokens that encoders gave (``explain.rollout``). An encoder has mixed its modality's tokens before: what a
token's place receives is not all the token's own. What attention is not: a sign, or an attribution. ``explain.occlusion`` says
what the output does when a token or a modality is deleted, and how far attention agrees with that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from oncoweave.core.errors import ConfigError, DataError, unknown_name
from oncoweave.explain.batches import batches, collate, plan
from oncoweave.explain.rollout import last_block, roll_out, to_modalities
from oncoweave.explain.tracing import Trace, trace
from oncoweave.model import Model
from oncoweave.nn.attention_path import AttentionPath, Attentive, mean_of_means
from oncoweave.nn.tokens import Tokens
from oncoweave.nn.views import Hybrid, WithDropout
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork

FOLLOWED = ("bottleneck", "mcat", "mdt", "mmp", "modality_transformer", "motcat", "perceiver", "survpath")
"""Fusions that can be followed; the others are products, sums, gates and trees of vectors, in which no token attends to one."""

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
    """Of each input token, or of each set (a pathway) where the encoder gives a token a set. None for a patient without the
    modality, and where the encoder gives neither.

    Where all patients have the same number of tokens (values of a record), all are there, NaN where not measured; otherwise
    (words, patches, tiles) those that the patient has, in their order.
    """
    unmeasured: dict[str, tuple[Float[np.ndarray, " _"] | None, ...]]
    """Of the tokens that stand for values that were not measured, NaN where measured; None as above, and where there are none."""
    rest: dict[str, Float[np.ndarray, " patient"]]
    """Of tokens that stand for no single input token: an encoder's summary, or all of an encoder that pools."""
    stand_ins: Float[np.ndarray, "patient modality"]
    """Of what stands for a modality that the patient lacks (``missing: learned`` or ``latent``); 0 where nothing does."""

    @property
    def shares(self) -> Float[np.ndarray, "patient modality"]:
        """The share of attention of each modality, which is neither sign nor attribution: 0 where absent.

        With the shares on stand-ins rows sum to one. A patient without any modality, or with too many tokens, has NaN.
        """
        columns = [self.rest[name] + _sums(self.tokens[name]) + _sums(self.unmeasured[name]) for name in self.tokens]
        return np.stack(columns, axis=1)

    @property
    def shares_unmeasured(self) -> Float[np.ndarray, "patient modality"]:
        """The part of each share that lies on values that were not measured."""
        return np.stack([self.rest[name] * 0 + _sums(own) for name, own in self.unmeasured.items()], axis=1)

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
        return _laid_out(self.tokens[modality], len(present[0]))

    def table_unmeasured(self, modality: str) -> Float[np.ndarray, "patient token"] | None:
        """Lay out what values of a modality that were not measured receive; None where they have no tokens."""
        sizes = {len(t) for t in self.unmeasured[modality] if t is not None}
        return _laid_out(self.unmeasured[modality], sizes.pop()) if sizes else None


def _sums(tokens: Sequence[Float[np.ndarray, " _"] | None]) -> Float[np.ndarray, " patient"]:
    return np.array([0.0 if t is None else np.nansum(t) for t in tokens])


def _laid_out(tokens: Sequence[Float[np.ndarray, " _"] | None], size: int) -> Float[np.ndarray, "patient token"]:
    return np.stack([np.full(size, np.nan) if t is None else t for t in tokens])


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Attention:
    """What the tokens of n patients receive from the readout: through all blocks, and in the last one alone."""

    patient_ids: np.ndarray
    modalities: tuple[str, ...]
    rollout: Received
    last: Received | None
    """None where the last block by itself reaches no modality, or not all: perceiver, MCAT, MOTCat, modality transformer."""
    sets: dict[str, tuple[str, ...]]
    """Names of the sets (pathways) that the tokens of a modality stand for, where they stand for sets."""
    drawn: np.ndarray
    """Whether only ``explain.batches.TILES`` tiles of each of a patient's bags were looked at, as all would be too many."""
    left_out: np.ndarray
    """Whether a patient has too many tokens for whole maps, and has NaN."""


def attend(
    fitted: FittedNetwork,
    data: Dataset,
    *,
    generator: np.random.Generator | None = None,
    at_once: int = 8,
    advance: Advance = silent,
) -> Attention:
    """Follow the attention of a fitted network from each patient's vector back to the tokens, averaged over its members.

    The result has no sign and attributes nothing; compare it with ``explain.occlusion``.

    Args:
        fitted: a network whose fusion is :class:`Attentive`.
        data: patients; those who have none of the modalities, or too many tokens for whole maps, get NaN.
        generator: draws the tiles of patients who have too many; seeded with 0 when not given.
        at_once: patients whose maps are in memory together, at most.
        advance: told how many patients are done.

    Raises:
        ConfigError: the fusion has no attention from its vector to the tokens.
    """
    traces = {name: trace(fitted, data, name) for name in fitted.modalities}
    models = [fitted.model(k).eval() for k in range(len(fitted.members))]
    for model in models:
        attentive(model)
    planned = plan(fitted, data, traces, at_once)
    found: dict[str, list[_Found]] = {"rollout": []}
    for rows, tokens in batches(fitted, data, planned, generator or np.random.default_rng(0)):
        given = {name: t.keep.numpy() for name, t in tokens.items()}
        encoded = {name: models[0].encoders[name](t).keep.numpy() for name, t in tokens.items() if traces[name].kind == "sets"}
        each = [_followed(model, tokens) for model in models]
        for kind in each[0]:
            mean = {name: np.mean([one[kind][name] for one in each], axis=0) for name in tokens}
            found.setdefault(kind, []).append(_Found(rows=rows, parts=mean, given=given, sets=encoded))
        advance(len(rows))
    received = {kind: _received(fitted, len(data), parts, traces) for kind, parts in found.items()}
    return Attention(
        patient_ids=data.patient_ids,
        modalities=fitted.modalities,
        rollout=received["rollout"],
        last=received.get("last"),
        sets={name: t.names for name, t in traces.items() if t.kind == "sets"},
        drawn=planned.drawn,
        left_out=planned.left_out,
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
    traced = {name: trace(fitted, patient, name).by_token for name in fitted.modalities}
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


@torch.no_grad()
def _followed(
    model: Model, tokens: Mapping[str, Tokens], *, start: tuple[str, list[int]] | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """Follow the readout, or some tokens of a modality: ``rollout`` through all blocks and, where it can be, ``last`` alone.

    Patients whom a hybrid scores by a modality's own head have what that head reads, the even mean of the modality's tokens.
    """
    operator, own = attentive(model), model.encode(tokens)
    path = operator.attention_path(model.missing(own))
    begin = path.readout
    if start is not None:
        name, places = start
        first = path.spans[name].stop - tokens[name].keep.shape[1]
        begin = torch.zeros_like(begin)
        begin[:, [first + place for place in places]] = 1 / len(places)
    results = {"rollout": roll_out(path, begin)} | ({"last": last_block(path, begin)} if path.last_alone else {})
    if isinstance(model.fusion, Hybrid) and start is None:
        apart = model.fusion.scored_apart(own).unsqueeze(1)
        even = _mean_of_own(path, own)
        results = {kind: torch.where(apart, even, received) for kind, received in results.items()}
    return {
        kind: {name: part.double().numpy() for name, part in to_modalities(path, received).items()}
        for kind, received in results.items()
    }


def _mean_of_own(path: AttentionPath, own: Mapping[str, Tokens]) -> Float[Tensor, "batch all"]:
    """Weigh tokens as a modality's own head reads them: their mean, without what stands in for modalities that are absent."""
    keep = torch.zeros(path.readout.shape, dtype=torch.bool)
    for name, span in path.spans.items():
        keep[:, span.stop - own[name].keep.shape[1] : span.stop] = own[name].keep
    return mean_of_means(keep, path.spans)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Found:
    """What the encoded tokens of a batch receive."""

    rows: np.ndarray
    parts: dict[str, np.ndarray]
    given: dict[str, np.ndarray]
    """Which input tokens are kept."""
    sets: dict[str, np.ndarray]
    """Which sets have a token."""


def _received(fitted: FittedNetwork, num_patients: int, found: Sequence[_Found], traces: Mapping[str, Trace]) -> Received:
    """Sort what encoded tokens received by what they stand for: the last of a modality's, after its summaries."""
    tokens: dict[str, list[np.ndarray | None]] = {name: [None] * num_patients for name in fitted.modalities}
    unmeasured: dict[str, list[np.ndarray | None]] = {name: [None] * num_patients for name in fitted.modalities}
    rest = {name: np.full(num_patients, np.nan) for name in fitted.modalities}
    stand_ins = np.full((num_patients, len(fitted.modalities)), np.nan)
    for one in found:
        for m, name in enumerate(fitted.modalities):
            kind, ragged = traces[name].kind, fitted.preparations[name].num_tokens is None
            kept = one.sets[name] if kind == "sets" else one.given[name]
            for i, row in enumerate(one.rows):
                values, present = one.parts[name][i], bool(one.given[name][i].any())
                rest[name][row], stand_ins[row, m] = (values.sum(), 0.0) if present else (0.0, values.sum())
                if not present or kind == "none":
                    continue
                own, held = values[-kept.shape[1] :], kept[i]
                tokens[name][row] = own[held] if ragged else np.where(held, own, np.nan)
                rest[name][row] -= own[held].sum()
                if kind == "values":
                    unmeasured[name][row] = np.where(held, np.nan, own)
                    rest[name][row] -= own[~held].sum()
                rest[name][row] = max(rest[name][row], 0.0)  # a difference of equal sums may come out below zero
    return Received(
        tokens={name: tuple(t) for name, t in tokens.items()},
        unmeasured={name: tuple(t) for name, t in unmeasured.items()},
        rest=rest,
        stand_ins=stand_ins,
    )
