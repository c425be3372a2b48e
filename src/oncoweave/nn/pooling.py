"""Pooling of token sets to one vector; rows that keep nothing give zeros and pass no gradient."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.nn.attention import masked_softmax
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.tokens import Tokens


def masked_mean(values: Float[Tensor, "batch token dim"], keep: Bool[Tensor, "batch token"]) -> Float[Tensor, "batch dim"]:
    """Average the kept tokens; zeros where nothing is kept. Values under ``keep`` False may be NaN."""
    kept = torch.where(keep.unsqueeze(-1), values, 0.0)
    return kept.sum(dim=1) / keep.sum(dim=1, keepdim=True).clamp(min=1).to(values.dtype)


def masked_max(values: Float[Tensor, "batch token dim"], keep: Bool[Tensor, "batch token"]) -> Float[Tensor, "batch dim"]:
    """Take the largest kept value of each dimension; zeros where nothing is kept. Values under ``keep`` False may be NaN."""
    highest = torch.where(keep.unsqueeze(-1), values, -torch.inf).amax(dim=1)
    return torch.where(keep.any(dim=1, keepdim=True), highest, 0.0)


def summary(values: Float[Tensor, "batch dim"], present: Bool[Tensor, " batch"]) -> Tokens:
    """Make one token a patient, kept where the patient has the modality and zero elsewhere."""
    keep = present.unsqueeze(-1)
    return Tokens(values=torch.where(keep, values, 0.0).unsqueeze(1), keep=keep)


class GatedAttentionPool(nn.Module):
    """Gated attention pooling: weights softmax(w' (tanh(V h) * sigmoid(U h))) over the kept tokens (Ilse et al. 2018, eq. 9).

    With several heads each head pools by itself and the results are averaged.
    """

    def __init__(self, dim: int, *, hidden: int, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.tanh = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), Dropout(dropout))
        self.gate = nn.Sequential(nn.Linear(dim, hidden), nn.Sigmoid(), Dropout(dropout))
        self.score = nn.Linear(hidden, heads, bias=False)  # a bias would cancel in the softmax

    def weights(
        self, values: Float[Tensor, "batch token dim"], keep: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch head token"]:
        """Return the attention weights: they sum to one over the kept tokens, and are zero elsewhere."""
        scores = self.score(self.tanh(values) * self.gate(values)).transpose(1, 2)
        return masked_softmax(scores, keep.unsqueeze(1).expand_as(scores))

    def forward(self, values: Float[Tensor, "batch token dim"], keep: Bool[Tensor, "batch token"]) -> Float[Tensor, "batch dim"]:
        """Pool; values under ``keep`` False must be finite."""
        return (self.weights(values, keep) @ values).mean(dim=1)


class ShortcutPool(nn.Module):
    """Gated attention over contextual tiles, to each of which the tile itself is added by a linear layer.

    The subtyping head of Prov-GigaPath (Xu et al. 2024): what the tile encoder saw reaches the head past the slide encoder.
    """

    def __init__(self, dim: int, *, dim_tile: int, hidden: int, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.shortcut = nn.Linear(dim_tile, dim, bias=False)
        self.pool = GatedAttentionPool(dim, hidden=hidden, heads=heads, dropout=dropout)

    def forward(
        self,
        context: Float[Tensor, "batch token dim"],
        tiles: Float[Tensor, "batch token dim_tile"],
        keep: Bool[Tensor, "batch token"],
    ) -> Float[Tensor, "batch dim"]:
        """Pool; values under ``keep`` False must be finite."""
        return self.pool(context + self.shortcut(tiles), keep)
