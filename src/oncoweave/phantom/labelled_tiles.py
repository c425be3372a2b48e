"""Tiles of phantom slides with the tissue that the stored truth says they show."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt8

from oncoweave.core.errors import DataError
from oncoweave.data.store import read_cohort
from oncoweave.phantom.biology import SUBTYPES
from oncoweave.phantom.histology import REGIONS
from oncoweave.phantom.tissue import SCALE
from oncoweave.phantom.truth_folder import read_truth, truth_folder
from oncoweave.wsi.readers import open_slide

_SCATTERED = 0.1
"""Share of a tile that scattered tumour cells fill where they are many."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PhantomTiles:
    """Tiles cut from phantom slides."""

    images: UInt8[np.ndarray, "tile side side 3"]
    labels: tuple[str, ...]
    slides: tuple[str, ...]
    patients: tuple[str, ...]

    def take(self, rows: np.ndarray) -> "PhantomTiles":
        """Keep some tiles, by number or by a mask."""
        chosen = np.arange(len(self.labels))[rows]
        texts = ([values[i] for i in chosen] for values in (self.labels, self.slides, self.patients))
        labels, slides, patients = (tuple(t) for t in texts)
        return PhantomTiles(images=self.images[chosen], labels=labels, slides=slides, patients=patients)


def cut_tiles(
    cohort: Path, *, side: int = 224, purity: float = 0.6, per_slide: int = 8, rng: np.random.Generator
) -> PhantomTiles:
    """Cut tiles of ``side`` level-0 pixels from every slide of a phantom cohort, at most ``per_slide`` of a class.

    A tile's class is the tissue that fills at least the share ``purity`` of it, tumour being told apart by its growth pattern.
    Glands count with their lumina; discohesive tumour is scattered in stroma, so there a tenth makes a tile tumour, and less than
    a fiftieth stroma. Tiles of mixed tissue, of glass, and those touched by an artefact are left out.

    Raises:
        DataError: the cohort has no slides, or no truth beside it.
    """
    _, truth = read_truth(cohort)
    store = read_cohort(cohort)
    if "slide" not in store.tables:
        msg = f"{cohort}: the phantom cohort has no slides; make it without --no-slides"
        raise DataError(msg)
    images, labels, slides, patients = [], [], [], []
    table: pd.DataFrame = store.tables["slide"]
    for row in table.to_dict("records"):
        masks = np.load(truth_folder(cohort) / "slides" / f"{row['slide_id']}.masks.npz", allow_pickle=False)
        subtype = SUBTYPES[int(truth.loc[row["patient_id"], "subtype"])]
        corners, found = label_tiles(masks["regions"], masks["artefacts"], subtype=subtype, side=side, purity=purity)
        kept = _at_most(found, per_slide, rng)
        with closing(open_slide(Path(cohort) / row["slide_path"])) as slide:
            images += [slide.read_region((int(x), int(y)), 0, (side, side)) for x, y in corners[kept]]
        labels += [found[i] for i in kept]
        slides += [str(row["slide_id"])] * len(kept)
        patients += [str(row["patient_id"])] * len(kept)
    stacked = np.stack(images) if images else np.empty((0, side, side, 3), dtype=np.uint8)
    return PhantomTiles(images=stacked, labels=tuple(labels), slides=tuple(slides), patients=tuple(patients))


def label_tiles(
    regions: UInt8[np.ndarray, "height width"],
    artefacts: UInt8[np.ndarray, "height width"],
    *,
    subtype: str,
    side: int,
    purity: float = 0.6,
) -> tuple[Int64[np.ndarray, "tile 2"], list[str]]:
    """Lay a grid of tiles over a section's truth and name the tissue of those that are pure; returns corners (x, y) and names.

    Maps have one pixel for four of level 0, as :class:`oncoweave.phantom.histology.Section` says.
    """
    step = side // SCALE
    corners: list[tuple[int, int]] = []
    names: list[str] = []
    for top in range(0, regions.shape[0] - step + 1, step):
        for left in range(0, regions.shape[1] - step + 1, step):
            box = slice(top, top + step), slice(left, left + step)
            if artefacts[box].any():
                continue
            share = np.bincount(regions[box].ravel(), minlength=len(REGIONS)) / step**2
            name = _tissue(dict(zip(REGIONS, share.tolist(), strict=True)), subtype, purity)
            if name is not None:
                corners.append((left * SCALE, top * SCALE))
                names.append(name)
    return np.array(corners, dtype=np.int64).reshape(-1, 2), names


def _tissue(share: dict[str, float], subtype: str, purity: float) -> str | None:
    if subtype == "discohesive" and share["stroma"] + share["tumour"] >= purity:
        scattered = share["tumour"]
        return "tumour, discohesive" if scattered >= _SCATTERED else "stroma" if scattered < _SCATTERED / 5 else None
    glands = share["lumen"] if subtype == "glandular" and share["tumour"] > share["lumen"] else 0.0
    held = {f"tumour, {subtype}": share["tumour"] + glands, **{name: share[name] for name in ("stroma", "necrosis", "fat")}}
    best = max(held, key=lambda name: held[name])
    return best if held[best] >= purity else None


def _at_most(labels: Sequence[str], count: int, rng: np.random.Generator) -> list[int]:
    """Draw at most ``count`` tiles of each class, in rising order."""
    order = rng.permutation(len(labels))
    seen: dict[str, int] = {}
    kept = []
    for i in order:
        seen[labels[i]] = seen.get(labels[i], 0) + 1
        if seen[labels[i]] <= count:
            kept.append(int(i))
    return sorted(kept)
