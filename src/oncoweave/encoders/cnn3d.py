"""A small residual 3-D convolutional network on the cubes of a volume, put back together.

The network is that of :mod:`oncoweave.nn.residual`. Mean and maximum over the cubes inside the scan are the patient's; the
variant ``tokens`` also returns each cube.
"""

from dataclasses import dataclass

from torch import nn

from oncoweave.nn.residual import PatchShape, ResidualConfig, ResidualNetwork, side_of

KINDS = ("volume",)
ORDER_INVARIANT = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ResidualConfig):
    """Channels of the first stage, dropout before the output, and whether cubes are returned beside the summary."""


VARIANTS: dict[str, Config] = {
    "small": Config(),
    "tokens": Config(patches=True),
    "tiny": Config(width=2, dropout=0.0),
}


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; the number of cubes may be any.

    Raises:
        ValueError: tokens are not cubes whose side is a power of two, two at least.
    """
    del num_tokens
    side = side_of(dim_in, axes=3)
    return ResidualNetwork(config, shape=PatchShape(cells=(side, side, side)), dim_out=dim_out)
