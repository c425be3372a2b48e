"""The way that attention takes through a network: from the tokens of its modalities to what it reads out, step by step.

A network that gives an :class:`AttentionPath` can be followed by attention rollout (``explain.rollout``). Its tokens stand side
by side: those of the modalities, and the network's own (a summary, bottlenecks, latents), which are no patient's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from oncoweave.nn.tokens import Tokens


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """Tokens that attend to others in one step."""

    queries: Int64[Tensor, " query"]
    """Their places."""
    keys: Int64[Tensor, " key"]
    """Places of what they attend to."""
    weights: Float[Tensor, "batch query key"]
    """Attention averaged over heads; sums to one over the kept keys, and is zero elsewhere."""
    carried: float | Float[Tensor, " batch"] = 0.5
    """Share of a query's own content in what comes out: half past a residual connection, all of it for a patient who has nothing
    to attend to, none where there was no content before."""


Step = tuple[Part, ...]
"""Parts that act at once, each of other queries; tokens that are no query stay as they are."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AttentionPath:
    """All attention of a network on a batch."""

    spans: dict[str, slice]
    """Where each modality's tokens stand: those it was given, after what the network puts before them. Tokens outside are the
    network's own."""
    steps: tuple[Step, ...]
    """First step first."""
    readout: Float[Tensor, "batch all"]
    """What each token of the last step weighs in the patient's vector; sums to one."""
    last_alone: bool = True
    """Whether the attention of the last step by itself reaches the tokens of all modalities."""


@runtime_checkable
class Attentive(Protocol):
    """A fusion whose attention can be followed from the patient's vector to the tokens."""

    def attention_path(self, tokens: Mapping[str, Tokens]) -> AttentionPath:
        """Return all attention between the tokens."""


def places(*spans: slice, device: torch.device) -> Int64[Tensor, " place"]:
    """List the places of spans."""
    return torch.cat([torch.arange(span.start, span.stop, device=device) for span in spans])


def whole(weights: Float[Tensor, "batch head all all"], *, keep: Bool[Tensor, "batch all"]) -> Step:
    """Make a step of all tokens that attend to all, with a residual connection."""
    everywhere = torch.arange(weights.shape[2], device=weights.device)
    return (Part(queries=everywhere, keys=everywhere, weights=weights.mean(dim=1) * keep.unsqueeze(2)),)


def mean_of_means(keep: Bool[Tensor, "batch all"], spans: Mapping[str, slice]) -> Float[Tensor, "batch all"]:
    """Say what tokens weigh in the mean, over the spans of which a patient has any, of the mean over the kept tokens of each.

    Weights sum to one, and are zero where not kept; all are zero where nothing is kept.
    """
    weights = torch.zeros(keep.shape, device=keep.device)
    for span in spans.values():
        kept = keep[:, span].float()
        weights[:, span] = kept / kept.sum(dim=1, keepdim=True).clamp(min=1.0)
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=1.0)
