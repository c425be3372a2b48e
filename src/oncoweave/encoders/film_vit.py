"""Vision transformer over the patches of films, for any size and number of them (Dosovitskiy et al., ICLR 2021).

Departs from the paper: grey patches of the preparation's size, one norm after the patch projection, no dropout of patches, and a
learnt table of positions that is interpolated to each film's grid (see :class:`oncoweave.nn.patches.LearnedGrid`). The summary
token's output is the patient's; the variant ``tokens`` also returns one token a patch, for fusions that attend to places.
"""

from torch import nn

from oncoweave.core.ranges import Count
from oncoweave.core.settings import ranged
from oncoweave.nn.patches import LearnedGrid, PatchConfig, PatchEncoder

KINDS = ("film",)
ORDER_INVARIANT = True


@ranged
class Config(PatchConfig):
    """Size of the transformer, of its table of positions, and whether patches are returned beside the summary."""

    depth: Count = 3
    """Blocks."""
    side: Count = 14
    """Patches along a side of the table of positions."""
    films: Count = 4
    """Films of a patient that are told apart; later ones count as the last."""


VARIANTS: dict[str, Config] = {
    "small": Config(),
    "tokens": Config(patches=True),
    "base": Config(width=384, depth=8, heads=6),
    "tiny": Config(width=32, depth=1, heads=2, dropout=0.0),
}


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; the number of patches may be any."""
    del num_tokens
    places = LearnedGrid(config.width, side=config.side, films=config.films)
    return PatchEncoder(places, config, dim_in=dim_in, dim_out=dim_out)
