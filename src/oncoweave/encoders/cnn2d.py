"""A small residual convolutional network on the patches of films, put back together.

The network is that of :mod:`oncoweave.nn.residual`. Every film is looked at by itself. Mean and maximum over the patches of all
films are the patient's; the variant ``tokens`` also returns each patch, for fusions that attend to places.
"""

from dataclasses import dataclass

from torch import nn

from oncoweave.nn.residual import PatchShape, ResidualConfig, ResidualNetwork, side_of

KINDS = ("film",)
ORDER_INVARIANT = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ResidualConfig):
    """Channels of the first stage, dropout before the output, and whether patches are returned beside the summary."""


VARIANTS: dict[str, Config] = {
    "small": Config(width=16),
    "tokens": Config(width=16, patches=True),
    "tiny": Config(width=2, dropout=0.0),
}


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; the number of patches may be any.

    Raises:
        ValueError: tokens are not squares whose side is a power of two, two at least.
    """
    del num_tokens
    side = side_of(dim_in, axes=2)
    # pixels are laid out row by row, and positions are (x, y, film)
    return ResidualNetwork(config, shape=PatchShape(cells=(side, side, 1), axes=(1, 0, 2)), dim_out=dim_out)
