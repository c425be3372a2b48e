"""Attention followed through a network's blocks: from what is read out, back to the tokens that went in.

Attention rollout (Abnar & Zuidema, ACL 2020, eq. 1): a block mixes (W + I) / 2, its attention averaged over heads and what the
residual connection carries past it, and the mixtures of all blocks are multiplied. What attention is not: it has no sign, so a
token that speaks against an outcome is attended as one that speaks for it; it leaves out what values, feed-forward layers and the
head make of a token; so it attributes nothing. Hold it against deletion (``explain.occlusion``) before it is believed.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from oncoweave.core.errors import DataError


def whole_maps(
    maps: Mapping[str, Float[Tensor, "batch head _ _"]],
) -> tuple[dict[str, slice], list[Float[Tensor, "batch all all"]]]:
    """Put the maps of pairs of modalities, ``"<block>:<query>-><key>"``, together again, one a block, averaged over heads.

    Returns:
        Where each modality's tokens lie, and the maps of the blocks in order.

    Raises:
        DataError: the names are others, or a pair of a block is missing: these are not all the weights of any query.
    """
    split = [_parse(name) for name in maps]
    names = list(dict.fromkeys(query for _, query, _ in split))
    blocks = sorted({block for block, _, _ in split})
    spans, start = {}, 0
    whole = []
    for block in blocks:
        lacking = [f"{block}:{q}->{k}" for q in names for k in names if f"{block}:{q}->{k}" not in maps]
        if lacking:
            msg = f"rollout needs every block's attention between all modalities; lacks {lacking[0]!r}"
            raise DataError(msg)
        rows = [torch.cat([maps[f"{block}:{q}->{k}"].mean(dim=1) for k in names], dim=2) for q in names]
        whole.append(torch.cat(rows, dim=1))
    for name in names:
        size = maps[f"{blocks[0]}:{name}->{name}"].shape[3]
        spans[name] = slice(start, start + size)
        start += size
    return spans, whole


def _parse(name: str) -> tuple[int, str, str]:
    block, _, pair = name.partition(":")
    query, _, key = pair.partition("->")
    if not (block.isdecimal() and query and key):
        msg = f"wanted maps named '<block>:<query>-><key>', got {name!r}"
        raise DataError(msg)
    return int(block), query, key


def roll_out(maps: Sequence[Float[Tensor, "batch all all"]], start: Float[Tensor, "batch all"]) -> Float[Tensor, "batch all"]:
    """Follow weights on the last block's tokens back to the tokens that went into the first (Abnar & Zuidema 2020).

    Neither sign nor attribution: see the module. A patient's result sums to what ``start`` sums to, and is zero on tokens that
    are not kept, as no kept query attends to them.

    Args:
        maps: each block's attention, first block first; a kept query's weights sum to one.
        start: weights of the tokens that come out of the last block, such as what they weigh in the readout.
    """
    received = start
    for attention in reversed(maps):
        received = (received + torch.einsum("bq,bqk->bk", received, attention)) / 2
    return received


def last_block(maps: Sequence[Float[Tensor, "batch all all"]], start: Float[Tensor, "batch all"]) -> Float[Tensor, "batch all"]:
    """Give what the last block's tokens attend to, weighed by ``start``: what a single map shows.

    Neither sign nor attribution, and less than :func:`roll_out`: the keys of the last block are mixtures of many tokens already.
    """
    return torch.einsum("bq,bqk->bk", start, maps[-1])
