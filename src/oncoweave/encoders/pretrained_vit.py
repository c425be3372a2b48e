"""Films through a vision transformer that starts from a local file: timm, DINOv2, Hugging Face (Dosovitskiy et al., ICLR 2021).

Numerics are the released ones, so that one film gives what the transformer gives. Films are grey: the patch projection's three
kernels are added up, and films are standardised by their own mean and deviation in place of ImageNet's. Positions stored for
another image size are interpolated bilinearly. Several films of a patient are one sequence, each with the same positions. The
class token is the patient's; the variant ``tokens`` also returns one token a patch. Size and number of positions come from the
weights (``.safetensors``); patches of 16 pixels, four times as wide inside the feed-forward blocks, without registers.
"""

import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from oncoweave.core.errors import ConfigError
from oncoweave.core.ranges import Count, Positive, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.patches import kept_positions, on_grid
from oncoweave.nn.tokens import Tokens, require_shape
from oncoweave.nn.upstream import convert_vit
from oncoweave.nn.vit_blocks import Block, BlockShape, PatchEmbed

KINDS = ("film",)
NEEDS = ("weights",)
ORDER_INVARIANT = True


@ranged
class Config:
    """Size of the transformer, which weights bring with them, and what is returned."""

    width: Count = 384
    """Of the tokens."""
    depth: Count = 12
    """Blocks."""
    heads: Count = 6
    """Of the attention; must divide the width. Weights do not say: one for each 64 of the width, unless told."""
    side: Count = 14
    """Patches along a side of the images whose positions are stored."""
    scaled: bool = False
    """Whether residual branches have a learnt factor a channel (LayerScale), as DINOv2's."""
    eps: Positive = 1e-6
    """Added to the variance in each LayerNorm."""
    patches: bool = False
    """Whether patches are returned beside the class token."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.width, self.heads)


VARIANTS: dict[str, Config] = {
    "small": Config(),
    "tokens": Config(patches=True),
    "tiny": Config(width=32, depth=2, heads=2, side=3),
}


class FilmTransformer(nn.Module):
    """Class token and patches of all films of a patient; parameters have timm's names."""

    INPUT = ("patch_embed", "pos_embed", "cls_token")

    def __init__(self, config: Config, *, patch: int) -> None:
        super().__init__()
        width = config.width
        self.side = config.side
        self.cls_token = nn.Parameter(torch.empty(1, 1, width).normal_(0.0, 0.02))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + config.side**2, width).normal_(0.0, 0.02))
        self.patch_embed = PatchEmbed(width, patch)
        scale = 1e-5 if config.scaled else None
        shape = BlockShape(dim=width, heads=config.heads, hidden=4 * width, layer_scale=scale, eps=config.eps)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=config.eps)

    def forward(self, tokens: Tokens) -> tuple[Float[Tensor, "batch token width"], Bool[Tensor, "batch token"]]:
        """Encode to the class token and the patches, and say which are kept."""
        grey = self.patch_embed.proj.weight.sum(dim=1).flatten(1)
        table = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (self.side, self.side))
        patches = functional.linear(tokens.clean, grey, self.patch_embed.proj.bias)
        patches = torch.where(tokens.keep.unsqueeze(-1), patches + on_grid(table, kept_positions(tokens)), 0.0)
        x = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(len(patches), -1, -1), patches], dim=1)
        keep = torch.cat(
            [torch.ones_like(tokens.keep[:, :1]), tokens.keep], dim=1
        )  # an absent patient keeps a key for the softmax
        for block in cast("list[Block]", list(self.blocks)):
            x = block(x, keep=keep)
        return self.norm(x), keep & tokens.present.unsqueeze(1)


class PretrainedViT(nn.Module):
    """The transformer, and a linear layer to the width of the patient's representation."""

    def __init__(self, config: Config, *, patch: int, dim_out: int) -> None:
        super().__init__()
        self.dim_in, self.count = patch**2, None if config.patches else 1
        self.lower = FilmTransformer(config, patch=patch)
        self.out = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, dim_out))

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's kept patches."""
        return self.project(self.features(tokens))

    def features(self, tokens: Tokens) -> Tokens:
        """Encode to what the transformer returns."""
        require_shape(tokens, dim=self.dim_in)
        x, keep = self.lower(tokens)
        return Tokens(values=x[:, : self.count], keep=keep[:, : self.count])

    def project(self, features: Tokens) -> Tokens:
        """Bring it to the width asked for."""
        return Tokens(values=torch.where(features.keep.unsqueeze(-1), self.out(features.clean), 0.0), keep=features.keep)

    def rename(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the weights of timm, DINOv2 or Hugging Face the names of this network's part ``lower``.

        Raises:
            ConfigError: weights are missing, left over or of another shape; all are listed.
        """
        wanted = {key: value.shape for key, value in self.lower.state_dict().items()}
        return convert_vit(weights, wanted=wanted, patches=self.lower.side**2).state


def settings_beside(weights: Path) -> dict[str, object]:
    """Read the size of a transformer from the names and shapes in its file.

    Raises:
        ConfigError: the file is no ``.safetensors``, or holds no vision transformer.
    """
    from safetensors import SafetensorError, safe_open

    if weights.suffix != ".safetensors":
        msg = f"{weights}: pretrained_vit reads its size from a .safetensors file; save the state dict as one"
        raise ConfigError(msg)
    try:
        with safe_open(weights, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError) as error:
        msg = f"{weights}: not readable as safetensors: {error}"
        raise ConfigError(msg) from error
    positions = next((s for k, s in shapes.items() if k.endswith(("pos_embed", "position_embeddings")) and len(s) == 3), None)
    blocks = [int(found[1]) for key in shapes if (found := re.search(r"(?:blocks|layer|layers)\.(\d+)\.", key))]
    if positions is None or not blocks or isqrt(positions[1] - 1) ** 2 != positions[1] - 1:
        shown = ", ".join(list(shapes)[:4])
        msg = f"{weights}: wanted a vision transformer with a class token and a square of positions, got {shown}, ..."
        raise ConfigError(msg)
    width = positions[2]
    scaled = any(re.search(r"\.(?:ls1|layer_scale1)\.", key) for key in shapes)
    heads = max(1, width // 64)
    return {"width": width, "depth": max(blocks) + 1, "heads": heads, "side": isqrt(positions[1] - 1), "scaled": scaled}


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; the number of patches may be any.

    Raises:
        ValueError: tokens are no squares.
    """
    del num_tokens
    patch = isqrt(dim_in)
    if patch**2 != dim_in:
        msg = f"wanted patches of as many rows as columns, got {dim_in} pixels"
        raise ValueError(msg)
    return PretrainedViT(config, patch=patch, dim_out=dim_out)
