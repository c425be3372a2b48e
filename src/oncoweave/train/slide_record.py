"""What became of every slide: a table and a summary beside the bags, published after each slide."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from oncoweave.core.files import publish, sweep_partials, write_json
from oncoweave.data.bags import BagHead
from oncoweave.train.tile_encoder import TileEncoder
from oncoweave.wsi.tiling import TileRecipe

SCHEMA = "oncoweave.slides"
VERSION = 1
ARTEFACTS = ("pen", "blood", "fold", "blur")
"""What tiles are dropped for; :class:`SlideResult` counts them as ``<artefact>_tiles``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlideResult:
    """What became of one slide; numbers that are not known are NaN or 0."""

    slide_id: str
    status: Literal["done", "reused", "failed"]
    """``reused``: a bag of equal recipe, encoder and slide file stood there already."""
    reason: str = ""
    """Why it failed."""
    tiles: int = 0
    seconds: float = float("nan")
    mpp: float = float("nan")
    """Level-0 resolution used."""
    mpp_declared: bool = False
    """True where the resolution was declared, as the slide states none."""
    enlarged: float = 1.0
    """How many times tiles are finer than the slide itself; above 1 they hold no more detail than it does."""
    reader: str = ""
    width: int = 0
    height: int = 0
    tissue: float = float("nan")
    """Share of the slide that is tissue."""
    pen: float = float("nan")
    """Share of the slide that is pen."""
    pen_tiles: int = 0
    blood_tiles: int = 0
    fold_tiles: int = 0
    blur_tiles: int = 0
    """Tiles with enough tissue that were dropped for an artefact."""


@dataclass(kw_only=True, slots=True)
class SlideRecord:
    """The record of a folder of bags: what earlier runs left, and what this one adds."""

    folder: Path
    encoder: TileEncoder
    recipe: TileRecipe
    slides: tuple[str, ...]
    """Slides of this run, in order."""
    earlier: dict[str, SlideResult] = field(default_factory=dict)
    results: dict[str, SlideResult] = field(default_factory=dict)
    """Slides of this run that are finished."""

    @classmethod
    def resume(cls, folder: Path, *, encoder: TileEncoder, recipe: TileRecipe, slides: Sequence[str]) -> "SlideRecord":
        """Open a folder's record, and clear away what an interrupted run left half-written."""
        for place in (folder, folder / "bags", folder / "previews"):
            sweep_partials(place)
        table = folder / "slides.parquet"
        earlier = {}
        if table.is_file():
            known = [f.name for f in fields(SlideResult)]
            rows = pd.read_parquet(table)
            rows = rows[[c for c in known if c in rows]]
            records = [SlideResult(**{str(name): value for name, value in row.items()}) for row in rows.to_dict("records")]
            earlier = {record.slide_id: record for record in records}
        return cls(folder=folder, encoder=encoder, recipe=recipe, slides=tuple(slides), earlier=earlier)

    def reused(self, slide_id: str, head: BagHead) -> SlideResult:
        """Record a bag that need not be made again, with what is known of how it was made."""
        before = self.earlier.get(slide_id)
        if before is not None and before.status != "failed":
            return replace(before, status="reused", tiles=head.num_tiles)
        return SlideResult(slide_id=slide_id, status="reused", tiles=head.num_tiles, mpp=head.attrs.level0_mpp or float("nan"))

    def add(self, result: SlideResult) -> None:
        """Record a slide, and publish the record."""
        self.results[result.slide_id] = result
        self.publish()

    def count(self, status: str) -> int:
        """Count the slides of this run that ended so."""
        return sum(r.status == status for r in self.results.values())

    @property
    def table(self) -> pd.DataFrame:
        """One row a slide: this run's, then those of earlier runs into the same folder."""
        rows = [*self.results.values(), *(r for name, r in self.earlier.items() if name not in self.slides)]
        return pd.DataFrame([asdict(r) for r in rows], columns=[f.name for f in fields(SlideResult)])

    def publish(self) -> None:
        """Write ``slides.parquet`` and ``summary.json``."""
        with publish(self.folder / "slides.parquet") as partial:
            self.table.to_parquet(partial, index=False)
        done = list(self.results.values())
        summary = {
            "schema": SCHEMA,
            "schema_version": VERSION,
            "encoder": {"name": self.encoder.name, "dim": self.encoder.dim, "fingerprint": self.encoder.fingerprint},
            "recipe": asdict(self.recipe),
            "slides": len(self.slides),
            "finished": {status: self.count(status) for status in ("done", "reused", "failed")},
            "tiles": sum(r.tiles for r in done),
            "seconds": round(sum(r.seconds for r in done if r.status != "reused" and r.seconds == r.seconds), 3),
            "dropped": {name: sum(getattr(r, f"{name}_tiles") for r in done) for name in ARTEFACTS},
            "mpp_declared": sum(r.mpp_declared for r in done),
            "enlarged": sum(r.enlarged > 1.01 for r in done),
            "failures": {r.slide_id: r.reason for r in done if r.status == "failed"},
        }
        write_json(self.folder / "summary.json", summary)
