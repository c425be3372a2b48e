"""Views of a tile for self-supervised learning: multi-crop with the augmentations of pathology.

Multi-crop: Caron et al. (NeurIPS 2020), with DINOv2's settings (Oquab et al., TMLR 2024). Tissue has no upright side and takes
its colour from the laboratory, so views are flipped both ways and turned by right angles, and their stains are varied; nothing is
solarised unless asked. Extended-context translation (Virchow2: Zimmermann et al. 2024) cuts crops from a larger field
at nearly its own resolution instead of enlarging small ones, so that nuclei keep their size.

All chance comes from the generator given, in a number of draws that depends on the views alone.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from oncoweave.nn.colour import blur, to_grey, vary_colours, vary_stains

_TRIES = 10
_DRAWS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """Crops of one size: how many, and which part of the tile each shows."""

    name: str
    count: int
    side: int
    """Side of what comes out, in pixels."""
    scale: tuple[float, float]
    """Share of the area, least and most: of the tile's when crops are resized, of ``side`` squared when they are translated."""
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Width over height."""
    blur: tuple[float, ...] = (0.5,)
    """Probability of blur for the first crop, the second, ...; the last holds for the rest."""
    solarise: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        """Refuse crops that nothing can be cut to."""
        if self.count < 1 or self.side < 1:
            msg = f"crop {self.name!r}: wanted a count and a side of at least 1, got {self.count} and {self.side}"
            raise ValueError(msg)
        for what, (low, high) in (("scale", self.scale), ("aspect", self.aspect)):
            if not 0 < low <= high:
                msg = f"crop {self.name!r}: {what} wanted 0 < least <= most, got {(low, high)}"
                raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """Which crops are drawn of a tile, and what is varied in them; probabilities are for each crop by itself."""

    crops: tuple[Crop, ...]
    method: Literal["resize", "translate"] = "resize"
    """Random resized crops, or Virchow2's extended-context translation."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    flip: float = 0.5
    """Probability of a flip left to right."""
    flip_vertical: float = 0.5
    """Probability of a flip top to bottom."""
    rotate: bool = True
    """Turn by 0, 90, 180 or 270 degrees, each as likely."""
    stain: float = 0.8
    """Probability that stains are varied."""
    stain_factor: float = 0.2
    """Amounts of stain are multiplied by 1 plus or minus up to this ..."""
    stain_offset: float = 0.02
    """... and get up to this (in optical density) added or taken."""
    colour: float = 0.8
    """Probability that colours are varied."""
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.2
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Least and most, in pixels of the crop."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        names = [crop.name for crop in self.crops]
        if not names or len(set(names)) < len(names):
            msg = f"views: wanted crops of different names, got {names}"
            raise ValueError(msg)
        for what in ("flip", "flip_vertical", "stain", "colour", "grey"):
            if not 0 <= getattr(self, what) <= 1:
                msg = f"views: {what} is a probability, wanted 0 to 1, got {getattr(self, what)}"
                raise ValueError(msg)


def multi_crop(
    *, side: int = 224, local_side: int = 96, locals_: int = 8, scale: tuple[float, float] = (0.32, 1.0), split: float = 0.32
) -> tuple[Crop, ...]:
    """Two global crops and some local ones, as DINOv2 draws them: locals show 5 % of the tile up to the share ``split``.

    The first global crop is always blurred, the second seldom.
    """
    return (
        Crop(name="global", count=2, side=side, scale=scale, blur=(1.0, 0.1)),
        Crop(name="local", count=locals_, side=local_side, scale=(0.05, split)),
    )


def draw(
    tile: UInt8[Tensor, "height width 3"], views: Views, *, generator: torch.Generator
) -> dict[str, Float[Tensor, "view 3 _ _"]]:
    """Draw the views of a tile: by the crops' names, RGB from 0 to 1.

    Raises:
        ValueError: the tile is too small for a translated crop.
    """
    planes = tile.permute(2, 0, 1)
    return {
        crop.name: torch.stack([_view(planes, crop, number, views, generator) for number in range(crop.count)])
        for crop in views.crops
    }


def crop_box(
    size: tuple[int, int], crop: Crop, *, method: Literal["resize", "translate"], chance: list[list[float]]
) -> tuple[int, int, int, int]:
    """Choose a crop's ``(left, top, width, height)`` in a tile of ``size`` (width, height) from rows of four uniform numbers.

    The first row whose box fits is taken; where none does, the largest box of the nearest aspect that is allowed, in the middle.

    Raises:
        ValueError: the tile is smaller than the smallest translated crop.
    """
    wide, high = size
    whole = wide * high if method == "resize" else crop.side**2
    if method == "translate" and min(size) < math.sqrt(crop.scale[0] * whole):
        msg = (
            f"tile of {wide} x {high} px is too small for crop {crop.name!r}, translated: wanted a field of"
            f" {math.ceil(crop.side * math.sqrt(crop.scale[1] * crop.aspect[1]))} px or more"
        )
        raise ValueError(msg)
    low, high_aspect = (math.log(a) for a in crop.aspect)
    for share, shape, x, y in chance:
        area = whole * (crop.scale[0] + share * (crop.scale[1] - crop.scale[0]))
        aspect = math.exp(low + shape * (high_aspect - low))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= wide and 0 < height <= high:
            return int(x * (wide - width + 1)), int(y * (high - height + 1)), width, height
    aspect = min(max(wide / high, crop.aspect[0]), crop.aspect[1])
    width, height = min(wide, round(high * aspect)), min(high, round(wide / aspect))
    return (wide - width) // 2, (high - height) // 2, width, height


def orient(image: Float[Tensor, "*batch height width"], number: int) -> Float[Tensor, "*batch height width"]:
    """Apply one of the square's eight symmetries: ``number % 4`` quarter turns, then mirrored left to right from 4 on."""
    turned = torch.rot90(image, number % 4, dims=(-2, -1))
    return turned.flip(-1) if number // 4 % 2 else turned


def _view(
    planes: UInt8[Tensor, "3 height width"], crop: Crop, number: int, views: Views, generator: torch.Generator
) -> Float[Tensor, "3 side side"]:
    chance = torch.rand(_TRIES * 4 + _DRAWS, generator=generator).tolist()
    boxes = [chance[4 * i : 4 * i + 4] for i in range(_TRIES)]
    left, top, width, height = crop_box((planes.shape[2], planes.shape[1]), crop, method=views.method, chance=boxes)
    part = planes[None, :, top : top + height, left : left + width]
    part = F.interpolate(part, size=(crop.side, crop.side), mode=views.interpolation, antialias=True, align_corners=False)
    image = part[0].contiguous(memory_format=torch.contiguous_format).float() / 255
    return _varied(_oriented(image, views, chance[-4:]), crop, number, views, chance[_TRIES * 4 : -4])


def _oriented(image: Float[Tensor, "3 side side"], views: Views, chance: list[float]) -> Float[Tensor, "3 side side"]:
    mirrored, upside_down = chance[0] < views.flip, chance[1] < views.flip_vertical
    turns = int(chance[2] * 4) if views.rotate else 0
    # a flip up-down is a half turn and a flip left-right
    return orient(image, (turns + 2 * upside_down) % 4 + 4 * (mirrored != upside_down))


def _varied(
    image: Float[Tensor, "3 side side"], crop: Crop, number: int, views: Views, chance: list[float]
) -> Float[Tensor, "3 side side"]:
    def between(u: float, spread: float) -> float:
        return (2 * u - 1) * spread

    stain, colour, grey, blurred, solarised, sigma, *rest = chance
    if stain < views.stain:
        amounts = torch.tensor([[between(u, 1.0) for u in rest[:3]], [between(u, 1.0) for u in rest[3:6]]])
        image = vary_stains(image, 1 + amounts[0] * views.stain_factor, amounts[1] * views.stain_offset)
    if colour < views.colour:
        spreads = (views.brightness, views.contrast, views.saturation)
        brightness, contrast, saturation = (max(0.0, 1 + between(u, s)) for u, s in zip(rest[6:9], spreads, strict=True))
        order = tuple(sorted(range(4), key=lambda i: rest[10 + i]))
        image = vary_colours(image, factors=(brightness, contrast, saturation), turns=between(rest[9], views.hue), order=order)
    if grey < views.grey:
        image = to_grey(image)
    if blurred < crop.blur[min(number, len(crop.blur) - 1)]:
        low, high = views.blur_sigma
        image = blur(image, low + sigma * (high - low))
    if solarised < crop.solarise[min(number, len(crop.solarise) - 1)]:
        image = torch.where(image >= 0.5, 1 - image, image)
    return image.contiguous()
