"""Each absent modality's vector is predicted from the mean of those present, by a small network trained on what is known.

The penalty is the error of the same prediction where the modality is present and at least one other is: mean squared difference
from the modality's mean token, which is held fixed, so that no encoder gets a small error by saying little. (Imputation across
modalities in the latent space, as SMIL, Ma et al. 2021, section 3.2, without its Bayesian priors.)
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core.ranges import Count, NotNegative
from oncoweave.core.settings import ranged
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.projections import check_tokens
from oncoweave.nn.stand_ins import stand_in
from oncoweave.nn.tokens import Tokens

ACTS_ON = "encoded"


@ranged
class Config:
    """Size of the predictors, and how much their error counts."""

    hidden: Count = 64
    """Width that the predictors share."""
    weight: NotNegative = 0.1
    """Of the error, against 1 of the loss on the outcome."""


class Latent(nn.Module):
    """One projection into, and one predictor out of, what the modalities share."""

    def __init__(self, config: Config, dims: Mapping[str, int]) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.weight = config.weight
        several = dims if len(dims) > 1 else {}  # a single modality has no other to be predicted from
        self.into = nn.ModuleList(nn.Linear(dim, config.hidden) for dim in several.values())
        self.out = nn.ModuleList(nn.Sequential(nn.GELU(), nn.Linear(config.hidden, dim)) for dim in several.values())

    def forward(self, encoded: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Fill; raises ValueError for a patient without any modality and for other names or widths than built for."""
        return self.forward_with_penalty(encoded)[0]

    def forward_with_penalty(self, encoded: Mapping[str, Tokens]) -> tuple[dict[str, Tokens], Float[Tensor, " batch"]]:
        """Fill, and give each patient's error where there is something to compare with."""
        present = check_tokens(encoded, self.dims)
        if len(self.dims) == 1:
            return dict(encoded), torch.zeros(len(present), device=present.device)
        means = [masked_mean(encoded[name].values, encoded[name].keep) for name in self.dims]
        shared = torch.stack([layer(mean) for layer, mean in zip(self.into, means, strict=True)], dim=1)
        filled, errors, compared = {}, [], []
        for place, (name, predict) in enumerate(zip(self.dims, self.out, strict=True)):
            others = present & (torch.arange(len(self.dims), device=present.device) != place)
            predicted = predict(masked_mean(shared, others))
            filled[name] = stand_in(encoded[name], predicted)
            known = present[:, place] & others.any(dim=1)
            errors.append(torch.where(known, (predicted - means[place].detach()).pow(2).mean(dim=1), 0.0))
            compared.append(known)
        count = torch.stack(compared).sum(dim=0).clamp(min=1)
        return filled, self.weight * torch.stack(errors).sum(dim=0) / count


def build(config: Config, *, dims: dict[str, int]) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return Latent(config, dims)
