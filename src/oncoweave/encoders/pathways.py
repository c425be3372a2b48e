"""Gene sets as tokens: a small self-normalising network a pathway (SurvPath, Jaume et al. 2024, eq. 1; MMP, Song et al. 2024).

Sets come from a GMT file; by default they are the 50 hallmarks. A gene of several sets enters each; genes of none make one token
more. A value that was not measured is no input, and a set none of whose genes was measured is no token. The variant ``masked`` is
the gene-set-masked MLP: a few hidden units a set that see its genes only, then one linear layer to one token a patient.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from oncoweave.core.errors import DataError
from oncoweave.core.ranges import Count, Rate
from oncoweave.core.settings import ranged
from oncoweave.data.gmt import BUILT_IN, find_gmt, place_sets, read_gmt
from oncoweave.nn.gene_sets import SetLinear
from oncoweave.nn.pooling import summary
from oncoweave.nn.tokens import Tokens, require_count, require_shape

KINDS = ("expression", "variants")
NEEDS = ("feature_names",)
FILES = ("gene_sets",)
ORDER_INVARIANT = False

FEWEST = 10
"""Sets of enough columns below which a table's genes are better told apart; see :func:`lacks`."""


@ranged
class Config:
    """Which gene sets, and the size of their networks."""

    gene_sets: str = "hallmark"
    """Path of a GMT file, or the name of one that comes with oncoweave."""
    sets: tuple[tuple[str, ...], ...] = ()
    """Name and genes of each set of that file, once read, so that a fitted network needs it no more."""
    smallest: Count = 5
    """Columns that a set needs to have among those of the table."""
    rest: bool = True
    """Whether the genes of no set make a set of their own."""
    width: Count = 32
    """Hidden units a set."""
    dropout: Rate = 0.25
    """Share of the hidden units dropped in training."""
    masked: bool = False
    """One token a patient, from all sets' hidden units together."""


VARIANTS: dict[str, Config] = {
    "base": Config(),
    "masked": Config(masked=True, width=4),
    "tiny": Config(width=8, smallest=1, dropout=0.0),
}


class SetNetworks(nn.Module):
    """Linear, ELU, alpha dropout over each set's genes; ``keep`` says which sets have a gene that was measured."""

    def __init__(self, config: Config, sets: Sequence[Sequence[int]], *, num_tokens: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.hidden = SetLinear(sets, num_inputs=num_tokens, width=config.width)
        self.drop = nn.AlphaDropout(config.dropout)

    def forward(self, tokens: Tokens) -> Tokens:
        """Return hidden units, one row a set."""
        require_shape(tokens, dim=1, num_tokens=self.num_tokens)
        hidden = self.drop(F.elu(self.hidden(tokens.clean.squeeze(2))))
        return Tokens(values=hidden, keep=self.hidden.any_kept(tokens.keep))


class PathwayTokens(nn.Module):
    """One token a gene set; ``names`` are theirs."""

    def __init__(self, config: Config, sets: dict[str, tuple[int, ...]], *, num_tokens: int, dim_out: int) -> None:
        super().__init__()
        self.names = tuple(sets)
        self.networks = SetNetworks(config, list(sets.values()), num_tokens=num_tokens)
        self.weight = nn.Parameter(torch.randn(len(sets), config.width, dim_out) * config.width**-0.5)
        self.bias = nn.Parameter(torch.zeros(len(sets), dim_out))

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's measured genes."""
        hidden = self.networks(tokens)
        values = torch.einsum("bsh,shd->bsd", hidden.values, self.weight) + self.bias
        return Tokens(values=torch.where(hidden.keep.unsqueeze(-1), values, 0.0), keep=hidden.keep)


class MaskedMLP(nn.Module):
    """One token a patient; a set that was not measured gives zeros to the last layer."""

    def __init__(self, config: Config, sets: dict[str, tuple[int, ...]], *, num_tokens: int, dim_out: int) -> None:
        super().__init__()
        self.names = tuple(sets)
        self.networks = SetNetworks(config, list(sets.values()), num_tokens=num_tokens)
        self.out = nn.Linear(len(sets) * config.width, dim_out)

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's measured genes."""
        return summary(self.out(self.networks(tokens).clean.flatten(start_dim=1)), tokens.present)


def lacks(config: Config, columns: Sequence[str]) -> str:
    """Say why a table is better read otherwise by fusions that take pathway tokens unless told; nothing where it is not.

    A panel of a few genes falls into few sets or none, whose tokens would hide the genes.
    """
    sets = _genes(config)
    try:
        placed = place_sets(sets, columns, smallest=config.smallest)
    except DataError as error:
        return str(error)
    if len(placed) >= FEWEST:
        return ""
    return f"{len(placed)} of {len(sets)} gene sets have {config.smallest} or more of the {len(columns)} columns, wanted {FEWEST}"


def _genes(config: Config) -> Mapping[str, Sequence[str]]:
    return {name: genes for name, *genes in config.sets} or read_gmt(find_gmt(config.gene_sets))


def read_files(config: Config) -> dict[str, object]:
    """Read the gene sets of a file of the user's own; those that come with oncoweave stay a name.

    Raises:
        DataError: there is no such file, or it is no GMT.
    """
    path = find_gmt(config.gene_sets)
    return {} if path.parent == BUILT_IN else {"sets": tuple((name, *genes) for name, genes in read_gmt(path).items())}


def build(
    config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int, feature_names: Sequence[str]
) -> PathwayTokens | MaskedMLP:
    """Build for a table whose first ``num_tokens`` columns are ``feature_names``.

    Raises:
        ValueError: tokens are wider than one value, or not all have a name.
        DataError: no gene set has enough of the columns.
    """
    count = require_count(num_tokens, "pathways")
    if dim_in != 1 or len(feature_names) < count:
        msg = f"pathways are made of single named values; got {count} tokens of width {dim_in} and {len(feature_names)} names"
        raise ValueError(msg)
    genes = _genes(config)
    try:
        sets = place_sets(genes, feature_names[:count], smallest=config.smallest, rest=config.rest)
    except DataError as error:
        msg = f"{error}. If they do: encoder_settings with a smaller smallest or gene_sets of your own, or the encoder project"
        raise DataError(msg) from error
    return (MaskedMLP if config.masked else PathwayTokens)(config, sets, num_tokens=count, dim_out=dim_out)
