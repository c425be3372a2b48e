"""Variational encoder of a table: mean and variance of a few latent numbers (Kingma & Welling, ICLR 2014, eq. 10).

In training a latent vector is drawn, in evaluation its mean is taken. ``forward_with_penalty`` also returns the negative evidence
bound a patient, divided by the number of values the patient has: half the squared error of the decoded values, each of unit
variance, over kept values only, plus ``beta`` times the divergence from a standard normal (beta-VAE, Higgins et al., ICLR 2017).
Whether a value was measured enters beside it.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.core.ranges import Count, NotNegative, Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.pooling import summary
from oncoweave.nn.tokens import Tokens, require_count, require_shape

KINDS = ("expression", "record", "variants", "embedding")
ORDER_INVARIANT = False


@ranged
class Config:
    """Width of the layers, number of latents, and the weights of the penalty."""

    hidden: Count = 128
    """Width of the layers."""
    latent: Count = 32
    """Number of latents."""
    dropout: Rate = 0.1
    """Share dropped in training."""
    beta: NotNegative = 1.0
    """Weight of the divergence from the prior beside the reconstruction."""
    weight: NotNegative = 0.1
    """Of the whole penalty beside the objective's loss."""


VARIANTS: dict[str, Config] = {"base": Config(), "tiny": Config(hidden=16, latent=4, dropout=0.0)}


class Variational(nn.Module):
    """One token a patient."""

    def __init__(self, config: Config, *, dim_in: int, num_tokens: int, dim_out: int) -> None:
        super().__init__()
        self.dim_in, self.num_tokens = dim_in, num_tokens
        self.beta, self.weight = config.beta, config.weight
        given = dim_in * num_tokens
        self.hidden = nn.Sequential(nn.Linear(given + num_tokens, config.hidden), nn.GELU(), Dropout(config.dropout))
        self.mean = nn.Linear(config.hidden, config.latent)
        self.log_variance = nn.Linear(config.hidden, config.latent)
        self.decode = nn.Sequential(nn.Linear(config.latent, config.hidden), nn.GELU(), nn.Linear(config.hidden, given))
        self.out = nn.Linear(config.latent, dim_out)

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode: the latents' mean in evaluation, drawn in training."""
        mean, log_variance = self._posterior(tokens)
        return self._summary(self._draw(mean, log_variance), tokens)

    def forward_with_penalty(self, tokens: Tokens) -> tuple[Tokens, Float[Tensor, " batch"]]:
        """Encode, and give the weighted negative evidence bound of each patient; 0 for absent patients."""
        mean, log_variance = self._posterior(tokens)
        latent = self._draw(mean, log_variance)
        clean = tokens.clean.flatten(start_dim=1)
        kept: Bool[Tensor, "batch value"] = tokens.keep.repeat_interleave(self.dim_in, dim=1)
        error = torch.where(kept, (self.decode(latent) - clean) ** 2, 0.0).sum(dim=1) / 2
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2
        penalty = self.weight * (error + self.beta * divergence) / kept.sum(dim=1).clamp(min=1)
        return self._summary(latent, tokens), torch.where(tokens.present, penalty, 0.0)

    def _posterior(self, tokens: Tokens) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        require_shape(tokens, dim=self.dim_in, num_tokens=self.num_tokens)
        clean = tokens.clean
        hidden = self.hidden(torch.cat([clean.flatten(start_dim=1), tokens.keep.to(clean.dtype)], dim=1))
        return self.mean(hidden), self.log_variance(hidden).clamp(-10, 10)

    def _draw(
        self, mean: Float[Tensor, "batch latent"], log_variance: Float[Tensor, "batch latent"]
    ) -> Float[Tensor, "batch latent"]:
        return mean + torch.randn_like(mean) * (log_variance / 2).exp() if self.training else mean

    def _summary(self, latent: Float[Tensor, "batch latent"], tokens: Tokens) -> Tokens:
        return summary(self.out(latent), tokens.present)


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network for a fixed number of values."""
    return Variational(config, dim_in=dim_in, num_tokens=require_count(num_tokens, "variational"), dim_out=dim_out)
