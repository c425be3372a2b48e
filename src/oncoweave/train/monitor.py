"""Whether embeddings collapse: spread, effective rank, entropy of the assignments.

Self-supervised losses can fall while every tile gets the same embedding, or all embeddings lie on a line. RankMe (Garrido et al.,
ICML 2023) is the exponential of the entropy of the singular values' shares, from 1 to the embedding's width; spread is the mean
deviation of a unit embedding's coordinates times the root of the width (Chen & He 2021), 0 where all are one point and 1 where
they fill the sphere. Both are taken of embeddings whose mean is not removed, except that the rank is.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.tokens import Tokens
from oncoweave.train.stream import Batch

SMALLEST_SPREAD = 0.02
SMALLEST_RANK = 1.5
_PART = 64


def rank_me(embeddings: Float[Tensor, "tile dim"]) -> float:
    """Effective rank of centred embeddings; 1 where they lie on a line, 0 where they are one point."""
    values = embeddings.double()
    singular = torch.linalg.svdvals(values - values.mean(dim=0))
    if float(singular.sum()) <= 1e-7 * max(1.0, float(values.abs().max())) * math.sqrt(values.numel()):
        return 0.0
    share = singular / singular.sum()
    return float(torch.exp(-torch.special.xlogy(share, share).sum()))


def spread_of(embeddings: Float[Tensor, "tile dim"]) -> float:
    """Mean deviation over tiles of the coordinates of unit embeddings, times the root of the width."""
    unit = F.normalize(embeddings.double(), dim=1)
    return float(unit.std(dim=0, correction=0).mean() * math.sqrt(unit.shape[1]))


@torch.no_grad()
def embed(encoder: nn.Module, batch: Batch) -> Float[Tensor, "tile dim"]:
    """Embed a batch of tiles (its ``image``) or of slides (mean of the encoded tokens), in evaluation mode."""
    was_training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    try:
        if isinstance(batch, Tokens):
            encoded = encoder(batch.to(device))
            return masked_mean(encoded.values, encoded.keep).float().cpu()
        return torch.cat([encoder(part.to(device)).float().cpu() for part in batch["image"].split(_PART)])
    finally:
        encoder.train(was_training)


def watch(encoder: nn.Module, batch: Batch) -> dict[str, float]:
    """Measure the embeddings of a batch: ``rank`` and ``spread``."""
    embeddings = embed(encoder, batch)
    if not torch.isfinite(embeddings).all():
        return {"rank": math.nan, "spread": math.nan}
    return {"rank": rank_me(embeddings), "spread": spread_of(embeddings)}


def collapse(measured: Mapping[str, float]) -> str:
    """Say why embeddings have collapsed, or nothing."""
    rank, spread = measured["rank"], measured["spread"]
    if math.isnan(rank):
        return "embeddings are not finite"
    if spread < SMALLEST_SPREAD:
        return f"all tiles have nearly the same embedding (spread {spread:.3g}, wanted {SMALLEST_SPREAD} or more)"
    if rank < SMALLEST_RANK:
        return f"embeddings lie on a line (effective rank {rank:.3g}, wanted {SMALLEST_RANK} or more)"
    return ""
