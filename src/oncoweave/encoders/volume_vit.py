"""Vision transformer over the cubes of a volume, with fixed sine-cosine positions (after Hatamizadeh et al., UNETR, WACV 2022).

Departs from the paper: positions are computed, not learnt, so that a millimetre means the same in every scan and any number of
cubes can be read; cubes outside the scan take no part. The summary token's output is the patient's; the variant ``tokens`` also
returns one token a cube.
"""

from dataclasses import dataclass

from torch import nn

from oncoweave.nn.patches import PatchConfig, PatchEncoder, SineCode

KINDS = ("volume",)
ORDER_INVARIANT = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(PatchConfig):
    """Size of the transformer, whose width divides by 6, for positions in three axes; patches are cubes."""

    def __post_init__(self) -> None:
        """Refuse a width that neither positions in three axes nor the heads divide."""
        PatchConfig.__post_init__(self)
        if self.width % 6:
            msg = f"positions in three axes need a width that divides by 6, got {self.width}"
            raise ValueError(msg)


VARIANTS: dict[str, Config] = {
    "small": Config(),
    "tokens": Config(patches=True),
    "base": Config(width=384, depth=8, heads=6),
    "tiny": Config(width=24, depth=1, heads=2, dropout=0.0),
}


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; the number of cubes may be any."""
    del num_tokens
    return PatchEncoder(SineCode(config.width), config, dim_in=dim_in, dim_out=dim_out)
