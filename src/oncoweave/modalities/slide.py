"""Slide: the tiles of a patient's whole-slide images as vectors of one tile encoder, read from bags.

All slides of a patient form one bag. Positions are the tiles' top-left corners ``(x, y)`` in tiles from the slide's own origin,
and the number of the slide. A tile's pitch is the slide's own (its side in level-0 pixels less the overlap), so that neighbours
differ by one whatever the scanner's resolution; where a bag does not state it, it is the usual step between its coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from oncoweave.core.encoder_card import UNNAMED, TileSource
from oncoweave.core.errors import DataError
from oncoweave.core.truth import PatientTruth
from oncoweave.data.bags import Bag, BagAttrs, read_bag, write_bag
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.data.columns import Scaling, at_least_one, blank_absent, by_column, file_of, fit_scaling, make_record, place, whose
from oncoweave.nn.tokens import Tokens, pad

BAG = True
"""Patients differ in their number of tokens."""

_SYNTHETIC_DIM = 16


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Sample:
    """The bags of one patient's slides, and what block features need of them."""

    patient_id: str
    place: str
    """Modality, row and table, for messages."""
    paths: tuple[str, ...]
    """Where each bag was read."""
    bags: tuple[Bag, ...]
    mean: Float[np.ndarray, " dim"]
    """Mean over all tiles of the patient."""
    std: Float[np.ndarray, " dim"]
    """Standard deviation over all tiles of the patient."""

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.bags[0].features.shape[1]

    @property
    def num_tiles(self) -> int:
        """Tiles of all slides."""
        return sum(len(bag) for bag in self.bags)


def from_bags(patient_id: str, bags: Sequence[Bag], *, paths: Sequence[str], place: str = "") -> Sample:
    """Join the bags of one patient; ``place`` says where the patient's rows stand, empty for bags that were drawn.

    Raises:
        DataError: bags come from different encoders; names row, path and both widths.
    """
    for bag, path in zip(bags, paths, strict=True):
        where = f"{place or f'patient {patient_id!r}'}, bag {path}"
        _require_encoder(bag, where=where, dim=bags[0].features.shape[1], encoder=_encoder(bags))
    num_tiles = sum(len(bag) for bag in bags)
    mean = sum(bag.features.sum(axis=0, dtype=np.float64) for bag in bags) / num_tiles
    low = np.asarray(mean, dtype=np.float32)  # deviations from the mean fit float32, so long bags are not copied to float64
    square = sum(((bag.features.astype(np.float32) - low) ** 2).sum(axis=0, dtype=np.float64) for bag in bags) / num_tiles
    return Sample(
        patient_id=patient_id, place=place, paths=tuple(paths), bags=tuple(bags), mean=np.asarray(mean), std=np.sqrt(square)
    )


def read(record: Record) -> Sample:
    """Read the bags that a patient's rows point at, in the order of the table.

    Raises:
        DataError: a slide has no bag yet, or a bag cannot be read or comes from another encoder; names row and path.
    """
    if "path" not in record.rows.columns:
        msg = f"{place(record)}: no column 'path' to the bags; make them with: oncoweave slides embed"
        raise DataError(msg)
    bags, paths = [], []
    for number, (_, row) in enumerate(record.rows.iterrows()):
        if pd.isna(row["path"]) or not str(row["path"]).strip():
            where = place(record, row=number)
            msg = f"{where}: the slide is not embedded (no bag in column 'path'); run: oncoweave slides embed"
            raise DataError(msg)
        path = file_of(record, row["path"])
        try:
            bags.append(read_bag(path))
        except DataError as error:
            raise DataError(f"{place(record, row=number)}: {error}") from error
        paths.append(str(path))
    return from_bags(record.patient_id, bags, paths=paths, place=place(record))


def check(sample: Sample) -> None:
    """Refuse a bag whose tiles are all equal: what an encoder that did not see the image leaves.

    Raises:
        DataError: names row and path.
    """
    if sample.num_tiles > 1 and not sample.std.any():
        msg = f"{whose(sample)}, bag {sample.paths[0]}: all {sample.num_tiles} tiles are equal; embed the slide again"
        raise DataError(msg)


def to_record(sample: Sample, *, root: Path, name: str = "slide") -> Record:
    """Write the bags below a cohort folder and lay the sample out as rows of a modality table."""
    rows: list[dict[str, object]] = []
    for bag in sample.bags:
        path = Path("bags") / name / f"{bag.attrs.slide_id}.h5"
        write_bag(root / path, bag)
        rows.append({"slide_id": bag.attrs.slide_id, "path": path.as_posix()})
    return make_record(sample.patient_id, rows, modality=ModalitySpec(name=name, kind="slide"), root=root)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Preparation:
    """Width and encoder of the training bags, and the scales of tiles and of pooled bags there."""

    dim: int
    encoder: str | None
    """Fingerprint of the tile encoder; None where no training bag states it."""
    tile_scaling: Scaling
    pooled_scaling: Scaling
    encoder_name: str | None = None
    """Name of the tile encoder; None where no training bag states it."""
    mpp: float | None = None
    """Usual resolution of the training bags' tiles, um/px; None where none states it."""

    @property
    def source(self) -> TileSource:
        """Where the tiles come from, as far as the training bags say."""
        return TileSource(encoder=self.encoder_name or UNNAMED, fingerprint=self.encoder, mpp=self.mpp)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the modality's table that are read."""
        return ("path",)

    @property
    def num_tokens(self) -> None:
        """Patients differ in their number of tiles."""
        return None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Mean, then standard deviation, of each dimension over the patient's tiles."""
        return (*(f"mean {i}" for i in range(self.dim)), *(f"std {i}" for i in range(self.dim)))

    def collate(self, samples: Sequence[Sample | None]) -> Tokens:
        """Make one token a tile, each dimension standardised over training tiles.

        Raises:
            DataError: a bag comes from another encoder than the training bags.
        """
        self._require(samples)
        rows = [None if s is None else torch.from_numpy(self._tiles(s)) for s in samples]
        places = [None if s is None else torch.from_numpy(_positions(s)) for s in samples]
        tokens = pad(rows, self.dim)
        return Tokens(values=tokens.values, keep=tokens.keep, positions=pad(places, 3).values)

    def block(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient feature"]:
        """Pool each bag to mean and standard deviation, standardised; NaN for absent patients.

        Raises:
            DataError: a bag comes from another encoder than the training bags.
        """
        pooled = self.pooled_scaling(self._pooled(samples))
        return blank_absent(pooled, np.array([s is not None for s in samples], dtype=bool))

    def outside(self, samples: Sequence[Sample | None]) -> dict[str, int]:
        """Count, by pooled feature, the patients whose value lies far outside the training range: another stain or scanner."""
        return by_column(self.feature_names, self.pooled_scaling.far_outside(self._pooled(samples)))

    def _pooled(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient feature"]:
        self._require(samples)
        pooled = np.full((len(samples), 2 * self.dim), np.nan)
        for row, sample in enumerate(samples):
            if sample is not None:
                pooled[row] = np.concatenate([sample.mean, sample.std])
        return pooled

    def _tiles(self, sample: Sample) -> Float[np.ndarray, "tile dim"]:
        features = np.concatenate([bag.features for bag in sample.bags]).astype(np.float32)
        centre, scale = self.tile_scaling.centre.astype(np.float32), self.tile_scaling.scale.astype(np.float32)
        return (features - centre) / scale

    def _require(self, samples: Sequence[Sample | None]) -> None:
        for sample in samples:
            if sample is not None:
                _require_alike(sample, dim=self.dim, encoder=self.encoder)


def fit(samples: Sequence[Sample | None]) -> Preparation:
    """Learn the scales of tiles and of pooled bags on training patients; each patient counts once, however many the tiles.

    Raises:
        DataError: nobody has the modality, or bags come from different encoders.
    """
    at_least_one(samples, "slide")
    present = [s for s in samples if s is not None]
    attrs = [bag.attrs for s in present for bag in s.bags]
    encoder, resolutions = _encoder([bag for s in present for bag in s.bags]), [a.mpp for a in attrs if a.mpp is not None]
    for sample in present:
        _require_alike(sample, dim=present[0].dim, encoder=encoder)
    means, stds = np.stack([s.mean for s in present]), np.stack([s.std for s in present])
    between = fit_scaling(means)
    spread = np.sqrt((stds**2).mean(axis=0) + means.var(axis=0))
    return Preparation(
        dim=present[0].dim,
        encoder=encoder,
        tile_scaling=Scaling(
            centre=between.centre, scale=np.where(spread > 1e-9 * np.maximum(1, np.abs(between.centre)), spread, 1.0)
        ),
        pooled_scaling=fit_scaling(np.hstack([means, stds])),
        encoder_name=next((a.encoder for a in attrs if a.encoder), None),
        mpp=float(np.median(resolutions)) if resolutions else None,
    )


def _encoder(bags: Sequence[Bag]) -> str | None:
    return next((b.attrs.encoder_fingerprint for b in bags if b.attrs.encoder_fingerprint), None)


def _require_alike(sample: Sample, *, dim: int, encoder: str | None) -> None:
    for bag, path in zip(sample.bags, sample.paths, strict=True):
        _require_encoder(bag, where=f"{whose(sample)}, bag {path}", dim=dim, encoder=encoder)


def _require_encoder(bag: Bag, *, where: str, dim: int, encoder: str | None) -> None:
    width, mark = bag.features.shape[1], bag.attrs.encoder_fingerprint
    if width != dim:
        msg = (
            f"{where}: its features have width {width} (encoder {bag.attrs.encoder!r}), wanted"
            f" {dim} as in the other bags; embed all slides with one encoder"
        )
        raise DataError(msg)
    if mark and encoder and mark != encoder:
        msg = (
            f"{where}: its features come from another encoder of the same width {dim}"
            f" ({bag.attrs.encoder!r}, fingerprint {mark[:12]}, wanted {encoder[:12]}); embed all slides with one encoder"
        )
        raise DataError(msg)


def _positions(sample: Sample) -> Float[np.ndarray, "tile 3"]:
    parts = [np.column_stack([bag.coords / tile_pitch(bag), np.full(len(bag), number)]) for number, bag in enumerate(sample.bags)]
    return np.concatenate(parts).astype(np.float32)


def tile_pitch(bag: Bag) -> float:
    """Step from one tile to the next, in level-0 pixels."""
    attrs = bag.attrs
    if attrs.patch_size_level0:
        repeated = attrs.overlap / attrs.patch_size if attrs.overlap and attrs.patch_size else 0.0
        return attrs.patch_size_level0 * (1 - repeated)
    steps = [np.diff(np.unique(axis)) for axis in bag.coords.T]
    found = np.concatenate(steps)
    return float(np.median(found)) if len(found) else float(attrs.patch_size or 256)


def synthesise(truth: PatientTruth, rng: np.random.Generator) -> Sample:
    """Draw one or two bags of tumour, stroma, lymphocyte and necrosis tiles whose shares and features follow the biology."""
    logits = np.array([1.0, 0.6, -0.4 + 0.8 * truth.immune, -1.5 + 0.8 * truth.private_slide])
    share = np.exp(logits) / np.exp(logits).sum()
    kinds = np.sin(np.outer(np.arange(1, 5), np.arange(1, _SYNTHETIC_DIM + 1)) * 1.7)  # fixed, well apart
    tumour, stroma = np.cos(np.arange(_SYNTHETIC_DIM) * 0.9), np.cos(np.arange(_SYNTHETIC_DIM) * 2.3)
    bags = []
    for number in range(1 + int(rng.random() < 0.3)):
        num_tiles = int(rng.integers(12, 30))
        kind = rng.choice(4, size=num_tiles, p=share)
        features = kinds[kind] + rng.normal(0.0, 0.5, size=(num_tiles, _SYNTHETIC_DIM))
        features[kind == 0] += 0.4 * truth.proliferation * tumour + 0.5 * truth.subtype * tumour[::-1]
        features[kind == 1] += 0.4 * truth.synergy_slide * stroma
        cell = rng.permutation(64)[:num_tiles]
        attrs = BagAttrs(
            slide_id=f"{truth.patient_id}-S{number + 1}",
            encoder="phantom",
            encoder_fingerprint="phantom-16",
            mpp=0.5,
            level0_mpp=0.25,
            patch_size=256,
            patch_size_level0=512.0,
            overlap=0,
            level0_width=4096,
            level0_height=4096,
        )
        coords = np.stack([cell % 8, cell // 8], axis=1).astype(np.int64) * 512
        bags.append(Bag(features=features.astype(np.float32), coords=coords, tissue_fraction=np.ones(num_tiles), attrs=attrs))
    return from_bags(truth.patient_id, bags, paths=[f"phantom {b.attrs.slide_id}" for b in bags])
