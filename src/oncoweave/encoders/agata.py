"""Agata: a learnt query attends to tiles (the aggregator of Virchow, Vorontsov et al., Nature Medicine 2024, as released).

x1 = ReLU(W1 x + b1), x2 = ReLU(W2 x1 + b2); the weights are softmax(q . x1) over a patient's tiles, without bias or scale, and
the patient is the weighted sum of x2; several queries are added up. Departures: tiles that are not kept take no part (as released
they enter the softmax with a score of 0, so that a result depends on the padding), and one linear layer replaces the heads.

Tiles are taken in chunks whose softmaxes are merged exactly, and in training each chunk is computed anew on the way back: beside
the tiles themselves, memory does not grow with their number.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from oncoweave.core.ranges import Count
from oncoweave.core.settings import ranged
from oncoweave.nn.attention import masked_softmax
from oncoweave.nn.pooling import summary
from oncoweave.nn.tokens import Tokens, require_shape

KINDS = ("slide",)
ORDER_INVARIANT = True


@ranged
class Config:
    """Widths of the two layers, and how the query attends."""

    hidden: Count = 512
    """Width of x1, which the query scores."""
    width: Count = 512
    """Width of x2, which is summed."""
    queries: Count = 1
    """Weightings of the tiles, whose results are added up."""
    scaled: bool = False
    """Divide the scores by the root of ``hidden``."""
    chunk: Count = 8192
    """Tiles of a patient that are in memory at once."""


VARIANTS: dict[str, Config] = {
    "base": Config(),
    "queries": Config(queries=4, scaled=True),
    "tiny": Config(hidden=16, width=16, chunk=5),
}


class Agata(nn.Module):
    """One token a patient."""

    def __init__(self, config: Config, *, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.config, self.dim_in = config, dim_in
        self.linear1 = nn.Linear(dim_in, config.hidden)
        self.linear2 = nn.Linear(config.hidden, config.width)
        self.queries = nn.Linear(config.hidden, config.queries, bias=False)
        self.out = nn.Linear(config.width, dim_out)

    def forward(self, tokens: Tokens) -> Tokens:
        """Pool each patient's kept tiles."""
        require_shape(tokens, dim=self.dim_in)
        parts = []
        chunks = list(
            zip(tokens.values.split(self.config.chunk, dim=1), tokens.keep.split(self.config.chunk, dim=1), strict=True)
        )
        for values, keep in chunks:
            if torch.is_grad_enabled() and len(chunks) > 1:
                parts.append(checkpoint(self._chunk, values, keep, use_reentrant=False, preserve_rng_state=False))
            else:
                parts.append(self._chunk(values, keep))
        mass, mean = (torch.stack(part, dim=-1) for part in zip(*parts, strict=True))
        filled = torch.stack([keep.any(dim=1) for _, keep in chunks], dim=-1)[:, None, :]
        share = masked_softmax(mass, filled.expand_as(mass))
        return summary(self.out((mean * share.unsqueeze(2)).sum(dim=(1, 3))), tokens.present)

    def attention(self, tokens: Tokens) -> Float[Tensor, "batch query token"]:
        """Return each tile's weight; a query's weights sum to one over a patient's tiles."""
        require_shape(tokens, dim=self.dim_in)
        scores = torch.cat([self._scores(self._first(values, keep)) for values, keep in self._chunks(tokens)], dim=2)
        return masked_softmax(scores, tokens.keep[:, None, :].expand_as(scores))

    def _chunks(self, tokens: Tokens) -> list[tuple[Tensor, Tensor]]:
        size = self.config.chunk
        return list(zip(tokens.values.split(size, dim=1), tokens.keep.split(size, dim=1), strict=True))

    def _chunk(
        self, values: Float[Tensor, "batch token dim"], keep: Bool[Tensor, "batch token"]
    ) -> tuple[Float[Tensor, "batch query"], Float[Tensor, "batch query width"]]:
        """Logarithm of the softmax's denominator over a chunk (0 where nothing is kept), and the weighted mean there."""
        first = self._first(values, keep)
        second = functional.relu(self.linear2(first))
        scores, kept = self._scores(first), keep[:, None, :]
        empty = ~kept.any(dim=2, keepdim=True)
        mass = torch.where(kept, scores, torch.where(empty, 0.0, -torch.inf).to(scores.dtype)).logsumexp(dim=2)
        return torch.where(empty[:, :, 0], 0.0, mass), masked_softmax(scores, kept.expand_as(scores)) @ second

    def _first(
        self, values: Float[Tensor, "batch token dim"], keep: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token hidden"]:
        return functional.relu(self.linear1(torch.where(keep.unsqueeze(-1), values, 0.0)))

    def _scores(self, first: Float[Tensor, "batch token hidden"]) -> Float[Tensor, "batch query token"]:
        scores = self.queries(first).transpose(1, 2)
        return scores / self.config.hidden**0.5 if self.config.scaled else scores


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; the number of tiles may be any."""
    del num_tokens
    return Agata(config, dim_in=dim_in, dim_out=dim_out)
