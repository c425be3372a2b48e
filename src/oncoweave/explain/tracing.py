"""What the tokens that an encoder gives stand for: an input token each, a value that was not measured, a gene set, or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch

from oncoweave.nn.tokens import Tokens
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork


@runtime_checkable
class MarksAbsent(Protocol):
    """An encoder that may give what was not measured a token of its own, where that value's token would stand."""

    marks_absent: bool


@runtime_checkable
class NamedSets(Protocol):
    """An encoder that may give a token for each of some named sets of its input tokens."""

    names: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """How a modality's input is found among its encoder's tokens; what stands for an input comes last."""

    kind: Literal["tokens", "values", "sets", "none"]
    """``tokens``: one for each input token, none where that is not kept. ``values``: one for each, also where it was not
    measured. ``sets``: one a named set. ``none``: none that stands for one input."""
    fixed: int
    """Tokens of a patient that do not depend on how many the input has."""
    names: tuple[str, ...] = ()
    """Of the sets."""

    @property
    def by_token(self) -> bool:
        """Whether each input token has one of its own."""
        return self.kind in ("tokens", "values")

    def encoded(self, given: int) -> int:
        """Say how many tokens an encoder gives for so many that are kept; none of nothing."""
        return (self.fixed + (given if self.kind == "tokens" else 0)) if given else 0


@torch.no_grad()
def trace(fitted: FittedNetwork, data: Dataset, modality: str) -> Trace:
    """Find what a modality's encoder gives for its tokens, by masking one and looking whether it is missing where it stood."""
    preparation, encoder = fitted.preparations[modality], fitted.model().eval().encoders[modality]
    fixed = 0
    for sample in data.samples[modality]:
        tokens = None if sample is None else preparation.collate([sample])
        if tokens is None or int(tokens.keep.sum()) <= 1:
            continue
        keep = tokens.keep.clone()
        count = keep.shape[1]
        keep[0, int(keep[0].int().argmax())] = False
        masked = encoder(Tokens(values=tokens.values, keep=keep, positions=tokens.positions)).keep
        fixed = masked.shape[1]
        if isinstance(encoder, NamedSets) and 1 < len(encoder.names) == fixed:
            return Trace(kind="sets", fixed=fixed, names=tuple(encoder.names))
        if fixed >= count and torch.equal(masked[:, -count:], keep):
            return Trace(kind="tokens", fixed=fixed - count)
        if fixed >= count and isinstance(encoder, MarksAbsent) and encoder.marks_absent:
            return Trace(kind="values", fixed=fixed)
        break
    return Trace(kind="none", fixed=fixed)
