"""Stains and scanners that a tile might have come from: 13 x 7 versions of one tile, the same on every machine.

After the design of PLISM (Ochi et al., Scientific Data 2024: one tissue in 13 stainings on 7 scanners), made by computation: it
shows what colour, contrast, sharpness and compression do to embeddings, not what section, registration or a real laboratory do.
A stain multiplies the amounts of haematoxylin and eosin (Ruifrok and Johnston 2001) and may mix them back with other vectors; a
scanner blurs, balances the channels, bends their response (``light ** gamma``), rounds to 8 bits and compresses as JPEG. The
first of each leaves tiles as they are.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from oncoweave.nn.colour import STAINS as VECTORS
from oncoweave.nn.colour import blur, from_stains, to_stains

REVISION = 1
"""Raised when versions change; part of what kept embeddings are found by."""

_Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class StainVersion:
    """A laboratory's staining, against the one that a tile has."""

    name: str
    haematoxylin: float = 1.0
    """Factor on its amount."""
    eosin: float = 1.0
    haematoxylin_vector: _Vector = VECTORS[0]
    """Optical density in red, green and blue, of any length."""
    eosin_vector: _Vector = VECTORS[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScannerVersion:
    """A scanner, against the one that a tile has."""

    name: str
    gain: _Vector = (1.0, 1.0, 1.0)
    """Factor on the light in red, green and blue."""
    gamma: float = 1.0
    blur_px: float = 0.0
    quality: int | None = None
    """Of JPEG; None does not compress."""


_BLUE_HAEMATOXYLIN, _PURPLE_HAEMATOXYLIN = (0.74, 0.62, 0.26), (0.55, 0.78, 0.30)
_ORANGE_EOSIN, _MAGENTA_EOSIN = (0.05, 0.92, 0.38), (0.18, 0.97, 0.06)

STAINS = (
    StainVersion(name="as it is"),
    StainVersion(name="weak haematoxylin", haematoxylin=0.65),
    StainVersion(name="strong haematoxylin", haematoxylin=1.45),
    StainVersion(name="weak eosin", eosin=0.6),
    StainVersion(name="strong eosin", eosin=1.6),
    StainVersion(name="pale", haematoxylin=0.7, eosin=0.65),
    StainVersion(name="dark", haematoxylin=1.35, eosin=1.4),
    StainVersion(name="blue over pink", haematoxylin=1.35, eosin=0.65),
    StainVersion(name="pink over blue", haematoxylin=0.7, eosin=1.45),
    StainVersion(name="blue haematoxylin", haematoxylin_vector=_BLUE_HAEMATOXYLIN),
    StainVersion(name="purple haematoxylin", haematoxylin_vector=_PURPLE_HAEMATOXYLIN),
    StainVersion(name="orange eosin", eosin_vector=_ORANGE_EOSIN),
    StainVersion(name="magenta eosin", eosin_vector=_MAGENTA_EOSIN),
)
SCANNERS = (
    ScannerVersion(name="as it is"),
    ScannerVersion(name="warm", gain=(1.0, 0.96, 0.88), quality=85),
    ScannerVersion(name="cold", gain=(0.90, 0.96, 1.0), quality=85),
    ScannerVersion(name="bright", gain=(1.04, 1.04, 1.04), gamma=0.8, quality=80),
    ScannerVersion(name="dim", gain=(0.93, 0.93, 0.93), gamma=1.25, quality=80),
    ScannerVersion(name="soft", gain=(0.98, 0.98, 0.96), blur_px=1.2, quality=75),
    ScannerVersion(name="compressed", gain=(0.98, 1.0, 0.98), quality=30),
)


def scans(images: UInt8[Tensor, "tile 3 height width"], stain: StainVersion) -> Iterator[UInt8[Tensor, "tile 3 height width"]]:
    """Stain some tiles anew, and scan them on every scanner in turn."""
    stained = _stained(images, stain)
    for scanner in SCANNERS:
        yield _scanned(stained, scanner)


def _stained(images: UInt8[Tensor, "tile 3 height width"], stain: StainVersion) -> Float[Tensor, "tile 3 height width"]:
    light = images.float() / 255
    if stain == StainVersion(name=stain.name):
        return light
    factors = torch.tensor([stain.haematoxylin, stain.eosin, 1.0])
    amounts = to_stains(light) * factors[:, None, None]
    return from_stains(amounts, (stain.haematoxylin_vector, stain.eosin_vector, VECTORS[2]))


def _scanned(light: Float[Tensor, "tile 3 height width"], scanner: ScannerVersion) -> UInt8[Tensor, "tile 3 height width"]:
    if scanner.blur_px:
        light = blur(light, scanner.blur_px)
    if scanner.gain != (1.0, 1.0, 1.0):
        light = (light * torch.tensor(scanner.gain)[:, None, None]).clamp(0, 1)
    if scanner.gamma != 1.0:
        light = light.clamp(0, 1) ** scanner.gamma
    images = (light * 255).round().clamp(0, 255).to(torch.uint8)
    return images if scanner.quality is None else torch.stack([_compressed(image, scanner.quality) for image in images])


def _compressed(image: UInt8[Tensor, "3 height width"], quality: int) -> UInt8[Tensor, "3 height width"]:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(held, format="JPEG", quality=quality)
    held.seek(0)
    with Image.open(held) as opened:
        return torch.from_numpy(np.array(opened)).permute(2, 0, 1)
