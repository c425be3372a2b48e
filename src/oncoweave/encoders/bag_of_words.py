"""Bag of words: which pieces of text occur and how often, then one linear layer; order does not count.

The input of the layer is (1 + log count) of each token id, scaled to unit length a text; the learned weights take the place of
inverse document frequencies. Works offline and trains in seconds.
"""

import torch
from torch import nn
from torch.nn import functional

from oncoweave.core.ranges import Count, Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.pooling import summary
from oncoweave.nn.text import VOCABULARY_SIZE, require_token_ids, token_ids
from oncoweave.nn.tokens import Tokens

KINDS = ("report",)
ORDER_INVARIANT = True


@ranged
class Config:
    """Number of token ids, and share of them dropped in training."""

    vocabulary: Count = VOCABULARY_SIZE
    """Number of token ids."""
    dropout: Rate = 0.25
    """Share of the words dropped in training."""


VARIANTS: dict[str, Config] = {"base": Config(), "tiny": Config(dropout=0.0)}


class BagOfWords(nn.Module):
    """One token a patient: W tf + b."""

    def __init__(self, config: Config, *, dim_out: int) -> None:
        super().__init__()
        self.vocabulary = config.vocabulary
        self.out = nn.Sequential(Dropout(config.dropout), nn.Linear(config.vocabulary, dim_out))

    def forward(self, tokens: Tokens) -> Tokens:
        """Count each patient's token ids and project."""
        ids = token_ids(tokens, size=self.vocabulary)
        kept = tokens.keep.to(tokens.values.dtype)
        counts = kept.new_zeros(len(ids), self.vocabulary).scatter_add_(1, ids, kept)
        frequency = torch.where(counts > 0, 1.0 + counts.clamp(min=1.0).log(), 0.0)
        return summary(self.out(functional.normalize(frequency, dim=1)), tokens.present)


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; texts may have any length.

    Raises:
        ValueError: tokens are not single ids.
    """
    del num_tokens
    require_token_ids(dim_in)
    return BagOfWords(config, dim_out=dim_out)
