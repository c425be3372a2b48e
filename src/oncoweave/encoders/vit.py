"""Vision transformer for tiles (Dosovitskiy et al., ICLR 2021): by configuration GigaPath, Virchow, UNI, H-optimus, Phikon.

With LayerScale (Touvron et al., ICCV 2021), SwiGLU and registers (Darcet et al., ICLR 2024) as in DINOv2. Parameter names are
those of timm's ``VisionTransformer``; ``from_upstream`` reads those of DINOv2 and Hugging Face too. Departures: positions are
resampled for any image whose sides are whole patches, and images come as RGB from 0 to 1, are brought to the size the encoder was
made for and are standardised inside, so that a bag cannot be made with the wrong mean or crop. GigaPath is fed 256-px tiles of
which it sees the middle 224 px: the outer ring of 16 px, 23 % of a tile, is never looked at, here as there.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from oncoweave.core.card import TileCard
from oncoweave.core.ranges import Count, Number, Positive, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.upstream import convert_vit
from oncoweave.nn.vit_blocks import Block, BlockShape, Feed, Interpolation, PatchEmbed, fit_tiles
from oncoweave.nn.vit_facts import FACTS, Facts

KINDS = ("tile",)
REVISION = 1
"""Raised when the numbers change; part of the encoder's fingerprint."""
TRAINING_SETTINGS = ("drop_path", "mask_token")
"""Settings that act in training alone: weights trained with other ones give the same numbers."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@ranged
class Config:
    """Size of the transformer."""

    image: Count = 224
    """Side, in pixels, of the tiles whose positions are stored."""
    patch: Count = 16
    """Side of a patch, in pixels."""
    dim: Count = 192
    """Width of the tokens."""
    depth: Count = 12
    """Blocks."""
    heads: Count = 3
    """Of the attention; must divide ``dim``."""
    hidden: Count = 768
    """Outputs of the first feed-forward layer; of SwiGLU gate and value together."""
    feed: Feed = "gelu"
    """Feed-forward layer of the blocks."""
    layer_scale: Positive | None = 0.1
    """Start value of LayerScale (0.1 up to 18 blocks, less for deeper ones); None for none."""
    registers: Number = 0
    """Learned tokens beside the class token."""
    prefix_positions: bool = True
    """Whether class token and registers have positions too (timm's ``no_embed_class`` turned round)."""
    pool: Literal["class", "mean", "class_and_mean"] = "class"
    """The class token, the mean of the patch tokens, or both side by side (twice as wide); registers are left out."""
    resize: Count | None = None
    """Side that tiles are resized to before they are encoded; None takes them as they are."""
    interpolation: Interpolation = "bicubic"
    """How tiles are resized."""
    crop: Count | None = None
    """Side of the middle of the tile that is encoded; None for all of it."""
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    """What red, green and blue are centred by before the network, and divided by below; of values from 0 to 1."""
    deviation: tuple[Positive, Positive, Positive] = _IMAGENET_DEVIATION
    """What red, green and blue are divided by."""
    eps: Positive = 1e-6
    """Added to the variance in each LayerNorm."""
    drop_path: Rate = 0.0
    """Share of residual branches dropped in training, the same in every block."""
    mask_token: bool = False
    """Whether there is a learnt token that stands for hidden patches."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.dim, self.heads)


_LARGE = Config(dim=1024, depth=24, heads=16, hidden=4096, layer_scale=1e-5)
_HUGE = Config(patch=14, dim=1280, depth=32, heads=16, hidden=6832, feed="swiglu", layer_scale=1e-5, pool="class_and_mean")
_GIANT = Config(dim=1536, depth=40, heads=24, hidden=8192, feed="swiglu", layer_scale=1e-5)
_OPTIMUS = replace(
    _GIANT,
    patch=14,
    registers=4,
    prefix_positions=False,
    mean=(0.707223, 0.578729, 0.703617),
    deviation=(0.211883, 0.230117, 0.177517),
    resize=224,
)

VARIANTS = {
    "tiny": Config(),
    "nano": Config(dim=96, depth=4, heads=3, hidden=384, pool="mean"),
    "small": Config(dim=384, heads=6, hidden=1536),
    "small-registers": Config(dim=384, heads=6, hidden=1536, registers=4, prefix_positions=False),
    "base": Config(dim=768, heads=12, hidden=3072),
    "large": _LARGE,
    "giant": _GIANT,
    "gigapath": replace(_GIANT, resize=256, crop=224),
    "gigapath-flash": Config(dim=384, heads=6, hidden=2048, feed="swiglu", layer_scale=1e-5, resize=256, crop=224),
    "virchow": replace(_HUGE, resize=224),
    "virchow2": replace(_HUGE, resize=224, registers=4),
    "uni": replace(_LARGE, resize=224, interpolation="bilinear"),
    "uni2-h": replace(_GIANT, patch=14, depth=24, registers=8, prefix_positions=False, resize=224, interpolation="bilinear"),
    "h-optimus-0": _OPTIMUS,
    "h-optimus-1": _OPTIMUS,
    "h0-mini": replace(_OPTIMUS, dim=768, depth=12, heads=12, hidden=4096),
    "phikon": Config(dim=768, heads=12, hidden=3072, layer_scale=None, resize=224, interpolation="bilinear", eps=1e-12),
    "phikon-v2": replace(_LARGE, resize=224, interpolation="bilinear"),
}


class VisionTransformer(nn.Module):
    """RGB tiles with values from 0 to 1 to vectors of width ``dim``."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim * (2 if config.pool == "class_and_mean" else 1)
        side = config.image // config.patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.reg_token = nn.Parameter(torch.zeros(1, config.registers, config.dim)) if config.registers else None
        prefix = 1 + config.registers if config.prefix_positions else 0
        self.pos_embed = nn.Parameter(torch.zeros(1, prefix + side**2, config.dim))
        self.mask_token = nn.Parameter(torch.zeros(1, config.dim)) if config.mask_token else None
        self.patch_embed = PatchEmbed(config.dim, config.patch)
        shape = BlockShape(
            dim=config.dim,
            heads=config.heads,
            hidden=config.hidden,
            feed=config.feed,
            layer_scale=config.layer_scale,
            drop=config.drop_path,
            eps=config.eps,
        )
        self.blocks = nn.ModuleList([Block(shape) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(config.dim, eps=config.eps)
        for name, values in (("mean", config.mean), ("deviation", config.deviation)):
            # on the processor even where parameters are made on the meta device, as no checkpoint brings them
            self.register_buffer(name, torch.tensor(values, device="cpu").view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Encode a batch of tiles, brought to the size that the encoder was made for.

        Raises:
            ValueError: a side is not a whole number of patches, or see :func:`oncoweave.nn.vit_blocks.fit_tiles`.
        """
        fitted = fit_tiles(images, resize=self.config.resize, interpolation=self.config.interpolation, crop=self.config.crop)
        tokens = self.tokens(fitted)
        if self.config.pool == "class":
            return tokens[:, 0]
        mean = tokens[:, self.prefix :].mean(dim=1)
        return mean if self.config.pool == "mean" else torch.cat([tokens[:, 0], mean], dim=1)

    @property
    def prefix(self) -> int:
        """Number of tokens before those of the patches: class token and registers."""
        return 1 + self.config.registers

    def tokens(
        self,
        images: Float[Tensor, "batch 3 height width"],
        masks: Bool[Tensor, "batch patch"] | None = None,
        *,
        visible: Int64[Tensor, "batch visible"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch token dim"]:
        """Encode to the class token, the registers and the patch tokens, row by row, after the last norm.

        Patches under ``masks`` are replaced by the mask token before positions are added, as in iBOT and DINOv2. With ``visible``
        only these patches are encoded, each at its position, as in MAE. ``generator`` draws what is dropped in training.

        Raises:
            ValueError: a side is not a whole number of patches, or there are masks and no mask token.
        """
        height, width = images.shape[-2:]
        if height % self.config.patch or width % self.config.patch:
            msg = f"tiles of {width} x {height} px are not whole patches of {self.config.patch} px"
            raise ValueError(msg)
        patches = self.patch_embed((images - self.mean) / self.deviation)
        shape = (height // self.config.patch, width // self.config.patch)
        if masks is not None:
            if self.mask_token is None:
                raise ValueError("masks need a mask token; build the encoder with mask_token=True")
            patches = torch.where(masks.unsqueeze(-1), self.mask_token.to(patches.dtype), patches)
        positions = self._positions(shape).to(patches.dtype)
        prefix = self.cls_token if self.reg_token is None else torch.cat([self.cls_token, self.reg_token], dim=1)
        prefix = prefix.expand(len(images), -1, -1)
        if self.config.prefix_positions:
            x = torch.cat([prefix, patches], dim=1) + positions
        else:
            x = torch.cat([prefix, patches + positions], dim=1)
        if visible is not None:
            shown = x[:, self.prefix :].gather(1, visible.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
            x = torch.cat([x[:, : self.prefix], shown], dim=1)
        for block in cast("list[Block]", list(self.blocks)):
            x = block(x, *block.draw_kept(len(x), device=x.device, generator=generator))
        return self.norm(x)

    def _positions(self, shape: tuple[int, int]) -> Float[Tensor, "1 position dim"]:
        side = self.config.image // self.config.patch
        if shape == (side, side):
            return self.pos_embed
        extra = self.pos_embed.shape[1] - side**2
        grid = self.pos_embed[:, extra:].transpose(1, 2).unflatten(2, (side, side))
        grid = F.interpolate(grid.float(), size=shape, mode="bicubic", antialias=True, align_corners=False)
        return torch.cat([self.pos_embed[:, :extra], grid.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)], dim=1)


def build(config: Config, *, generator: torch.Generator) -> VisionTransformer:
    """Build the encoder with random weights drawn from ``generator``: equal seeds, equal weights.

    Weights are normal with deviation 0.02 cut at two deviations, patch projections uniform as for a linear layer, biases zero.

    Raises:
        ValueError: the width is not a multiple of the heads, or the image not one of the patch.
    """
    if config.dim % config.heads or config.image % config.patch:
        msg = f"wanted dim a multiple of heads and image one of patch, got {config}"
        raise ValueError(msg)
    with torch.random.fork_rng(devices=[]):  # the layers' own start values would otherwise move the global generator
        model = VisionTransformer(config)
    bound = (3 * config.patch**2) ** -0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif name == "patch_embed.proj.weight":
                parameter.uniform_(-bound, bound, generator=generator)
            elif parameter.dim() > 1 and name != "mask_token":
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04, generator=generator)
    return model


def from_upstream(state: Mapping[str, Any], config: Config) -> tuple[VisionTransformer, tuple[str, ...]]:
    """Build the encoder with weights of timm, DINOv2 or Hugging Face, in float32; also returns the keys that were left out.

    Nothing is drawn and no memory but the weights' own is taken. See :func:`oncoweave.nn.upstream.convert_vit`.

    Raises:
        ConfigError: weights are missing, left over or of another shape.
    """
    with torch.device("meta"):
        model = VisionTransformer(config)
    wanted = {key: value.shape for key, value in model.state_dict().items()}
    converted = convert_vit(state, wanted=wanted, patches=(config.image // config.patch) ** 2)
    model.load_state_dict(converted.state, strict=True, assign=True)
    return model, converted.left_out


def _card(config: Config, facts: Facts) -> TileCard:
    steps = ["as it is"] if config.resize is None else [f"resized to {config.resize} px ({config.interpolation})"]
    steps += [] if config.crop is None else [f"middle {config.crop} px"]
    return TileCard(
        title=facts.title,
        licence=facts.licence,
        published=bool(facts.weights),
        tile=facts.tile,
        mpp=facts.mpp,
        input=", ".join(steps),
        mean=config.mean,
        deviation=config.deviation,
        output={"class": "cls", "mean": "mean", "class_and_mean": "cls+mean"}[config.pool],
        dim=config.dim * (2 if config.pool == "class_and_mean" else 1),
        parameters=facts.parameters,
        citation=facts.citation,
        weights=facts.weights,
        notes=facts.notes,
    )


CARDS = {variant: _card(VARIANTS[variant], facts) for variant, facts in FACTS.items()}
"""What is known of each variant."""
