"""Attention between few tokens and many in which the many never look at each other: linear in the many, not quadratic."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.nn.attention import MultiheadAttention
from oncoweave.nn.blocks import FeedForward
from oncoweave.nn.dropout import Dropout


class FewManyBlock(nn.Module):
    """Pre-norm transformer block over few and many tokens: the few attend to all, the many to the few only.

    The same as a block over all tokens whose many-to-many scores are -inf (SurvPath: Jaume et al., CVPR 2024, eq. 3 to 5), but
    those scores are never formed. One set of weights serves both.
    """

    def __init__(self, dim: int, *, heads: int, ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = MultiheadAttention(dim, heads=heads)
        self.norm_feed = nn.LayerNorm(dim)
        self.feed = FeedForward(dim, ratio=ratio, dropout=dropout)
        self.drop = Dropout(dropout)

    def forward(
        self,
        few: Float[Tensor, "batch few dim"],
        many: Float[Tensor, "batch many dim"] | None,
        *,
        keep_few: Bool[Tensor, "batch few"],
        keep_many: Bool[Tensor, "batch many"] | None,
    ) -> tuple[Float[Tensor, "batch few dim"], Float[Tensor, "batch many dim"] | None]:
        """Mix; values under ``keep`` False must be finite. Without the many it is a plain transformer block."""
        normed = self.norm_attention(few)
        if many is None or keep_many is None:
            return self._fed(few + self.drop(self.attention(normed, normed, keep=keep_few))), None
        normed_many = self.norm_attention(many)
        everything, keep = torch.cat([normed, normed_many], dim=1), torch.cat([keep_few, keep_many], dim=1)
        mixed = few + self.drop(self.attention(normed, everything, keep=keep))
        mixed_many = many + self.drop(self.attention(normed_many, normed, keep=keep_few))
        return self._fed(mixed), self._fed(mixed_many)

    def weights(
        self,
        few: Float[Tensor, "batch few dim"],
        many: Float[Tensor, "batch many dim"] | None,
        *,
        keep_few: Bool[Tensor, "batch few"],
        keep_many: Bool[Tensor, "batch many"] | None,
    ) -> tuple[Float[Tensor, "batch head few all"], Float[Tensor, "batch head many few"] | None]:
        """Return the attention of the few to few and many, and of the many to the few; zero to and from what is not kept."""
        normed = self.norm_attention(few)
        asking = keep_few[:, None, :, None]
        if many is None or keep_many is None:
            return self.attention.weights(normed, normed, keep=keep_few) * asking, None
        normed_many = self.norm_attention(many)
        everything, keep = torch.cat([normed, normed_many], dim=1), torch.cat([keep_few, keep_many], dim=1)
        back = self.attention.weights(normed_many, normed, keep=keep_few) * keep_many[:, None, :, None]
        return self.attention.weights(normed, everything, keep=keep) * asking, back

    def _fed(self, x: Tensor) -> Tensor:
        return x + self.drop(self.feed(self.norm_feed(x)))
