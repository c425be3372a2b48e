"""Diagonal Gaussians as networks emit them, by mean and log-variance: their product, and how far one is from the standard."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def product_of_experts(
    means: Float[Tensor, "batch expert dim"],
    log_variances: Float[Tensor, "batch expert dim"],
    present: Bool[Tensor, "batch expert"],
) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim"]]:
    """Multiply N(0, 1) with the Gaussians present; returns the mean and log-variance of the product, normalised.

    Precisions add, means are weighed by precision: exact for any subset, N(0, 1) itself for none (Wu & Goodman 2018, after Cao &
    Fleet 2014). Log-variances where ``present`` is False must be finite.
    """
    precisions = torch.where(present.unsqueeze(-1), torch.exp(-log_variances), 0.0)
    total = 1.0 + precisions.sum(dim=1)
    return (precisions * means).sum(dim=1) / total, -torch.log(total)


def kl_to_standard(mean: Float[Tensor, "*batch dim"], log_variance: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """Give KL(N(mean, exp(log_variance)) || N(0, 1)) of each dimension, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)
