"""The ground of a phantom section: collagen, cytoplasm, necrosis, lumina and fat as amounts of haematoxylin and eosin.

Everything is painted in strips of rows, because fields of a whole slide fall out of the processor's cache (three times slower).
"""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from oncoweave.core.truth import PatientTruth
from oncoweave.phantom.nuclei import Nuclei, thin
from oncoweave.phantom.texture import bank, fibres, smooth_noise
from oncoweave.phantom.tissue import GLANDULAR, SCALE, SOLID, Layout

_STRIP = 128


class Strip:
    """Rows ``top`` to ``bottom`` of the full-resolution fields, each enlarged when it is first asked for."""

    def __init__(self, maps: Mapping[str, Image.Image], rows: tuple[int, int], size_px: int, shift: np.ndarray) -> None:
        self._maps, self._rows, self._size, self._shift = maps, rows, size_px, shift
        self._cache: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        """Give a field of the layout, float32 ``[row, column]``."""
        if name not in self._cache:
            image = self._maps[name]
            scale = SCALE if name != "border" else 2
            top, bottom = (r / scale for r in self._rows)
            box = (0.0, top, self._size / scale, bottom)
            size = (self._size, self._rows[1] - self._rows[0])
            self._cache[name] = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))
        return self._cache[name]

    def grain(self, sigma_px: float, layer: int) -> np.ndarray:
        """Give fine noise of a grain size; each ``layer`` lies elsewhere in the bank."""
        noise = bank(sigma_px)
        side = len(noise)
        rows = (np.arange(*self._rows) + self._shift[0, layer]) % side
        columns = (np.arange(self._size) + self._shift[1, layer]) % side
        return noise[rows][:, columns]


def paint(
    truth: PatientTruth, layout: Layout, nuclei: Nuclei, size_px: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint everything but the nuclei: amounts of haematoxylin and eosin, float32 ``[height, width]``."""
    shape = layout.nest.shape
    fields = {name: getattr(layout, name) for name in ("tissue", "nest", "lumen", "necrosis", "fat", "across", "along")}
    for name, scale in (("patch", 40.0), ("weave", 36.0), ("medium", 12.0), ("clot", 5.0), ("mucin", 20.0), ("wrinkle", 6.0)):
        fields[name] = smooth_noise(shape, scale, rng)
    fields["wall"] = _fat_walls(layout, rng)
    fields["vessel"] = np.where(layout.nest < -20, layout.lumen, -1e4)
    fields["border"] = _cell_borders(nuclei, size_px)
    maps = {name: Image.fromarray(np.ascontiguousarray(f, dtype=np.float32)) for name, f in fields.items()}
    shift = rng.integers(0, 1024, (2, 8))
    haematoxylin, eosin = np.empty((2, size_px, size_px), dtype=np.float32)
    for top in range(0, size_px, _STRIP):
        bottom = min(top + _STRIP, size_px)
        strip = Strip(maps, (top, bottom), size_px, shift)
        haematoxylin[top:bottom], eosin[top:bottom] = _compose(truth, strip)
    return haematoxylin, eosin


def _compose(truth: PatientTruth, strip: Strip) -> tuple[np.ndarray, np.ndarray]:
    ragged = strip.grain(3.0, 0)
    haematoxylin, eosin = _stroma(truth.synergy_slide, strip)
    nest = strip["nest"] + 2.2 * ragged
    gap = np.clip(1 - np.abs(nest + 7) / 5, 0, 1) * np.clip(strip["medium"] * 1.6 - 0.7, 0, 1)
    haematoxylin *= 1 - gap
    eosin *= 1 - gap
    cover = np.clip(nest / 3 + 0.5, 0, 1)
    if cover.any():
        cell_haematoxylin, cell_eosin = _cytoplasm(truth, strip)
        haematoxylin += cover * (cell_haematoxylin - haematoxylin)
        eosin += cover * (cell_eosin - eosin)
    _open_spaces(strip, haematoxylin, eosin, ragged)
    _necrosis(strip, haematoxylin, eosin, ragged)
    _fat(strip, haematoxylin, eosin)
    tissue = np.clip((strip["tissue"] + 4 * ragged) / 4 + 0.5, 0, 1)
    return np.maximum(haematoxylin * tissue, 0), np.maximum(eosin * tissue, 0)


def _stroma(fibrosis: float, strip: Strip) -> tuple[np.ndarray, np.ndarray]:
    """Paint collagen: dense and pink where ``fibrosis`` is high, loose, pale and bluish with clefts where it is low."""
    dense = 1 / (1 + np.exp(-1.1 * fibrosis))
    across, along, patch = strip["across"], strip["along"], strip["patch"]
    woven = np.clip(strip["weave"] * 1.5 - 0.4, 0, 1)
    bundle = fibres(across, along)
    bundle = bundle + woven * (fibres(along * np.float32(0.9), across + 400) - bundle)
    fine = strip.grain(1.0, 1)
    eosin = (0.36 + 0.2 * dense) + (0.1 + 0.02 * dense) * bundle + 0.08 * patch + 0.045 * fine
    haematoxylin = (0.13 - 0.06 * dense) + 0.025 * bundle - 0.02 * patch + 0.012 * fine
    slit = fibres(across * np.float32(0.8) + 300, along * np.float32(1.3) + 500)
    cleft = np.clip((slit + 0.4 * patch + 0.12 * fine - (1.05 + 0.9 * dense)) * 2.4, 0, 1)
    wall = np.clip(1 - np.abs(strip["vessel"] + 7) / 7, 0, 1)
    eosin *= 1 - 0.93 * cleft * (1 - wall)
    haematoxylin *= 1 - 0.93 * cleft * (1 - wall)
    eosin += 0.16 * wall
    return np.maximum(haematoxylin, 0.0), np.maximum(eosin, 0.02 * (1 - cleft))


def _cytoplasm(truth: PatientTruth, strip: Strip) -> tuple[np.ndarray, np.ndarray]:
    """Paint tumour cytoplasm.

    Bluer when proliferating, pink towards a lumen, with cell borders in solid nests, and with vacuoles where driver A is mutated.
    """
    fine, coarse = strip.grain(1.0, 2), strip.grain(3.0, 3)
    haematoxylin = 0.23 + 0.1 * np.tanh(0.8 * truth.proliferation) + 0.045 * coarse + 0.025 * fine + 0.03 * strip["medium"]
    eosin = (0.48 if truth.subtype == SOLID else 0.4) + 0.05 * coarse + 0.035 * fine
    if truth.subtype == GLANDULAR:
        apical = np.clip(1 - np.abs(strip["lumen"] + 9) / 13, 0, 1)
        haematoxylin -= 0.11 * apical
        eosin += 0.1 * apical
    haematoxylin *= 1 - 0.55 * strip["border"]
    eosin *= 1 - (0.5 if truth.subtype == SOLID else 0.25) * strip["border"]
    if truth.driver_a:
        vacuole = np.clip((coarse - 1.2) * 3, 0, 1)
        haematoxylin *= 1 - 0.8 * vacuole
        eosin *= 1 - 0.85 * vacuole
    return haematoxylin, eosin


def _necrosis(strip: Strip, haematoxylin: np.ndarray, eosin: np.ndarray, ragged: np.ndarray) -> None:
    """Paint necrosis: smudgy, granular, pink, with the ghost of what was there."""
    dead = np.clip((strip["necrosis"] + 6 * ragged) / 12 + 0.5, 0, 1)
    if dead.any():
        coarse, fine = strip.grain(3.0, 4), strip.grain(1.0, 5)
        ghost_haematoxylin = 0.3 * haematoxylin + 0.09 + 0.045 * coarse + 0.03 * fine
        ghost_eosin = 0.22 * eosin + 0.46 + 0.11 * coarse + 0.09 * fine + 0.06 * strip["clot"]
        haematoxylin += dead * (ghost_haematoxylin - haematoxylin)
        eosin += dead * (ghost_eosin - eosin)


def _open_spaces(strip: Strip, haematoxylin: np.ndarray, eosin: np.ndarray, ragged: np.ndarray) -> None:
    wet = np.clip(-(strip["lumen"] + 1.1 * ragged) / 2.5 + 0.5, 0, 1)
    mucin = np.clip(strip["mucin"] + 0.3 * strip["clot"] - 0.9, 0, 1)
    haematoxylin *= wet
    haematoxylin += (1 - wet) * (0.008 + 0.06 * mucin)
    eosin *= wet
    eosin += (1 - wet) * (0.012 + 0.02 * mucin)


def _fat(strip: Strip, haematoxylin: np.ndarray, eosin: np.ndarray) -> None:
    cover = np.clip(strip["fat"] / 3 + 0.5, 0, 1)
    if cover.any():
        thread = np.clip((5.5 + 1.0 * strip["wrinkle"] - strip["wall"]) / 3, 0, 1)
        eosin += cover * (0.4 * thread + 0.01 - eosin)
        haematoxylin += cover * (0.09 * thread - haematoxylin)


def _fat_walls(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """Measure the distance to the nearest wall between adipocytes (pixels); corners are rounded by a soft minimum."""
    from scipy.spatial import cKDTree

    wall = np.full(layout.fat.shape, 40.0, dtype=np.float32)
    inside = layout.fat > -16
    if not inside.any():
        return wall
    side = layout.fat.shape[0]
    seeds = rng.uniform(-10, side + 10, (int((side * SCALE / 55) ** 2), 2))
    seeds = seeds[thin(seeds[:, 0], seeds[:, 1], rng.uniform(19, 30, len(seeds)))]
    near, _ = cKDTree(seeds).query(np.argwhere(inside), k=4)
    softness = 2.2
    closest = (near[:, 1:] - near[:, :1]) / softness
    wall[inside] = -softness * np.log(np.exp(-closest).sum(axis=1)) * SCALE
    return wall


def _cell_borders(nuclei: Nuclei, size_px: int) -> np.ndarray:
    """Find where neighbouring cells meet, 0 to 1 at half resolution, from the distance to the nearest nucleus."""
    from scipy.ndimage import distance_transform_edt

    half = -(-size_px // 2)
    away = np.ones((half, half), dtype=bool)
    away[np.minimum((nuclei.y / 2).astype(int), half - 1), np.minimum((nuclei.x / 2).astype(int), half - 1)] = False
    distance = np.asarray(distance_transform_edt(away), dtype=np.float32) * 2
    return np.clip((distance - 12.2) / 2.2, 0, 1) * np.clip((19 - distance) / 3, 0, 1)
