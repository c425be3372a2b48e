"""Each modality's tokens to one vector a patient of a common width; what intermediate fusions start from."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.tokens import Tokens, require_dtype


def check_tokens(tokens: Mapping[str, Tokens], dims: Mapping[str, int]) -> Bool[Tensor, "batch modality"]:
    """Say who has which modality, in the order of ``dims``.

    Raises:
        ValueError: other names or widths than ``dims``, batch sizes that differ, or a patient without any modality.
    """
    if set(tokens) != set(dims):
        msg = f"wanted tokens of the modalities {sorted(dims)}, got {sorted(tokens)}; an absent modality has an all-False keep"
        raise ValueError(msg)
    for name, dim in dims.items():
        if tokens[name].values.shape[-1] != dim:
            msg = f"modality {name!r}: wanted tokens of width {dim}, got {tokens[name].values.shape[-1]}"
            raise ValueError(msg)
    sizes = {name: len(tokens[name].keep) for name in dims}
    if len(set(sizes.values())) != 1:
        msg = f"wanted one batch size for all modalities, got {sizes}"
        raise ValueError(msg)
    present = torch.stack([tokens[name].present for name in dims], dim=1)
    nothing = ~present.any(dim=1)
    if nothing.any():
        row = int(nothing.nonzero()[0])
        msg = f"row {row} of the batch has no modality at all ({int(nothing.sum())} such row(s)); leave such patients out"
        raise ValueError(msg)
    return present


class Projections(nn.Module):
    """Masked mean over each modality's tokens, then a linear layer of its own; zeros for an absent patient."""

    def __init__(self, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.layers = nn.ModuleList(nn.Linear(dim, dim_out) for dim in dims.values())

    def forward(self, tokens: Mapping[str, Tokens]) -> tuple[Float[Tensor, "batch modality dim"], Bool[Tensor, "batch modality"]]:
        """Return one vector a patient and modality, and who has it."""
        present = check_tokens(tokens, self.dims)
        require_dtype(tokens, self.layers)
        vectors = [
            layer(masked_mean(tokens[name].values, tokens[name].keep)) for name, layer in zip(self.dims, self.layers, strict=True)
        ]
        return torch.where(present.unsqueeze(-1), torch.stack(vectors, dim=1), 0.0), present
