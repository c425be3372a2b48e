"""Modality-balanced gradients: under Adam, the encoder that runs ahead is slowed while its lead grows, so that others learn too.

On-the-fly gradient modulation (OGM, Peng et al. 2022, eq. 8 to 10). Departs from the paper in three ways. Who is ahead is told by
linear heads on each modality's representation, which pass no gradient to it, so that any operator can be wrapped and not only a
concatenation; their losses are divided by that of constant outputs and averaged over steps, so that any objective will do, and
exp(-loss), 1 at best and 1/e where the head says no more than a constant, takes the place of the probability of the true class.
The coefficient is 1 - tanh(alpha * (ratio - 1)), which has no jump at a ratio of 1 and, as the ratio is at most e, never stops an
encoder. No noise is added to the gradients (the GE part). Adam divides a constant factor out of a gradient, so that under it a
coefficient acts while it falls, over some hundred steps.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core.ranges import NotNegative, Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.tokens import Tokens
from oncoweave.nn.views import Hybrid, Views, fuse_with_penalty

STAGE = "hybrid"


@ranged
class Config:
    """The operator that is wrapped, and how hard the modality ahead is slowed."""

    operator: str = "joint"
    """The intermediate fusion that it stands around."""
    alpha: NotNegative = 1.0
    """Steepness of the coefficient."""
    memory: Rate = 0.8
    """Share of the past in the running means of the losses."""


class Balanced(Hybrid):
    """Scales what flows back into each modality by a coefficient that :meth:`observe` sets once a step."""

    relative: Tensor
    coefficients: Tensor

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int, num_outputs: int, fusion: nn.Module) -> None:
        super().__init__((1.0,) * (1 + len(dims)), dims=dims, dim_out=dim_out, num_outputs=num_outputs, fusion=fusion)
        self.alpha, self.memory = config.alpha, config.memory
        self.register_buffer("relative", torch.full((len(dims),), torch.nan))
        self.register_buffer("coefficients", torch.ones(len(dims)))

    def views(self, tokens: Mapping[str, Tokens], own: Mapping[str, Tokens] | None = None) -> Views:
        """Score by the fused head, then by each modality's, which only watches."""
        fused, penalty = fuse_with_penalty(self.fusion, self._slowed(tokens))
        watched = {name: replace(t, values=t.values.detach()) for name, t in (own or tokens).items()}
        return self.arranged(self.head(fused), *self.heads(watched), penalty=penalty)

    def observe(self, relative: Float[Tensor, " view"]) -> None:
        """Take each view's loss over that of constant outputs (NaN: nobody has it), and set the coefficients by them."""
        now = relative[1:].to(self.relative)
        past = torch.where(self.relative.isnan(), now, self.relative)
        self.relative.copy_(torch.where(now.isfinite(), self.memory * past + (1 - self.memory) * now, self.relative))
        known = self.relative.isfinite()
        likelihood = torch.where(known, torch.exp(-self.relative.clamp(max=1)), 0.0)
        others = (likelihood.sum() - likelihood) / (known.sum() - 1).clamp(min=1)
        ratio = torch.where(known & (known.sum() > 1), likelihood / others, 1.0)
        self.coefficients.copy_(1 - torch.tanh(self.alpha * (ratio - 1).clamp(min=0)))

    def _slowed(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        slowed = dict(tokens)
        for place, name in enumerate(self.heads.names):
            values = tokens[name].values.view_as(tokens[name].values)
            if values.requires_grad:
                # read when the gradient comes: this step's losses have been observed by then, in parts or in one
                values.register_hook(lambda gradient, place=place: gradient * self.coefficients[place].to(gradient.dtype))
            slowed[name] = replace(tokens[name], values=values)
        return slowed


def build(config: Config, *, dims: dict[str, int], dim_out: int, num_outputs: int, fusion: nn.Module) -> nn.Module:
    """Wrap an operator for modalities of widths ``dims``."""
    return Balanced(config, dims=dims, dim_out=dim_out, num_outputs=num_outputs, fusion=fusion)
