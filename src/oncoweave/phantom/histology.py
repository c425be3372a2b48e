"""Rendered H&E-like sections whose cells, regions and stain are known."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from oncoweave.core.truth import PatientTruth
from oncoweave.phantom import artefacts
from oncoweave.phantom.nuclei import TYPES, Nuclei, draw
from oncoweave.phantom.paint import paint
from oncoweave.phantom.placement import populate
from oncoweave.phantom.stain import Stain, develop, scan
from oncoweave.phantom.texture import grain
from oncoweave.phantom.tissue import Layout, lay_out

REGIONS = ("background", "tumour", "stroma", "necrosis", "fat", "lumen")
"""Codes of the region map, in order from 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """A rendered section and its truth. ``[height, width]`` are full-resolution pixels; maps have one pixel for four."""

    image: np.ndarray
    """uint8 ``[height, width, 3]``."""
    instances: np.ndarray
    """uint16 ``[height, width]``: 0, or the ``nucleus`` number of the table."""
    nuclei: pd.DataFrame
    """Columns nucleus (from 1), type, x_px0, y_px0, area_px, major_px, minor_px, angle_rad."""
    regions: np.ndarray
    """uint8 map of :data:`REGIONS`."""
    artefacts: np.ndarray
    """uint8 map: 0, or the code of :data:`artefacts.KINDS` plus one."""
    mpp: float


def type_mask(section: Section) -> np.ndarray:
    """Give the nucleus type of each pixel, uint8 ``[height, width]``: 0, or the index in ``nuclei.TYPES`` plus one."""
    codes = np.zeros(len(section.nuclei) + 1, dtype=np.uint8)
    codes[1:] = section.nuclei["type"].map({name: i + 1 for i, name in enumerate(TYPES)}).to_numpy()
    return codes[section.instances]


def render(
    truth: PatientTruth, stain: Stain, rng: np.random.Generator, *, size_px: int = 2048, mpp: float = 0.5, spoil: float = 0.12
) -> Section:
    """Render one section of a patient.

    Args:
        truth: What the section has to show.
        stain: Stain and scanner of the patient's site.
        rng: Source of everything that the truth does not decide.
        size_px: Width and height in pixels.
        mpp: Micrometres a pixel.
        spoil: Probability of each kind of artefact.
    """
    layout = lay_out(truth, size_px, rng)
    nuclei = populate(truth, layout, size_px, mpp, rng)
    haematoxylin, eosin = paint(truth, layout, nuclei, size_px, rng)
    blood = _blood(layout, size_px, rng)
    instances, visible = draw(nuclei, haematoxylin, eosin, rng)
    marks = {name: field for name, field in _marks(layout.tissue.shape, spoil, rng).items() if field is not None}
    if "fold" in marks:
        double = 1 + np.clip(artefacts.enlarge(marks["fold"], size_px) / 6, 0, 1)
        haematoxylin, eosin = haematoxylin * double, eosin * double
    light = develop(haematoxylin, eosin, blood, stain)
    if "pen" in marks:
        light = artefacts.ink(light, artefacts.enlarge(marks["pen"], size_px), rng)
    image = scan(light, stain, grain((size_px, size_px), 0.6, rng))
    if "blur" in marks:
        image = artefacts.defocus(image, artefacts.enlarge(marks["blur"], size_px), rng)
    instances, table = _tabulate(nuclei, instances, visible)
    spoiled = np.zeros(layout.tissue.shape, dtype=np.uint8)
    for code, name in enumerate(artefacts.KINDS, start=1):
        if name in marks:
            spoiled[marks[name] > 0] = code
    return Section(image=image, instances=instances, nuclei=table, regions=region_map(layout), artefacts=spoiled, mpp=mpp)


def region_map(layout: Layout) -> np.ndarray:
    """Say which region each layout pixel belongs to."""
    regions = np.where(layout.tissue > 0, REGIONS.index("stroma"), REGIONS.index("background")).astype(np.uint8)
    within = layout.tissue > 0
    for name, field in (("fat", layout.fat), ("tumour", layout.nest), ("necrosis", layout.necrosis), ("lumen", layout.lumen)):
        regions[within & (field > 0)] = REGIONS.index(name)
    return regions


def _marks(shape: tuple[int, int], spoil: float, rng: np.random.Generator) -> dict[str, np.ndarray | None]:
    chance = rng.random(3) < spoil
    draws = (artefacts.draw_pen, artefacts.draw_blur, artefacts.draw_fold)
    return {name: d(shape, rng) if c else None for name, d, c in zip(artefacts.KINDS, draws, chance, strict=True)}


def _tabulate(nuclei: Nuclei, instances: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, pd.DataFrame]:
    """Drop nuclei of which fewer than 6 pixels show, and number the others from 1."""
    shown = visible >= 6
    number = np.zeros(len(nuclei) + 1, dtype=np.uint16)
    number[1:][shown] = np.arange(1, shown.sum() + 1)
    kept = nuclei.take(shown)
    table = pd.DataFrame({
        "nucleus": np.arange(1, len(kept) + 1, dtype=np.int32), "type": np.array(TYPES, dtype=object)[kept.kind],
        "x_px0": kept.x, "y_px0": kept.y, "area_px": visible[shown].astype(np.int32),
        "major_px": kept.major, "minor_px": kept.minor, "angle_rad": np.mod(kept.angle, np.pi),
    }).astype(dict.fromkeys(("x_px0", "y_px0", "major_px", "minor_px", "angle_rad"), np.float32))  # fmt: skip
    return number[instances], table


def _blood(layout: Layout, size_px: int, rng: np.random.Generator) -> np.ndarray | None:
    """Put red cells into vessels; amount of haemoglobin, float32 ``[height, width]``."""
    if not layout.vessels:
        return None
    blood = np.zeros((size_px, size_px), dtype=np.float32)
    for vessel in layout.vessels:
        for x, y in vessel.radius * rng.uniform(-1, 1, (int((vessel.radius / 6) ** 2 * rng.uniform(0.1, 1.1)), 2)):
            if np.hypot(x, y) < vessel.radius - 13:
                _disc(blood, vessel.x + x, vessel.y + y, float(rng.uniform(5.5, 7)))
    return blood


def _disc(field: np.ndarray, x: float, y: float, radius: float) -> None:
    top, left = max(0, int(y - 9)), max(0, int(x - 9))
    window = field[top : int(y + 10), left : int(x + 10)]
    dy, dx = np.arange(top, top + window.shape[0])[:, None] - y, np.arange(left, left + window.shape[1])[None, :] - x
    distance = np.hypot(dx, dy) / radius
    np.maximum(window, np.where(distance < 1, 0.75 + 0.4 * distance**2, 0).astype(np.float32), out=window)
