"""Multi-to-uni distillation: each modality's head learns to say what the fused model says, for patients who have it alone.

A patient with several modalities is scored by the fused head, one with a single modality by that modality's head. The heads are
trained on the outcome and on the fused outputs, held fixed: mean squared difference of the outputs, the limit of distillation at
high temperature (Hinton et al. 2015, section 2.1), over patients with several modalities.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.core.ranges import Positive
from oncoweave.core.settings import ranged
from oncoweave.nn.tokens import Tokens
from oncoweave.nn.views import Hybrid, Views, fuse_with_penalty

STAGE = "hybrid"


@ranged
class Config:
    """The operator that is wrapped, and what its modalities' heads learn from."""

    operator: str = "joint"
    """The intermediate fusion that it stands around."""
    truth: Positive = 0.5
    """Of the heads' losses on the outcome together, against 1 of the fused."""
    follow: Positive = 1.0
    """Of the heads' distance from the fused output."""


class Distilled(Hybrid):
    """One fused teacher and a student a modality, trained at once."""

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int, num_outputs: int, fusion: nn.Module) -> None:
        weights = (1.0, *(config.truth / len(dims) for _ in dims))
        super().__init__(weights, dims=dims, dim_out=dim_out, num_outputs=num_outputs, fusion=fusion)
        self.follow = config.follow

    def forward(self, tokens: Mapping[str, Tokens], own: Mapping[str, Tokens] | None = None) -> Float[Tensor, "batch output"]:
        """Score; raises ValueError for a patient without any modality and for other names or widths than built for."""
        own = own or tokens
        return self._chosen(self.head(self.fusion(tokens)), self.heads(own)[0], own)

    def views(self, tokens: Mapping[str, Tokens], own: Mapping[str, Tokens] | None = None) -> Views:
        """Score as ``forward`` does, then by each modality's head; the penalty is the heads' distance from the fused output."""
        vector, penalty = fuse_with_penalty(self.fusion, tokens)
        fused = self.head(vector)
        own = own or tokens
        students, present = self.heads(own)
        apart = (students - fused.detach().unsqueeze(1)).pow(2).mean(dim=2)
        taught = present & (present.sum(dim=1, keepdim=True) > 1)
        distance = torch.where(taught, apart, 0.0).sum(dim=1) / taught.sum(dim=1).clamp(min=1)
        chosen = self._chosen(fused, students, own)
        return self.arranged(chosen, students, present, penalty=penalty + self.follow * distance)

    def scored_apart(self, own: Mapping[str, Tokens]) -> Bool[Tensor, " batch"]:
        """Those who have a single modality."""
        return torch.stack([t.present for t in own.values()]).sum(dim=0) == 1

    def _chosen(
        self,
        fused: Float[Tensor, "batch output"],
        students: Float[Tensor, "batch modality output"],
        own: Mapping[str, Tokens],
    ) -> Float[Tensor, "batch output"]:
        """Take the only modality's output where a patient has just one; outputs of absent ones are zero."""
        return torch.where(self.scored_apart(own).unsqueeze(1), students.sum(dim=1), fused)


def build(config: Config, *, dims: dict[str, int], dim_out: int, num_outputs: int, fusion: nn.Module) -> nn.Module:
    """Wrap an operator for modalities of widths ``dims``."""
    return Distilled(config, dims=dims, dim_out=dim_out, num_outputs=num_outputs, fusion=fusion)
