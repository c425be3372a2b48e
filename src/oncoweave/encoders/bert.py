"""A small text transformer, trained from scratch, that reads a report window by window (BERT's encoder, Devlin et al. 2019).

Departs from BERT: pre-norm blocks, no segment embedding, no pretraining, and long texts are cut into windows that are read apart,
so that time grows with length and not with its square. Each window has a summary token, and gives one token: that one's output.
The variant ``document`` gives one token a text, the windows' summaries averaged by their number of words; ``tokens`` gives that
one and every word in its context, for fusions that attend to words. Pretrained weights in BERT's own shape: ``pretrained_bert``.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from oncoweave.core.ranges import Count, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.blocks import TransformerBlock
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.text import VOCABULARY_SIZE, Readout, read_windows, require_token_ids, token_ids
from oncoweave.nn.tokens import Tokens

KINDS = ("report",)
ORDER_INVARIANT = False


@ranged
class Config:
    """Size of the transformer and of a window, in tokens."""

    vocabulary: Count = VOCABULARY_SIZE
    """Number of token ids."""
    width: Count = 128
    """Of the tokens."""
    depth: Count = 4
    """Blocks."""
    heads: Count = 4
    """Of the attention; must divide the width."""
    window: Count = 128
    """Tokens that are read at once; longer texts are read in several windows."""
    dropout: Rate = 0.1
    """Share dropped in training."""
    readout: Readout = "windows"
    """A token a window, one a text (``document``), or that one and after it every word's."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.width, self.heads)


VARIANTS: dict[str, Config] = {
    "base": Config(),
    "document": Config(readout="document"),
    "tokens": Config(readout="words"),
    "tiny": Config(width=32, depth=1, heads=2, window=64, dropout=0.0),
    "tiny_tokens": Config(width=32, depth=1, heads=2, window=64, dropout=0.0, readout="words"),
}


class TextTransformer(nn.Module):
    """One token a window of text, one a text, or one a word."""

    INPUT = ("word", "position", "summary", "norm")

    def __init__(self, config: Config, *, dim_out: int) -> None:
        super().__init__()
        self.vocabulary = config.vocabulary
        self.window = config.window
        self.readout = config.readout
        self.word = nn.Embedding(config.vocabulary, config.width)
        self.position = nn.Parameter(torch.empty(config.window, config.width).normal_(0.0, 0.02))
        self.summary = nn.Parameter(torch.empty(1, 1, config.width).normal_(0.0, 0.02))
        nn.init.normal_(self.word.weight, 0.0, 0.02)
        self.drop = Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(
            TransformerBlock(config.width, heads=config.heads, dropout=config.dropout) for _ in range(config.depth)
        )
        self.out = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, dim_out))

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's text."""
        ids = token_ids(tokens, size=self.vocabulary)
        return read_windows(ids, tokens.keep, self._read, window=self.window, readout=self.readout)

    def _read(self, ids: Int[Tensor, "text token"], keep: Bool[Tensor, "text token"]) -> Float[Tensor, "text place dim_out"]:
        x = self.norm(self.word(ids) + self.position[: ids.shape[1]])
        x = self.drop(torch.cat([self.summary.expand(len(ids), -1, -1), x], dim=1))
        keep = functional.pad(keep, (1, 0), value=True)
        for block in self.blocks:
            x = block(x, keep=keep)
        return self.out(x if self.readout == "words" else x[:, :1])


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; texts may have any length.

    Raises:
        ValueError: tokens are not single ids.
    """
    del num_tokens
    require_token_ids(dim_in)
    return TextTransformer(config, dim_out=dim_out)
