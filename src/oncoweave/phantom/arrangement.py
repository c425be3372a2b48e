"""Slides whose label lies in where tiles are and in nothing else: immune-excluded against infiltrated tumours.

In an excluded tumour the lymphocytes stand in the stroma along the invasive margin, in an infiltrated one among the tumour cells
(Galon and Bruni, 2019). Both hold the same tiles: what tissues there are, how many tiles of each, and their features are drawn
before the label is looked at, and so is which cells of the grid hold tissue. The label only says which tile stands in which cell.
A model that sees a bag as a set (mean, ABMIL, any network without positions) is therefore at chance by construction.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import ConfigError
from oncoweave.core.files import publish, write_json
from oncoweave.data.bags import Bag, BagAttrs, write_bag
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import write_cohort
from oncoweave.data.tables import write_table
from oncoweave.phantom.truth_folder import truth_folder

TISSUES = ("tumour", "stroma", "lymphocytes")
TUMOUR, STROMA, LYMPHOCYTES = range(3)
ENDPOINT = Endpoint(name="infiltrated", kind="binary", columns=("infiltrated",), classes=("excluded", "infiltrated"))

_TILE_PX0 = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A cohort of arranged slides, one a patient."""

    patients: int = 200
    """Patients whose label the cohort shows."""
    unlabelled: int = 1000
    """Patients, after those, whose label it does not show."""
    side: int = 14
    """Cells along the widest side of a section."""
    dim: int = 16
    """Width of the tiles' features."""
    noise: float = 0.1
    """Standard deviation of a feature within one tissue; the tissues' means lie about 2.4 apart."""
    stray: float = 0.05
    """Share of the lymphocytes that stand anywhere, whatever the label."""
    sites: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a cohort that cannot be drawn."""
        if min(self.patients, self.unlabelled) < 0 or self.patients + self.unlabelled < 1:
            msg = f"wanted one patient at least, got patients={self.patients}, unlabelled={self.unlabelled}"
            raise ConfigError(msg)
        if self.side < 8 or self.dim < len(TISSUES) or self.noise < 0 or not 0 <= self.stray <= 1:
            msg = f"wanted side >= 8, dim >= {len(TISSUES)}, noise >= 0 and stray from 0 to 1, got {self}"
            raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Arranged:
    """One slide with its truth."""

    bag: Bag
    tissue: Int64[np.ndarray, " tile"]
    """Index into ``TISSUES``, tile by tile of the bag."""
    infiltrated: bool


def draw_slide(config: Config, index: int, *, infiltrated: bool | None = None) -> Arranged:
    """Draw the slide of a patient; ``infiltrated`` overrides his label and moves his tiles, without changing any."""
    if infiltrated is None:
        infiltrated = bool(_stream(config, "label", index).random() < 0.5)
    shape = _stream(config, "section", index)
    occupied = _section(config.side, shape)
    num_tiles = int(occupied.sum())
    counts = _counts(num_tiles, shape)
    tiles = _features(config, np.repeat(np.arange(len(TISSUES)), counts), _stream(config, "tiles", index))
    tissue = _arrange(occupied, counts, infiltrated=infiltrated, stray=config.stray, rng=_stream(config, "place", index))
    features = np.empty((num_tiles, config.dim), dtype=np.float32)
    features[np.argsort(tissue, kind="stable")] = tiles
    row, column = np.nonzero(occupied)
    bag = Bag(
        features=features,
        coords=np.stack([column, row], axis=1).astype(np.int64) * _TILE_PX0,
        tissue_fraction=np.ones(num_tiles),
        attrs=_attrs(config, index),
    )
    return Arranged(bag=bag, tissue=tissue, infiltrated=infiltrated)


def write_arrangement(config: Config, out: Path) -> Cohort:
    """Write the cohort to ``out`` and its truth beside it, in :func:`truth_folder`; the same config gives the same bytes.

    The truth holds ``patients.parquet`` (the label of everybody, and the tiles of each tissue), ``tiles.parquet`` (the tissue of
    each tile, in the order of the bag) and ``truth.json`` (the config).

    Raises:
        DataError: the place is taken by something that is not a cohort.
    """
    out = Path(out).resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent) as scratch:
        root = Path(scratch)
        slides = [draw_slide(config, index) for index in range(config.patients + config.unlabelled)]
        for slide in slides:
            write_bag(root / _path(slide), slide.bag)
        write_cohort(_cohort(config, slides, root), out)
    with publish(truth_folder(out)) as partial:
        partial.mkdir()
        write_json(partial / "truth.json", {"schema": "oncoweave.phantom.arrangement", "version": 1, "config": asdict(config)})
        tiles = [pd.DataFrame({"slide_id": s.bag.attrs.slide_id, "tissue": np.array(TISSUES)[s.tissue]}) for s in slides]
        write_table(partial / "tiles.parquet", pd.concat(tiles, ignore_index=True))
        write_table(partial / "patients.parquet", pd.DataFrame([_truth_row(config, i, s) for i, s in enumerate(slides)]))
    return Cohort.open(out)


def _stream(config: Config, name: str, index: int) -> np.random.Generator:
    """Give each purpose of each patient a generator of its own, so that a label cannot move any other draw."""
    return np.random.default_rng([config.seed, crc32(f"arrangement {name}".encode()), index])


def _smooth(side: int, scale: float, rng: np.random.Generator) -> Float[np.ndarray, "row column"]:
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.standard_normal((side, side)), scale, mode="reflect")
    return field / field.std()


def _section(side: int, rng: np.random.Generator) -> Bool[np.ndarray, "row column"]:
    """Draw which cells hold tissue: a blob of 55 to 80 % of the grid."""
    row, column = (np.mgrid[0:side, 0:side] + 0.5) / side * 2 - 1
    stretch = np.exp(rng.normal(0.0, 0.15))
    height = -(np.abs(row * stretch) ** 2.5 + np.abs(column / stretch) ** 2.5) + 0.15 * _smooth(side, side / 6, rng)
    return height >= np.quantile(height, 1 - rng.uniform(0.55, 0.8))


def _counts(num_tiles: int, rng: np.random.Generator) -> Int64[np.ndarray, " tissue"]:
    tumour = round(rng.uniform(0.28, 0.36) * num_tiles)
    lymphocytes = round(rng.uniform(0.32, 0.4) * num_tiles)
    return np.array([tumour, num_tiles - tumour - lymphocytes, lymphocytes], dtype=np.int64)


def _features(config: Config, tissue: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, "tile dim"]:
    """Draw tiles around the fixed means of their tissues, all moved alike by the slide's stain."""
    means = np.random.default_rng(20191).standard_normal((len(TISSUES), config.dim))
    means *= 1.7 / np.linalg.norm(means, axis=1, keepdims=True)
    stain = 0.1 * rng.standard_normal(config.dim)
    return (means[tissue] + stain + config.noise * rng.standard_normal((len(tissue), config.dim))).astype(np.float32)


def _arrange(
    occupied: Bool[np.ndarray, "row column"], counts: np.ndarray, *, infiltrated: bool, stray: float, rng: np.random.Generator
) -> Int64[np.ndarray, " tile"]:
    """Give each occupied cell (row by row) a tissue: nests of tumour in stroma, and the lymphocytes where the label says."""
    from scipy.ndimage import distance_transform_edt

    depth = _smooth(len(occupied), 2.4, rng)[occupied]
    toss = rng.random(len(depth))
    nest = np.zeros(len(depth), dtype=bool)
    nest[np.argsort(-depth)[: counts[TUMOUR] + (counts[LYMPHOCYTES] if infiltrated else 0)]] = True
    if infiltrated:
        last = np.where(nest, toss, np.inf)
    else:
        whole = np.zeros(occupied.shape, dtype=bool)
        whole[occupied] = nest
        last = np.where(nest, np.inf, distance_transform_edt(~whole)[occupied] + 0.3 * toss)
    tissue = np.where(nest, TUMOUR, STROMA)
    order = np.argsort(last)
    tissue[order[: counts[LYMPHOCYTES]]] = LYMPHOCYTES
    strays = rng.permutation(order[: counts[LYMPHOCYTES]])[: round(stray * counts[LYMPHOCYTES])]
    others = rng.permutation(order[counts[LYMPHOCYTES] :])[: len(strays)]
    tissue[strays], tissue[others] = tissue[others], tissue[strays]  # the right side is a copy
    return tissue.astype(np.int64)


def _path(slide: Arranged) -> Path:
    return Path("bags") / "slide" / f"{slide.bag.attrs.slide_id}.h5"


def _attrs(config: Config, index: int) -> BagAttrs:
    return BagAttrs(
        slide_id=f"A{index:05d}-S1",
        encoder="phantom",
        encoder_fingerprint=f"phantom-arrangement-{config.dim}",
        mpp=0.5,
        level0_mpp=0.25,
        patch_size=_TILE_PX0 // 2,
        patch_size_level0=float(_TILE_PX0),
        overlap=0,
        level0_width=config.side * _TILE_PX0,
        level0_height=config.side * _TILE_PX0,
    )


def _cohort(config: Config, slides: list[Arranged], root: Path) -> Cohort:
    labels = [float(s.infiltrated) if i < config.patients else np.nan for i, s in enumerate(slides)]
    sites = [f"site-{i % config.sites + 1}" for i in range(len(slides))]
    ids = [f"A{i:05d}" for i in range(len(slides))]
    patients = pd.DataFrame({"site": sites, "infiltrated": labels}, index=pd.Index(ids, name="patient_id"))
    table = pd.DataFrame(
        {
            "patient_id": ids,
            "sample_id": [f"{i}-T1" for i in ids],
            "slide_id": [s.bag.attrs.slide_id for s in slides],
            "path": [_path(s).as_posix() for s in slides],
        }
    )
    return Cohort(
        name="arrangement",
        patients=patients,
        tables={"slide": table},
        modalities={"slide": ModalitySpec(name="slide", kind="slide", notes={"encoder": "phantom"})},
        endpoints={ENDPOINT.name: ENDPOINT},
        root=root,
    )


def _truth_row(config: Config, index: int, slide: Arranged) -> dict[str, object]:
    counts = np.bincount(slide.tissue, minlength=len(TISSUES))
    row = {"patient_id": f"A{index:05d}", "labelled": index < config.patients, "infiltrated": slide.infiltrated}
    return row | {f"num_{name}": int(n) for name, n in zip(TISSUES, counts, strict=True)}
