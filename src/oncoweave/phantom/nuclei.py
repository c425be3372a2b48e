"""Nuclei of a phantom section: where they lie, how each type looks, and their instance and type masks."""

from dataclasses import dataclass

import numpy as np

from oncoweave.phantom.texture import bank

TYPES = ("tumour", "lymphocyte", "fibroblast", "endothelium", "mitosis", "debris")
"""Nucleus types; the type mask holds the index plus one (0 is background)."""
TUMOUR, LYMPHOCYTE, FIBROBLAST, ENDOTHELIUM, MITOSIS, DEBRIS = range(6)


@dataclass(frozen=True, kw_only=True, eq=False)
class Nuclei:
    """Nuclei of one section, one array row each; lengths in full-resolution pixels, angles in radians."""

    x: np.ndarray
    y: np.ndarray
    kind: np.ndarray
    major: np.ndarray
    """Half of the long axis."""
    minor: np.ndarray
    angle: np.ndarray
    density: np.ndarray
    """Haematoxylin amount of the chromatin."""
    membrane: np.ndarray
    """Extra haematoxylin of the nuclear rim."""
    clump: np.ndarray
    """Amplitude of the chromatin texture."""
    nucleolus: np.ndarray
    """Haematoxylin of the nucleolus; 0 for none."""

    def __len__(self) -> int:
        """Count the nuclei."""
        return len(self.x)

    def take(self, index: np.ndarray) -> "Nuclei":
        """Keep some nuclei."""
        return Nuclei(**{name: getattr(self, name)[index] for name in _FIELDS})


_FIELDS = ("x", "y", "kind", "major", "minor", "angle", "density", "membrane", "clump", "nucleolus")


def join(parts: list[Nuclei]) -> Nuclei:
    """Put several sets of nuclei together; where two overlap the later one is drawn on top."""
    return Nuclei(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in _FIELDS})


def thin(x: np.ndarray, y: np.ndarray, spacing: np.ndarray | float) -> np.ndarray:
    """Choose points no two of which are nearer than ``spacing`` pixels; earlier points win. Returns ``Bool[n]``."""
    from scipy.spatial import cKDTree

    keep = np.ones(len(x), dtype=bool)
    if len(x) < 2:
        return keep
    reach = np.broadcast_to(np.asarray(spacing, dtype=float), x.shape)
    points = np.stack([x, y], axis=1)
    pairs = cKDTree(points).query_pairs(float(reach.max()), output_type="ndarray")
    near = np.hypot(*(points[pairs[:, 0]] - points[pairs[:, 1]]).T) < (reach[pairs[:, 0]] + reach[pairs[:, 1]]) / 2
    for first, second in pairs[near][np.lexsort(pairs[near].T[::-1])]:
        if keep[first]:
            keep[second] = False
    return keep


def shaped(
    kind: int, x: np.ndarray, y: np.ndarray, angle: np.ndarray, rng: np.random.Generator, *, size: float = 1.0, grade: float = 0.0
) -> Nuclei:
    """Give nuclei of a type their size and look.

    ``size`` scales lengths. ``grade`` (a standard normal score) makes tumour nuclei larger, more variable and darker,
    with nucleoli.
    """
    n = len(x)
    major, minor, spread, density, membrane, clump, nucleolus = {
        TUMOUR: (9.6, 7.6, 0.13, 0.74, 0.36, 0.18, 0.0),
        LYMPHOCYTE: (6.3, 5.7, 0.08, 1.42, 0.12, 0.2, 0.0),
        FIBROBLAST: (12.5, 3.1, 0.2, 0.95, 0.12, 0.14, 0.0),
        ENDOTHELIUM: (10.0, 3.0, 0.15, 0.95, 0.1, 0.12, 0.0),
        MITOSIS: (9.0, 4.0, 0.15, 1.95, 0.0, 0.35, 0.0),
        DEBRIS: (3.2, 2.6, 0.35, 1.35, 0.0, 0.2, 0.0),
    }[kind]
    level = 0.0
    if kind == TUMOUR:
        level = 1 / (1 + np.exp(-1.2 * grade))
        size, spread = size * (0.82 + 0.36 * level), spread + 0.12 * level
        density, clump = density + 0.22 * level, clump + 0.1 * level
    scale = size * np.exp(rng.normal(0, spread, n)).clip(0.55, 1.8)
    shape = np.exp(rng.normal(0, 0.11, n))
    return Nuclei(
        x=x, y=y, kind=np.full(n, kind), major=major * scale * shape, minor=minor * scale / shape, angle=angle,
        density=density * np.exp(rng.normal(0, 0.16, n)), membrane=membrane * rng.uniform(0.6, 1.2, n),
        clump=clump * rng.uniform(0.7, 1.3, n),
        nucleolus=(rng.random(n) < 0.25 + 0.6 * level) * rng.uniform(0.3, 0.9, n) * level + nucleolus,
    )  # fmt: skip


def draw(nuclei: Nuclei, haematoxylin: np.ndarray, eosin: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw nuclei into the stain fields (changed in place).

    Returns:
        ``instances`` uint16 ``[height, width]``, 0 for background and nucleus i as i + 1 where it is on top; and ``visible``,
        the number of pixels of each nucleus that no other covers.
    """
    if len(nuclei) >= np.iinfo(np.uint16).max:
        msg = f"at most 65534 nuclei fit a 16-bit instance mask, got {len(nuclei)}"
        raise ValueError(msg)
    instances = np.zeros(haematoxylin.shape, dtype=np.uint16)
    reach = np.ceil(np.maximum(nuclei.major, nuclei.minor) * 1.12 + 1).astype(int)
    order = np.arange(len(nuclei))
    bins = -(-reach // 4) * 4
    for kind in range(len(TYPES)):  # types in order, so that lymphocytes lie on top of tumour cells
        for window in np.unique(bins[nuclei.kind == kind]):
            chosen = order[(nuclei.kind == kind) & (bins == window)]
            for start in range(0, len(chosen), 1200):
                _draw_some(nuclei, chosen[start : start + 1200], int(window), (haematoxylin, eosin, instances), rng)
    return instances, np.bincount(instances.ravel(), minlength=len(nuclei) + 1)[1:]


def _draw_some(
    nuclei: Nuclei, index: np.ndarray, reach: int, canvas: tuple[np.ndarray, np.ndarray, np.ndarray], rng: np.random.Generator
) -> None:
    haematoxylin, eosin, instances = canvas
    height, width = instances.shape
    row, column = np.floor(nuclei.y[index]).astype(np.int32), np.floor(nuclei.x[index]).astype(np.int32)
    offset = np.arange(-reach, reach + 1, dtype=np.int32)
    rows = row[:, None, None] + offset[None, :, None]
    columns = column[:, None, None] + offset[None, None, :]

    def each(values: np.ndarray) -> np.ndarray:
        return values[index].astype(np.float32)[:, None, None]

    dy = rows + np.float32(0.5) - each(nuclei.y)
    dx = columns + np.float32(0.5) - each(nuclei.x)
    cosine, sine = np.cos(each(nuclei.angle)), np.sin(each(nuclei.angle))
    u = (dx * cosine + dy * sine) / each(nuclei.major)
    v = (dy * cosine - dx * sine) / each(nuclei.minor)
    square = u * u + v * v + np.float32(1e-6)
    dent = rng.normal(0, 0.05, (2, len(index), 1, 1)).astype(np.float32)
    radius = np.sqrt(square) * (1 + dent[0] * (u * u - v * v) / square) + dent[1] * u * v
    edge = (1 - radius) * each(nuclei.minor)  # about the distance to the outline, in pixels
    inside = (edge > -0.8) & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns, which = _spread(rows, inside), _spread(columns, inside), np.nonzero(inside)[0]
    edge, radius, u, v = edge[inside], radius[inside], u[inside], v[inside]
    alpha = np.clip((edge + 0.8) / 1.6, 0, 1)
    jitter = rng.integers(0, 1024, (2, len(index)), dtype=np.int32)
    chromatin = bank(1.3)[(rows + jitter[0][which]) & 1023, (columns + jitter[1][which]) & 1023]

    def every(values: np.ndarray) -> np.ndarray:
        return values[index].astype(np.float32)[which]

    rim = np.exp(-(((edge - 0.9) / 0.9) ** 2))
    amount = every(nuclei.density) * (0.88 + 0.12 * radius) + every(nuclei.membrane) * rim + every(nuclei.clump) * chromatin
    spot = rng.uniform(-0.4, 0.4, (2, len(index))).astype(np.float32)
    amount += every(nuclei.nucleolus) * np.exp(-((u - spot[0][which]) ** 2 + (v - spot[1][which]) ** 2) / 0.035)
    alpha *= 0.95
    haematoxylin[rows, columns] += alpha * (np.maximum(amount, 0.12) - haematoxylin[rows, columns])
    eosin[rows, columns] *= 1 - 0.62 * alpha
    solid = edge > 0
    instances[rows[solid], columns[solid]] = (index + 1).astype(np.uint16)[which[solid]]


def _spread(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return np.broadcast_to(values, inside.shape)[inside]
