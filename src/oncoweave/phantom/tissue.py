"""Where things lie in a phantom section: tissue, nests, glands, necrosis, fat, vessels, at a quarter of full resolution."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.truth import PatientTruth
from oncoweave.phantom.texture import fractal_noise, smooth_noise

SCALE = 4
"""Full-resolution pixels in one layout pixel."""

GLANDULAR, SOLID, DISCOHESIVE = 0, 1, 2
"""Growth patterns, in the order of ``PatientTruth.subtype``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ring:
    """A gland or vessel: a lumen lined by cells; lengths in full-resolution pixels."""

    x: float
    y: float
    radius: float
    harmonics: tuple[float, float, float, float]
    """Amplitude and phase of the two- and three-fold bulge."""

    def outline(self, angle: np.ndarray) -> np.ndarray:
        """Radius at each angle (radians)."""
        two, two_phase, three, three_phase = self.harmonics
        return self.radius * (1 + two * np.cos(2 * angle + two_phase) + three * np.cos(3 * angle + three_phase))


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Fields ``[height, width]`` in layout pixels; signed distances are in full-resolution pixels, positive inside."""

    tissue: np.ndarray
    nest: np.ndarray
    """Tumour epithelium (lumina included)."""
    lumen: np.ndarray
    """Empty spaces: gland lumina and vessels."""
    necrosis: np.ndarray
    fat: np.ndarray
    tumour_bed: np.ndarray
    """Tumour and the stroma between its nests."""
    across: np.ndarray
    along: np.ndarray
    """Fibre coordinates in pixels: fibres run where ``across`` is constant."""
    glands: tuple[Ring, ...]
    vessels: tuple[Ring, ...]


def lay_out(truth: PatientTruth, size_px: int, rng: np.random.Generator) -> Layout:
    """Draw the layout of a section of ``size_px`` pixels a side from a patient's truth.

    The growth pattern follows the subtype; the share of the nests that is necrotic follows ``private_slide``.
    """
    side = -(-size_px // SCALE)
    shape = (side, side)
    y, x = (np.mgrid[0:side, 0:side].astype(np.float32) / side - 0.5) * 2
    tissue = (0.93 - (np.abs(x) ** 4 + np.abs(y) ** 4) ** 0.25 + 0.07 * fractal_noise(shape, side / 5, rng)) * size_px / 2
    tilt = rng.uniform(0, 2 * np.pi)
    side_field = np.cos(tilt) * x + np.sin(tilt) * y
    fat = (side_field - rng.uniform(0.5, 1.05) + 0.16 * fractal_noise(shape, side / 4, rng)) * size_px / 2
    bed = (0.42 - side_field * 0.8 + 0.25 * fractal_noise(shape, side / 3, rng)) * size_px / 2
    bed = np.minimum(np.minimum(bed, tissue - 14), -fat - 40)
    nest, lumen, glands = _epithelium(truth.subtype, bed, size_px, rng)
    vessels = tuple(_vessels(np.minimum(np.minimum(-nest - 25, tissue - 60), -fat), size_px, rng))
    for vessel in vessels:
        _stamp(lumen, vessel, -7.0)
    necrosis = _necrosis(truth.private_slide, nest if truth.subtype == SOLID else bed, rng)
    warp = smooth_noise(shape, 60 / SCALE * 1.6, rng)
    angle = rng.uniform(0, np.pi)
    straight = (np.sin(angle) * x - np.cos(angle) * y) * size_px / 2
    along = (np.cos(angle) * x + np.sin(angle) * y) * size_px / 2 + 90 * smooth_noise(shape, 70, rng)
    across = 26 * np.tanh(nest / 55) + 0.95 * straight + 9 * warp + 34 * smooth_noise(shape, 46, rng) + 3 * np.sin(along / 13)
    return Layout(
        tissue=tissue, nest=nest, lumen=lumen, necrosis=necrosis, fat=fat, tumour_bed=bed,
        across=across + 4096, along=along + 8192, glands=glands, vessels=vessels,
    )  # fmt: skip


def signed_distance(inside: np.ndarray) -> np.ndarray:
    """Distance to the boundary of a mask in full-resolution pixels, positive inside, float32."""
    from scipy.ndimage import distance_transform_edt

    if not inside.any():
        return np.full(inside.shape, -4.0 * SCALE * max(inside.shape), dtype=np.float32)
    if inside.all():
        return np.full(inside.shape, 4.0 * SCALE * max(inside.shape), dtype=np.float32)
    return ((distance_transform_edt(inside) - distance_transform_edt(~inside)) * SCALE).astype(np.float32)


def _epithelium(
    subtype: int, bed: np.ndarray, size_px: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, tuple[Ring, ...]]:
    no_lumen = np.full(bed.shape, -1e4, dtype=np.float32)
    if subtype == GLANDULAR:
        glands = tuple(_gland_places(bed, size_px, rng))
        nest, lumen = no_lumen.copy(), no_lumen
        for gland in glands:
            _stamp(nest, gland, 0.0)
            _stamp(lumen, gland, -float(rng.uniform(36, 46)))
        wobble = 4 * smooth_noise(bed.shape, 8, rng)
        return signed_distance(nest + wobble > 0), lumen + wobble, glands
    if subtype == SOLID:
        field = smooth_noise(bed.shape, 48, rng) + 0.6 * smooth_noise(bed.shape, 22, rng) + 0.1 * smooth_noise(bed.shape, 6, rng)
        cut = np.quantile(field, rng.uniform(0.38, 0.5))
        return signed_distance((field > cut) & (bed > 0)), no_lumen, ()
    field = smooth_noise(bed.shape, 26, rng) + 0.5 * smooth_noise(bed.shape, 9, rng)
    cut = np.quantile(field, rng.uniform(0.86, 0.9))
    return signed_distance((field > cut) & (bed > 0)), no_lumen, ()


def _gland_places(bed: np.ndarray, size_px: int, rng: np.random.Generator) -> list[Ring]:
    tries = 6 * (size_px // 100) ** 2
    x, y = rng.uniform(0, size_px, (2, tries))
    radius = np.exp(rng.normal(np.log(88), 0.27, tries)).clip(52, 150)
    inside = bed[(y / SCALE).astype(int), (x / SCALE).astype(int)] > radius * 0.8
    glands: list[Ring] = []
    placed = np.zeros((0, 3))
    for i in np.flatnonzero(inside):
        gap = np.hypot(placed[:, 0] - x[i], placed[:, 1] - y[i]) - placed[:, 2] - radius[i]
        if (gap < rng.uniform(4, 22)).any():
            continue
        placed = np.vstack([placed, (x[i], y[i], radius[i])])
        glands.append(_ring(x[i], y[i], radius[i], 0.14, rng))
    return glands


def _vessels(room: np.ndarray, size_px: int, rng: np.random.Generator) -> list[Ring]:
    rings: list[Ring] = []
    for x, y in rng.uniform(0, size_px, (60, 2)):
        radius = float(rng.uniform(16, 42))
        if room[int(y / SCALE), int(x / SCALE)] > radius * 0.4 and len(rings) < 7:
            rings.append(_ring(x, y, radius, 0.2, rng))
    return rings


def _ring(x: float, y: float, radius: float, bulge: float, rng: np.random.Generator) -> Ring:
    two, three = rng.uniform(0.3, 1.0, 2) * bulge * np.array([1.0, 0.55])
    phases = rng.uniform(0, 2 * np.pi, 2)
    return Ring(x=float(x), y=float(y), radius=float(radius), harmonics=(two, float(phases[0]), three, float(phases[1])))


def _stamp(field: np.ndarray, ring: Ring, offset_px: float) -> None:
    """Raise ``field`` to the ring's signed distance (grown by ``offset_px``) in a window around it."""
    reach = int(ring.radius * 1.6 / SCALE) + 3
    row, column = int(ring.y / SCALE), int(ring.x / SCALE)
    top, left = max(0, row - reach), max(0, column - reach)
    window = field[top : row + reach + 1, left : column + reach + 1]
    if window.size == 0:
        return
    dy = (np.arange(top, top + window.shape[0]) + 0.5)[:, None] * SCALE - ring.y
    dx = (np.arange(left, left + window.shape[1]) + 0.5)[None, :] * SCALE - ring.x
    distance = ring.outline(np.arctan2(dy, dx)) - np.hypot(dx, dy) + offset_px
    np.maximum(window, distance, out=window)


def necrotic_share(private_slide: float) -> float:
    """Share of the solid tumour area that is necrotic, from the slide's private risk factor (a logistic curve, 0 to 0.6)."""
    return float(0.6 / (1 + np.exp(-1.4 * (private_slide - 0.8))))


def _necrosis(private_slide: float, room: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put one smooth necrotic region where the tumour is deepest, so that its share of the epithelium is as planted."""
    shape = room.shape
    epithelium = room > 0
    if not epithelium.any():
        return np.full(shape, -1e4, dtype=np.float32)
    field = 1.4 * smooth_noise(shape, shape[0] / 2.2, rng) + 0.25 * smooth_noise(shape, 14, rng)
    cut = np.quantile(field[epithelium], 1 - necrotic_share(private_slide))
    return np.minimum(signed_distance(field > cut), room + 6)
