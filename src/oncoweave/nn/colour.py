"""Colours of images as tensors: amounts of stain, hue and saturation, grey, blur. RGB runs from 0 to 1.

Stains are unmixed as in Ruifrok and Johnston (2001): the optical density ``-log10(rgb)`` is a sum of the densities of
haematoxylin, eosin and a residual (their DAB), each vector of length one. Jitter of stains follows Tellez et al. (IEEE TMI 2018).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of haematoxylin, eosin and the residual in red, green and blue."""

_DARKEST = 1 / 255
_GREY = (0.299, 0.587, 0.114)
_BLUR_RADIUS = 4


def to_stains(image: Float[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch 3 height width"]:
    """Unmix RGB into amounts of haematoxylin, eosin and residual; values darker than 1/255 count as 1/255."""
    density = -torch.log10(image.clamp_min(_DARKEST))
    return torch.einsum("...chw,cs->...shw", density, torch.linalg.inv(_vectors(image)))


def from_stains(
    stains: Float[Tensor, "*batch 3 height width"], vectors: Sequence[Sequence[float]] = STAINS
) -> Float[Tensor, "*batch 3 height width"]:
    """Mix amounts of stain back into RGB, from 0 to 1; ``vectors`` are densities like :data:`STAINS`, of any length."""
    density = torch.einsum("...shw,sc->...chw", stains, _vectors(stains, vectors))
    return torch.pow(10.0, -density).clamp(0, 1)


def vary_stains(
    image: Float[Tensor, "*batch 3 height width"], factors: Float[Tensor, " 3"], offsets: Float[Tensor, " 3"]
) -> Float[Tensor, "*batch 3 height width"]:
    """Multiply each stain's amount and add to it, as between laboratories; factors 1 and offsets 0 leave the image as it is."""
    return from_stains(to_stains(image) * factors[:, None, None] + offsets[:, None, None])


def to_grey(image: Float[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch 3 height width"]:
    """Replace colours by their luminance (ITU-R 601), in all three channels."""
    weights = torch.tensor(_GREY, dtype=image.dtype, device=image.device)
    return torch.einsum("...chw,c->...hw", image, weights).unsqueeze(-3).expand_as(image)


def turn_hue(image: Float[Tensor, "*batch 3 height width"], turns: float) -> Float[Tensor, "*batch 3 height width"]:
    """Turn the hue by a share of the whole circle, keeping saturation and value (HSV)."""
    red, green, blue = image.unbind(-3)
    value, index = image.max(dim=-3)
    spread = value - image.amin(dim=-3)
    safe = spread.clamp_min(1e-12)
    sixths = torch.where(
        index == 0, (green - blue) / safe, torch.where(index == 1, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    steps = torch.tensor([5.0, 3.0, 1.0], dtype=image.dtype, device=image.device)
    k = torch.remainder(steps[:, None, None] + (sixths + 6 * turns).unsqueeze(-3), 6)
    return value.unsqueeze(-3) - spread.unsqueeze(-3) * torch.minimum(k, 4 - k).clamp(0, 1)


def vary_colours(
    image: Float[Tensor, "*batch 3 height width"], *, factors: tuple[float, float, float], turns: float, order: tuple[int, ...]
) -> Float[Tensor, "*batch 3 height width"]:
    """Change brightness, contrast, saturation (``factors``) and hue (``turns``), in the ``order`` of their numbers 0 to 3.

    As torchvision's ColorJitter: each blends with black, with the mean grey, or with the grey image, and cuts to 0..1.
    """
    for number in order:
        if number == 3:
            image = turn_hue(image, turns)
            continue
        if number == 0:
            other = torch.zeros((), dtype=image.dtype, device=image.device)
        else:
            grey = to_grey(image)
            other = grey.mean(dim=(-3, -2, -1), keepdim=True) if number == 1 else grey
        image = (factors[number] * image + (1 - factors[number]) * other).clamp(0, 1)
    return image


def blur(image: Float[Tensor, "*batch 3 height width"], sigma: float) -> Float[Tensor, "*batch 3 height width"]:
    """Blur by a Gaussian of ``sigma`` pixels cut to nine taps (fewer where the image is smaller), mirrored at the edges."""
    shape = image.shape
    radius = min(_BLUR_RADIUS, shape[-1] - 1, shape[-2] - 1)
    taps = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (taps / sigma).square())
    kernel = kernel / kernel.sum()
    planes = F.pad(image.reshape(-1, 1, *shape[-2:]), (radius,) * 4, mode="reflect")
    planes = F.conv2d(F.conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return planes.reshape(shape)


def _vectors(like: Tensor, of: Sequence[Sequence[float]] = STAINS) -> Float[Tensor, "3 3"]:
    vectors = torch.tensor(of, dtype=like.dtype, device=like.device)
    return vectors / vectors.norm(dim=1, keepdim=True)
