"""Attention followed through a network's steps: from what is read out, back to the tokens that went in.

Attention rollout (Abnar & Zuidema, ACL 2020, eq. 1): a block mixes (W + I) / 2, its attention averaged over heads and what the
residual connection carries past it, and the mixtures of all blocks are multiplied. A step without a residual connection mixes W
alone. What attention is not: it has no sign, so a token that speaks against an outcome is attended as one that speaks for it; it
leaves out what values, feed-forward layers and the head make of a token; so it attributes nothing. Hold it against deletion
(``explain.occlusion``) before it is believed.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from oncoweave.nn.attention_path import AttentionPath, Step


def roll_out(path: AttentionPath, start: Float[Tensor, "batch all"]) -> Float[Tensor, "batch all"]:
    """Follow weights on the tokens of the last step back to the tokens that went into the first (Abnar & Zuidema 2020).

    Neither sign nor attribution: see the module. A patient's result sums to what ``start`` sums to, and is zero on tokens that
    are not kept, as no kept query attends to them.

    Args:
        path: attention of all steps; a kept query's weights sum to one.
        start: weights of the tokens that come out of the last step, such as what they weigh in the readout.
    """
    received = start
    for step in reversed(path.steps):
        received = _taken(received, step)
    return received


def last_block(path: AttentionPath, start: Float[Tensor, "batch all"]) -> Float[Tensor, "batch all"]:
    """Give what the last step's tokens attend to, weighed by ``start``: what a single map shows.

    Neither sign nor attribution, and less than :func:`roll_out`: the keys of the last step are mixtures of many tokens already.
    """
    return _taken(start, path.steps[-1], carry=False)


def to_modalities(path: AttentionPath, received: Float[Tensor, "batch all"]) -> dict[str, Float[Tensor, "batch _"]]:
    """Cut what tokens receive by modality, scaled so that a patient's numbers sum to one.

    Left out is what the network's own tokens receive (bottlenecks, latents, learned queries): they are the same for everybody.
    """
    parts = {name: received[:, span] for name, span in path.spans.items()}
    total = torch.stack([part.sum(dim=1) for part in parts.values()]).sum(dim=0).unsqueeze(1)
    return {name: part / total.where(total > 0, 1.0) for name, part in parts.items()}


def _taken(received: Float[Tensor, "batch all"], step: Step, *, carry: bool = True) -> Float[Tensor, "batch all"]:
    """Hand what tokens received on to those that they were mixed from."""
    result = received.clone()
    for part in step:
        result[:, part.queries] = 0.0
    for part in step:
        share = received[:, part.queries]
        kept = share * torch.as_tensor(part.carried).reshape(-1, 1) if carry else torch.zeros_like(share)
        result[:, part.queries] += kept
        result[:, part.keys] += torch.einsum("bq,bqk->bk", share - kept, part.weights)
    return result
