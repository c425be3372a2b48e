"""Which nuclei a phantom section holds: tumour cells by growth pattern, lymphocytes by immune score, stroma, vessels, debris."""

from dataclasses import replace

import numpy as np

from oncoweave.core.truth import PatientTruth
from oncoweave.phantom import nuclei as cells
from oncoweave.phantom.nuclei import Nuclei
from oncoweave.phantom.texture import smooth_noise
from oncoweave.phantom.tissue import DISCOHESIVE, GLANDULAR, SCALE, Layout


def populate(truth: PatientTruth, layout: Layout, size_px: int, mpp: float, rng: np.random.Generator) -> Nuclei:
    """Place all nuclei of a section.

    Lymphocyte density grows with ``immune``; size, density and mitoses of tumour nuclei with ``proliferation`` and
    ``driver_b``.
    """
    mm2 = (size_px * mpp / 1000) ** 2
    tumour = _tumour(truth, layout, size_px, rng)
    parts = [tumour, _lining(layout, rng), _debris(layout, mm2, rng)]
    parts += [_fibroblasts(truth, layout, mm2, rng), _lymphocytes(truth.immune, layout, mm2, rng)]
    everything = join_spaced(parts)
    inside = (everything.x >= 0) & (everything.x < size_px) & (everything.y >= 0) & (everything.y < size_px)
    return everything.take(inside & (at(layout.tissue, everything.x, everything.y) > 4))


def join_spaced(parts: list[Nuclei]) -> Nuclei:
    """Join sets of nuclei, dropping those that would lie on one of an earlier set."""
    everything = cells.join(parts)
    room = everything.minor + 0.35 * (everything.major - everything.minor)
    return everything.take(cells.thin(everything.x, everything.y, 1.75 * room))


def at(field: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Read a layout field at full-resolution points; points outside read the nearest edge."""
    row = np.clip((y / SCALE).astype(int), 0, field.shape[0] - 1)
    column = np.clip((x / SCALE).astype(int), 0, field.shape[1] - 1)
    return field[row, column]


def _tumour(truth: PatientTruth, layout: Layout, size_px: int, rng: np.random.Generator) -> Nuclei:
    grade = 0.9 * truth.proliferation + (0.7 if truth.driver_b else -0.3)
    if truth.subtype == GLANDULAR:
        x, y, angle = _gland_cells(layout, rng)
        look = cells.shaped(cells.TUMOUR, x, y, angle, rng, size=0.94, grade=grade)
        look = replace(look, major=look.major * rng.uniform(1.12, 1.4, len(look)))
    else:
        spacing = (23.5 if truth.subtype == DISCOHESIVE else 25.5) - 2.0 * np.tanh(0.7 * truth.proliferation)
        x, y = _hexagonal(size_px, spacing, rng)
        inside = at(layout.nest, x, y) > 5
        x, y = x[inside], y[inside]
        if truth.subtype == DISCOHESIVE:
            lone_x, lone_y = rng.uniform(0, size_px, (2, int(size_px**2 / 4200)))
            bed = (at(layout.tumour_bed, lone_x, lone_y) > 0) & (at(layout.nest, lone_x, lone_y) < -8)
            bed &= at(np.sin(layout.across / 26), lone_x, lone_y) > 0.35  # single files between the fibres
            x, y = np.concatenate([x, lone_x[bed]]), np.concatenate([y, lone_y[bed]])
        look = cells.shaped(cells.TUMOUR, x, y, rng.uniform(0, np.pi, len(x)), rng, grade=grade)
    alive = look.take((at(layout.necrosis, look.x, look.y) < -4) & (at(layout.lumen, look.x, look.y) < -5))
    dividing = rng.random(len(alive)) < min(0.12, 0.006 * np.exp(1.0 * truth.proliferation))
    plates = alive.take(dividing)
    mitoses = cells.shaped(cells.MITOSIS, plates.x, plates.y, rng.uniform(0, np.pi, len(plates)), rng)
    return cells.join([alive.take(~dividing), mitoses])


def _hexagonal(size_px: int, spacing: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    rows = np.arange(-spacing, size_px + spacing, spacing * 0.87)
    columns = np.arange(-spacing, size_px + spacing, spacing)
    x, y = np.meshgrid(columns, rows)
    x = x + (np.arange(len(rows)) % 2)[:, None] * spacing / 2
    jitter = rng.normal(0, 0.19 * spacing, (2, *x.shape))
    return (x + jitter[0]).ravel(), (y + jitter[1]).ravel()


def _gland_cells(layout: Layout, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Line each gland with palisaded nuclei near its outer edge; some stand in a second row."""
    places = []
    for gland in layout.glands:
        count = int(2 * np.pi * gland.radius / 13.5)
        angle = np.arange(count) * 2 * np.pi / count + rng.normal(0, 0.25 / max(count, 1) * 6, count)
        depth = np.where(rng.random(count) < 0.72, rng.uniform(11, 18, count), rng.uniform(22, 32, count))
        radius = gland.outline(angle) - depth
        tilt = angle + rng.normal(0, 0.22, count)
        places.append(np.stack([gland.x + radius * np.cos(angle), gland.y + radius * np.sin(angle), tilt]))
    x, y, angle = np.concatenate(places, axis=1) if places else np.zeros((3, 0))
    inside = at(layout.nest, x, y) > 4
    return x[inside], y[inside], angle[inside]


def _lymphocytes(immune: float, layout: Layout, mm2: float, rng: np.random.Generator) -> Nuclei:
    """Scatter lymphocytes: thickest in the stroma beside the tumour, in clouds, and a few among tumour cells."""
    shape = layout.nest.shape
    clouds = np.exp(0.95 * smooth_noise(shape, 30, rng) - 0.45)
    near = np.exp(-np.abs(layout.nest + 40) / 110)
    rate = np.where(layout.nest > 0, 0.22, 0.25 + 1.5 * near * (layout.tumour_bed > -120)) * clouds
    dead = (layout.tissue < 8) | (layout.fat > 0) | (layout.lumen > -3) | (layout.necrosis > 0)
    rate[dead] = 0.0
    expected = 850 * np.exp(0.95 * immune) * mm2
    number = rng.poisson(min(expected * rate.mean(), 14000 * mm2))
    return _scattered(cells.LYMPHOCYTE, rate, number, rng)


def _fibroblasts(truth: PatientTruth, layout: Layout, mm2: float, rng: np.random.Generator) -> Nuclei:
    stroma = (layout.tissue > 10) & (layout.nest < -4) & (layout.fat < -6) & (layout.lumen < -8) & (layout.necrosis < 4)
    number = rng.poisson(1700 * mm2 * stroma.mean() * np.exp(-0.15 * truth.synergy_slide))
    found = _scattered(cells.FIBROBLAST, stroma.astype(np.float32), number, rng)
    slope_y, slope_x = np.gradient(layout.across)
    tangent = np.arctan2(at(slope_x, found.x, found.y), -at(slope_y, found.x, found.y))
    return replace(found, angle=tangent + rng.normal(0, 0.2, len(found)))


def _lining(layout: Layout, rng: np.random.Generator) -> Nuclei:
    places = [np.zeros((3, 0))]
    for vessel in layout.vessels:
        angle = np.sort(rng.uniform(0, 2 * np.pi, max(5, int(vessel.radius / 3.2))))
        radius = vessel.outline(angle) - 3
        places.append(np.stack([vessel.x + radius * np.cos(angle), vessel.y + radius * np.sin(angle), angle + np.pi / 2]))
    x, y, angle = np.concatenate(places, axis=1)
    return cells.shaped(cells.ENDOTHELIUM, x, y, angle, rng)


def _debris(layout: Layout, mm2: float, rng: np.random.Generator) -> Nuclei:
    rate = np.where(layout.necrosis > 0, 1.0, 0.0) + 0.006 * (layout.nest > 10)
    return _scattered(cells.DEBRIS, rate, rng.poisson(3200 * mm2 * rate.mean()), rng)


def _scattered(kind: int, rate: np.ndarray, number: int, rng: np.random.Generator) -> Nuclei:
    """Draw points of an inhomogeneous Poisson process whose intensity is proportional to a layout field."""
    total = np.cumsum(rate.ravel(), dtype=np.float64)
    if total[-1] <= 0:
        number = 0
    pixel = np.searchsorted(total, rng.random(number) * total[-1])
    row, column = np.divmod(np.minimum(pixel, rate.size - 1), rate.shape[1])
    x, y = (column + rng.random(number)) * SCALE, (row + rng.random(number)) * SCALE
    return cells.shaped(kind, x, y, rng.uniform(0, np.pi, number), rng)
