"""Values of tiles drawn over their slide: one colour a value with a colour bar, or three components as lightness and hue.

Every pixel of the picture is a square of level-0 pixels, and shows the tile that covers its centre, or the mean of those that do
where tiles overlap. Colours are opaque, so that each can be read off the bar; the tissue itself stands beside the map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont

from oncoweave.core.errors import DataError
from oncoweave.core.files import publish
from oncoweave.wsi.colours import from_oklab, paint, scale
from oncoweave.wsi.geometry import Mpp
from oncoweave.wsi.image import read_thumbnail
from oncoweave.wsi.readers import Slide

LONGEST = 1400
"""Longer side of a slide in the picture, in pixels."""
ABSENT = (205, 205, 205)
"""Colour of a tile without a value."""

_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_GAP, _BAR, _LEGEND, _LEGEND_HEIGHT = 24, 22, 150, 640
_CLIP = (1.0, 99.0)
_TAIL = 3.0
_TEXT = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class TileGrid:
    """Where the tiles of a slide lie."""

    coords: Int64[np.ndarray, "tile 2"]
    """Top-left corners ``(x, y)`` in level-0 pixels."""
    side: float
    """Side of a tile in level-0 pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnail:
    """A slide at the size of the picture."""

    pixels: UInt8[np.ndarray, "height width 3"]
    scale: float
    """Level-0 pixels a pixel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """What a picture says of itself."""

    title: str
    unit: str = ""
    """What the colours mean, beside the bar."""
    note: str = ""
    """What has to be known to read the picture."""


def read_slide_thumbnail(slide: Slide, *, longest: int = LONGEST) -> Thumbnail:
    """Read a slide so that its longer side has at most ``longest`` pixels.

    Raises:
        SlideError: the slide cannot be decoded.
    """
    down = max(1.0, max(slide.dimensions) / longest)
    return Thumbnail(pixels=read_thumbnail(slide, level0=Mpp(1.0), target=Mpp(down)), scale=down)


def draw_values(thumbnail: Thumbnail, tiles: TileGrid, values: Float[np.ndarray, " tile"], *, caption: Caption) -> Image.Image:
    """Draw one value a tile, beside the slide, with a colour bar from the 1st to the 99th percentile of the values.

    A tile without a value (NaN) is grey. Ends of the bar that values lie beyond say so.

    Raises:
        DataError: no tile has a value, or tiles lie outside the slide.
    """
    known = np.isfinite(values)
    if not known.any():
        msg = f"{caption.title}: none of {len(values)} tiles has a value"
        raise DataError(msg)
    low, high = (float(v) for v in np.percentile(values[known], _CLIP))
    mean, covered = spread(thumbnail, tiles, values[:, None])
    shown = mean[..., 0][covered]
    pixels = _faded(thumbnail.pixels)
    pixels[covered] = np.where(np.isfinite(shown)[:, None], paint(np.nan_to_num(shown), low=low, high=high), ABSENT)
    beyond = (bool((values[known] < low).any()), bool((values[known] > high).any()))
    canvas, left = _canvas(thumbnail, pixels, caption)
    _draw_bar(canvas, left, (low, high), beyond, caption.unit)
    return canvas


def draw_components(
    thumbnail: Thumbnail, tiles: TileGrid, components: Float[np.ndarray, "tile 3"], *, caption: Caption, parts: Sequence[float]
) -> Image.Image:
    """Draw three components a tile in OKLab: the first as lightness, the second green to red, the third blue to yellow.

    Tiles that look alike have like colours. Each component has its median in the middle of its axis, and is cut where the farther
    of its 3rd and 97th percentile lies. ``parts`` is the share of all variance that each holds, for the legend.

    Raises:
        DataError: tiles lie outside the slide.
    """
    low, middle, high = np.percentile(components, (_TAIL, 50.0, 100.0 - _TAIL), axis=0)
    reach = np.maximum(high - middle, middle - low)
    unit = np.clip(0.5 + (components - middle) / np.where(reach > 0, 2 * reach, 1.0), 0, 1)
    mean, covered = spread(thumbnail, tiles, unit)
    pixels = _faded(thumbnail.pixels)
    pixels[covered] = _component_colours(mean[covered])
    canvas, left = _canvas(thumbnail, pixels, caption)
    _draw_axes(canvas, left, parts)
    return canvas


def write_png(path: Path, image: Image.Image) -> None:
    """Write a picture, atomically."""
    with publish(Path(path)) as partial:
        image.save(partial, format="PNG")


def principal_components(tokens: Float[np.ndarray, "tile dim"]) -> tuple[Float[np.ndarray, "tile 3"], tuple[float, ...]]:
    """Project tiles on their first three principal components; also the share of the variance that each holds.

    The sign of a component is that in which its largest tile (by size of the value) is positive, so that it does not hang on the
    solver. Components that do not exist are zero.
    """
    centred = tokens.astype(np.float64) - tokens.mean(axis=0, dtype=np.float64)
    variance, axes = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(variance)[::-1][:3]
    projected = centred @ axes[:, order]
    largest = projected[np.abs(projected).argmax(axis=0), np.arange(len(order))]
    projected *= np.where(largest < 0, -1.0, 1.0)
    total = max(float(variance.clip(0).sum()), 1e-300)
    shares = tuple(float(max(v, 0.0) / total) for v in variance[order])
    missing = 3 - len(order)
    return np.pad(projected, ((0, 0), (0, missing))), (*shares, *[0.0] * missing)


def spread(
    thumbnail: Thumbnail, tiles: TileGrid, values: Float[np.ndarray, "tile channel"]
) -> tuple[Float[np.ndarray, "height width channel"], Bool[np.ndarray, "height width"]]:
    """Lay values of tiles out over pixels: the mean of the tiles that cover a pixel's centre, and which pixels any tile covers.

    A tile that covers no pixel's centre, being smaller than a pixel, takes the pixel its own centre lies in.

    Raises:
        DataError: a tile does not lie on the slide.
    """
    height, width = thumbnail.pixels.shape[:2]
    total = np.zeros((height, width, values.shape[1]))
    count = np.zeros((height, width), dtype=np.int64)
    first = np.ceil(tiles.coords / thumbnail.scale - 0.5).astype(int)
    last = np.ceil((tiles.coords + tiles.side) / thumbnail.scale - 0.5).astype(int)
    middle = np.floor((tiles.coords + tiles.side / 2) / thumbnail.scale).astype(int)
    first, last = np.where(last > first, first, middle), np.where(last > first, last, middle + 1)
    outside = np.any((tiles.coords < 0) | (last > [width + 1, height + 1]), axis=1)
    if outside.any():
        where = tuple(tiles.coords[outside.argmax()].tolist())
        size = (round(width * thumbnail.scale), round(height * thumbnail.scale))
        msg = (
            f"{int(outside.sum())} of {len(tiles.coords)} tiles lie outside the slide of {size[0]} x {size[1]} level-0 px, first"
            f" at {where}; give the slide that these tiles were cut from"
        )
        raise DataError(msg)
    for (x0, y0), (x1, y1), value in zip(first, last, values, strict=True):
        total[y0:y1, x0:x1] += value
        count[y0:y1, x0:x1] += 1
    return total / np.maximum(count, 1)[..., None], count > 0


def _component_colours(unit: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    """Colours of components from 0 to 1; the few that no screen shows are cut."""
    lab = np.stack([0.42 + 0.45 * unit[:, 0], 0.26 * (unit[:, 1] - 0.5), 0.26 * (unit[:, 2] - 0.5)], axis=1)
    return np.rint(255 * np.clip(from_oklab(lab), 0, 1)).astype(np.uint8)


def _faded(pixels: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """The slide in pale grey, which no value is painted in."""
    grey = pixels @ np.array([0.2126, 0.7152, 0.0722])
    return np.repeat((255 - (255 - grey[..., None]) * 0.35).astype(np.uint8), 3, axis=2)


def _canvas(
    thumbnail: Thumbnail, pixels: UInt8[np.ndarray, "height width 3"], caption: Caption
) -> tuple[Image.Image, tuple[int, int]]:
    """Slide and map side by side, or one above the other where the slide is wide; also the corner of the legend."""
    height, width = pixels.shape[:2]
    beside = width <= 1.2 * height
    size = (2 * width + _GAP, height) if beside else (width, 2 * height + _GAP)
    wide = max(size[0] + 3 * _GAP + _LEGEND, 700)
    lines = _wrapped(caption.note, wide - 2 * _GAP)
    top = 48 + 21 * len(lines) + 14
    canvas = Image.new("RGB", (wide, max(size[1], _LEGEND_HEIGHT) + top + _GAP), _PAPER)
    canvas.paste(Image.fromarray(thumbnail.pixels), (_GAP, top))
    canvas.paste(Image.fromarray(pixels), (_GAP + width + _GAP, top) if beside else (_GAP, top + height + _GAP))
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, 14), caption.title, fill=_INK, font=ImageFont.load_default(22))
    for number, line in enumerate(lines):
        draw.text((_GAP, 48 + 21 * number), line, fill=_INK, font=ImageFont.load_default(_TEXT))
    return canvas, (size[0] + 2 * _GAP, top)


def _wrapped(text: str, width: int) -> list[str]:
    font = ImageFont.load_default(_TEXT)
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _draw_bar(
    canvas: Image.Image, place: tuple[int, int], limits: tuple[float, float], beyond: tuple[bool, bool], unit: str
) -> None:
    left, top = place
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_TEXT)
    lines = _wrapped(unit, _LEGEND)
    draw.multiline_text((left, top), "\n".join(lines), fill=_INK, font=font)
    top, height = top + 14 + 21 * len(lines), 420
    bar = scale()[::-1][np.linspace(0, len(scale()) - 1, height).round().astype(int)]
    canvas.paste(Image.fromarray(np.repeat(bar[:, None], _BAR, axis=1)), (left, top))
    draw.rectangle((left - 1, top - 1, left + _BAR, top + height), outline=_INK)
    for value in ticks(*limits):
        y = top + round((limits[1] - value) / max(limits[1] - limits[0], 1e-300) * (height - 1))
        draw.line((left + _BAR, y, left + _BAR + 5, y), fill=_INK)
        draw.text((left + _BAR + 9, y - 9), f"{value:.6g}", fill=_INK, font=font)
    if any(beyond):
        cut = _wrapped("the lowest and highest 1 % lie beyond the bar", _LEGEND)
        draw.multiline_text((left, top + height + 12), "\n".join(cut), fill=_INK, font=font)


def ticks(low: float, high: float) -> list[float]:
    """Choose four to nine round values of an axis.

    >>> ticks(-0.0082, 1.7)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6]
    """
    if not high > low:
        return [low]
    power = 10.0 ** np.floor(np.log10((high - low) / 4))
    step = power * next(m for m in (5, 2, 1) if m * power * 4 <= high - low)
    digits = max(0, int(-np.floor(np.log10(step))))
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [round(i * float(step), digits) + 0.0 for i in range(first, last + 1)]


def _draw_axes(canvas: Image.Image, place: tuple[int, int], parts: Sequence[float]) -> None:
    left, top = place
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_TEXT)
    for number, part in enumerate(parts):
        unit = np.full((160, 3), 0.5)
        unit[:, number] = np.linspace(1, 0, len(unit))
        y = top + number * (len(unit) + 48)
        draw.text((left, y), f"component {number + 1}", fill=_INK, font=font)
        canvas.paste(Image.fromarray(np.repeat(_component_colours(unit)[:, None], _BAR, axis=1)), (left, y + 24))
        draw.text((left + _BAR + 9, y + 24 + len(unit) // 2 - 9), f"{part:.0%}", fill=_INK, font=font)
