"""Product-of-experts VAE: the posterior of a shared latent given any subset of modalities, in closed form (Wu & Goodman 2018)."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.core.ranges import NotNegative, Positive
from oncoweave.core.settings import ranged
from oncoweave.nn.gaussians import kl_to_standard, product_of_experts
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.projections import Projections
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "vectors"

LOG_VARIANCE_BOUND = 6.0
"""Experts' standard deviations stay between e^-3 and e^3, so that no single one can silence all the others for good."""


@ranged
class Config:
    """How much the network's own loss weighs beside the objective's."""

    kl: NotNegative = 0.01
    """Weight of KL(posterior || N(0, 1)), averaged over latent dimensions."""
    reconstruction: NotNegative = 0.1
    """Weight of half the squared error with which the vectors of modalities present are told from the latent, averaged over
    dimensions and modalities."""
    ratio: Positive = 2.0
    """Hidden width of a decoder, in multiples of the latent's width."""


class PoeVae(nn.Module):
    """q(z | X) ~ N(0, 1) prod_m N(mu_m, s_m^2) over the modalities present: precisions add. The latent is as wide as the output.

    Training draws z, evaluation gives its mean. As in the paper the penalty sums evidence bounds: of the joint posterior, and of
    each present modality's own, from which all present ones are decoded: so each learns to tell the others. Targets of the
    decoders take no gradient: encoders cannot buy a low error by saying less.
    """

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.config = config
        self.experts = Projections(dims, 2 * dim_out)
        hidden = round(config.ratio * dim_out)
        self.decoders = nn.ModuleList(
            nn.Sequential(nn.Linear(dim_out, hidden), nn.GELU(), nn.Linear(hidden, dim)) for dim in dims.values()
        )

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        means, log_variances, present = self._infer(tokens)
        return self._sample(*product_of_experts(means, log_variances, present))

    def forward_with_penalty(self, tokens: Mapping[str, Tokens]) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, " batch"]]:
        """Fuse, and return each patient's negative evidence bounds, averaged over their posteriors, as a penalty."""
        means, log_variances, present = self._infer(tokens)
        joint = product_of_experts(means, log_variances, present)
        output = self._sample(*joint)
        total = self._negative_bound(tokens, present, output, *joint)
        for m in range(present.shape[1]):
            own = product_of_experts(means[:, m : m + 1], log_variances[:, m : m + 1], present[:, m : m + 1])
            bound = self._negative_bound(tokens, present, self._sample(*own), *own)
            total = total + torch.where(present[:, m], bound, 0.0)
        return output, total / (1 + present.sum(dim=1)).to(total.dtype)

    def _infer(
        self, tokens: Mapping[str, Tokens]
    ) -> tuple[Float[Tensor, "batch modality dim"], Float[Tensor, "batch modality dim"], Bool[Tensor, "batch modality"]]:
        emitted, present = self.experts(tokens)
        means, raw = emitted.chunk(2, dim=-1)
        return means, LOG_VARIANCE_BOUND * torch.tanh(raw / LOG_VARIANCE_BOUND), present

    def _sample(self, mean: Float[Tensor, "batch dim"], log_variance: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance) if self.training else mean

    def _negative_bound(
        self,
        tokens: Mapping[str, Tokens],
        present: Bool[Tensor, "batch modality"],
        latent: Float[Tensor, "batch dim"],
        mean: Float[Tensor, "batch dim"],
        log_variance: Float[Tensor, "batch dim"],
    ) -> Float[Tensor, " batch"]:
        errors = []
        for name, decoder in zip(self.experts.dims, self.decoders, strict=True):
            target = masked_mean(tokens[name].values, tokens[name].keep).detach()
            errors.append(0.5 * (decoder(latent) - target).square().mean(dim=1, keepdim=True))
        error = masked_mean(torch.stack(errors, dim=1), present).squeeze(1)
        return self.config.reconstruction * error + self.config.kl * kl_to_standard(mean, log_variance).mean(dim=1)


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return PoeVae(config, dims=dims, dim_out=dim_out)
