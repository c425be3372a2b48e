"""Transformers over patches of images and volumes, and what they know of where a patch lies."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from oncoweave.core.ranges import Count, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.blocks import TransformerBlock
from oncoweave.nn.tokens import Tokens, require_shape


def kept_positions(tokens: Tokens) -> Float[Tensor, "batch token axis"]:
    """Give the positions of kept tokens, zeros elsewhere.

    Raises:
        ValueError: the tokens have no positions.
    """
    if tokens.positions is None:
        raise ValueError("patches need positions, in patches from the corner; these tokens have none")
    return torch.where(tokens.keep.unsqueeze(-1), tokens.positions, 0.0)


class LearnedGrid(nn.Module):
    """A learnt table of positions on a square, interpolated to each patient's own grid, whatever its size.

    The grid is the smallest that holds the patient's kept patches, as a film has no scale of its own. On a grid of the table's
    size the table's values come out as they are; elsewhere they are interpolated bilinearly, patch middles on patch middles, as
    vision transformers are moved to other image sizes (Dosovitskiy et al., ICLR 2021, section 3.2). Several films of a patient
    are told apart by a learnt vector each, up to ``films``, which later ones share.
    """

    def __init__(self, width: int, *, side: int, films: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(1, width, side, side).normal_(0.0, 0.02))
        self.film = nn.Parameter(torch.empty(films, width).normal_(0.0, 0.02))

    def forward(
        self, positions: Float[Tensor, "batch token 3"], keep: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token width"]:
        """Look the positions ``(x, y, film)`` up; those not kept must be zero."""
        number = positions[..., 2].long().clamp(0, len(self.film) - 1)
        return torch.where(keep.unsqueeze(-1), on_grid(self.table, positions) + self.film[number], 0.0)


def on_grid(
    table: Float[Tensor, "1 width side side"], positions: Float[Tensor, "batch token 3"]
) -> Float[Tensor, "batch token width"]:
    """Look ``(x, y)`` up in a table stretched over each patient's own grid, as :class:`LearnedGrid` says."""
    sides = positions[..., :2].amax(dim=(1, 2), keepdim=True) + 1
    where = (positions[..., :2] + 0.5) / sides * 2 - 1
    tables = table.expand(len(positions), -1, -1, -1)
    found = functional.grid_sample(tables, where.unsqueeze(2).to(table.dtype), padding_mode="border", align_corners=False)
    return found.squeeze(-1).transpose(1, 2)


class SineCode(nn.Module):
    """Sines and cosines of ``(x, y, z)``, so that equal millimetres are coded alike in scans of any size; nothing is learnt."""

    frequencies: Tensor

    def __init__(self, width: int, *, longest: float = 100.0) -> None:
        super().__init__()
        if width % 6:
            msg = f"positions in three axes need a width that divides by 6, got {width}"
            raise ValueError(msg)
        steps = torch.arange(width // 6, dtype=torch.float32)
        self.register_buffer("frequencies", longest ** (-6 * steps / width), persistent=False)

    def forward(
        self, positions: Float[Tensor, "batch token 3"], keep: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token width"]:
        """Code the positions; those not kept must be zero."""
        angle = (positions.unsqueeze(-1) * self.frequencies).flatten(start_dim=2)
        return torch.where(keep.unsqueeze(-1), torch.cat([angle.sin(), angle.cos()], dim=-1), 0.0)


@ranged
class PatchConfig:
    """Size of the transformer, and whether patches are returned beside the summary."""

    width: Count = 96
    """Of the tokens."""
    depth: Count = 2
    """Blocks."""
    heads: Count = 4
    """Of the attention; must divide the width."""
    dropout: Rate = 0.1
    """Share dropped in training."""
    patches: bool = False
    """Whether patches are returned beside the summary."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.width, self.heads)


class PatchTransformer(nn.Module):
    """A summary token and patches, mixed by pre-norm transformer blocks; patches that are not kept take no part."""

    INPUT = ("embed", "places", "summary")

    def __init__(self, places: nn.Module, config: PatchConfig, *, dim_in: int) -> None:
        super().__init__()
        width = config.width
        self.dim_in = dim_in
        self.embed = nn.Sequential(nn.Linear(dim_in, width), nn.LayerNorm(width))
        self.places = places
        self.summary = nn.Parameter(torch.empty(1, 1, width).normal_(0.0, 0.02))
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads=config.heads, dropout=config.dropout) for _ in range(config.depth)
        )

    def forward(self, tokens: Tokens) -> tuple[Float[Tensor, "batch token width"], Bool[Tensor, "batch token"]]:
        """Encode to the summary token and the patches, and say which are kept."""
        require_shape(tokens, dim=self.dim_in)
        x = self.embed(tokens.clean) + self.places(kept_positions(tokens), tokens.keep)
        x = torch.cat([self.summary.expand(len(x), -1, -1), x], dim=1)
        keep = torch.cat([tokens.present.unsqueeze(1), tokens.keep], dim=1)
        for block in self.blocks:
            x = block(x, keep=keep)
        return x, keep


class PatchEncoder(nn.Module):
    """One summary token a patient, and one a kept patch where asked for; ``places`` says where patches lie."""

    def __init__(self, places: nn.Module, config: PatchConfig, *, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.network = PatchTransformer(places, config, dim_in=dim_in)
        self.patches = config.patches
        self.out = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, dim_out))

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's kept patches."""
        x, keep = self.network(tokens)
        if not self.patches:
            x, keep = x[:, :1], keep[:, :1]
        return Tokens(values=torch.where(keep.unsqueeze(-1), self.out(x), 0.0), keep=keep)
