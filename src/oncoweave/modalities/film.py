"""Film: a patient's radiographs (PNG, JPEG, DICOM) as patches of one size; all films of a patient, in the order of the table.

A film is read once: windowed (see :mod:`oncoweave.scans.films`), its shorter side brought to ``side`` pixels (``SIDE`` at
least), its middle square kept as 8-bit grey, 50 kB. A token is a square of ``patch`` pixels, row by row, standardised by one mean
and deviation of the training films (see ``Config``); its position is ``(x, y)`` in patches from the top left corner, and the
number of the film. The block is made of the film at ``SIDE`` pixels, whatever the tokens. The column ``view`` (PA, AP ...) is
optional and no feature: films of patients too ill to stand are taken AP, so it tells of the ward, not the lung.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8

from oncoweave.core.files import publish
from oncoweave.core.ranges import Count, Share
from oncoweave.core.settings import ranged
from oncoweave.core.truth import PatientTruth
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.data.columns import Scaling, at_least_one, blank_absent, by_column, file_of, fit_scaling, make_record, place, whose
from oncoweave.nn.tokens import Tokens, pad
from oncoweave.scans.dicom import ScanError
from oncoweave.scans.films import read_film, shrink

BAG = True
"""Patients differ in their number of tokens."""
NUM_COMPONENTS = 16
"""Principal components of the thumbnail in the block, at most."""
_THUMBNAIL = 16
_BINS = 8
_DARKEST_SPREAD = 2.0
"""Grey levels (of 255) by which a film's pixels have to deviate, so that it shows anything."""


@ranged
class Config:
    """How films are kept and cut into tokens."""

    side: Count = 224
    """Pixels along a side of the square that tokens are cut from: whole patches."""
    patch: Count = 16
    """Pixels along a side of a token."""
    vary: Share = 0.0
    """How much a training step varies each film, 0 to 1: at 1 by shifts of a patch, and 30% of brightness and contrast."""

    def __post_init__(self) -> None:
        """Refuse a side that is not whole patches."""
        if self.side % self.patch:
            msg = f"wanted a side of whole patches of {self.patch} px, got {self.side}"
            raise ValueError(msg)


USUAL = Config()
SIDE = USUAL.side
"""Pixels along a side of a film as the block sees it."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Film:
    """One radiograph."""

    path: str
    """Where it was read; empty where it was drawn."""
    pixels: UInt8[np.ndarray, "side side"]
    view: str
    """As the table says; empty where it does not."""
    spacing_mm: tuple[float, float] | None
    """From row to row and column to column of ``pixels``; None where the file does not state it."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Sample:
    """The radiographs of one patient."""

    patient_id: str
    films: tuple[Film, ...]
    place: str = ""
    """Where it was read, for messages."""


def read(record: Record, config: Config = USUAL) -> Sample | None:
    """Read a patient's films in the order of the table; a row without a path is no film, and None where none is left.

    Raises:
        DataError: there is no column ``path``, or a file is no usable radiograph; names row, table, file and reason.
    """
    if "path" not in record.rows.columns:
        msg = f"{place(record)}: no column 'path' to the films; it has {list(record.rows.columns)}"
        raise ScanError("no column path", msg)
    films = []
    for _, row in record.rows.iterrows():
        if pd.isna(row["path"]) or not str(row["path"]).strip():
            continue
        path = file_of(record, row["path"])
        try:
            picture = shrink(read_film(path), max(config.side, SIDE))
        except ScanError as error:
            raise ScanError(error.reason, f"{place(record)}: {error}") from error
        view = row.get("view")
        films.append(
            Film(
                path=str(path),
                pixels=np.rint(picture.pixels.clip(0, 1) * 255).astype(np.uint8),
                view="" if view is None or pd.isna(view) else str(view).strip(),
                spacing_mm=picture.spacing_mm,
            )
        )
    return Sample(patient_id=record.patient_id, films=tuple(films), place=place(record)) if films else None


def check(sample: Sample) -> None:
    """Refuse a film that shows nothing: all black, all white, or of one grey.

    Raises:
        DataError: names row, table and file.
    """
    for film in sample.films:
        spread = float(film.pixels.std())
        if spread < _DARKEST_SPREAD:
            msg = (
                f"{whose(sample)}: film {film.path!r} shows nothing, its pixels deviate by {spread:.1f} of 255 grey levels"
                f" around {film.pixels.mean():.0f}; drop the row"
            )
            raise ScanError("blank", msg)


def to_record(sample: Sample, *, root: Path, name: str = "film") -> Record:
    """Write the films as PNG below a cohort folder and lay the sample out as rows of a modality table."""
    from PIL import Image

    rows: list[dict[str, object]] = []
    for number, film in enumerate(sample.films, start=1):
        path = Path("films") / name / f"{sample.patient_id}-{number}.png"
        with publish(root / path) as partial:
            Image.fromarray(film.pixels).save(partial, format="PNG")
        rows.append({"path": path.as_posix(), "view": film.view or None})
    return make_record(sample.patient_id, rows, modality=ModalitySpec(name=name, kind="film"), root=root)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Preparation:
    """Grey mean and deviation, components of the thumbnail and scales of the statistics on training films."""

    side: int
    """Pixels along a side of the films that tokens are cut from."""
    patch: int
    centre: float
    """Mean grey of the training films, each counting once."""
    scale: float
    views: tuple[str, ...]
    """Views of the training films."""
    mean_thumbnail: Float[np.ndarray, " pixel"]
    components: Float[np.ndarray, "component pixel"]
    scaling: Scaling
    """Of the statistics, then of the components, which all share the first one's scale."""
    vary: float = 0.0
    """How much training steps vary films."""

    @property
    def config(self) -> Config:
        """How films have to be read for it."""
        return Config(side=self.side, patch=self.patch, vary=self.vary)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the modality's table that are read."""
        return ("path",)

    @property
    def dim(self) -> int:
        """Width of a token: the pixels of a patch, row by row."""
        return self.patch**2

    @property
    def num_tokens(self) -> None:
        """Patients differ in their number of films."""
        return None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Statistics of the grey values, then components of the thumbnail."""
        return (*_STATISTICS, *(f"thumbnail component {i + 1}" for i in range(len(self.components))))

    def collate(self, samples: Sequence[Sample | None]) -> Tokens:
        """Make one token of each patch, standardised; the films of a patient follow each other."""
        rows = [None if s is None else torch.cat([self._patches(f) for f in s.films]) for s in samples]
        places = [None if s is None else torch.cat([self._places(n) for n in range(len(s.films))]) for s in samples]
        tokens = pad(rows, self.dim)
        return Tokens(values=tokens.values, keep=tokens.keep, positions=pad(places, 3).values)

    def varied(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """Shift each film of a batch, repeating its edge, and change its brightness and contrast; left stays left."""
        if not bool(tokens.keep.any()):
            return tokens  # padding that is no whole film
        grid, patch = self.side // self.patch, self.patch
        images = tokens.values.reshape(-1, grid, grid, patch, patch).transpose(2, 3).reshape(-1, self.side, self.side)
        num = len(images)
        drawn = torch.rand((num, 4, 1), generator=generator) * 2 - 1
        shifts = (drawn[:, :2] * self.vary * patch).round().long() + torch.arange(self.side)
        rows, columns = shifts.clamp(0, self.side - 1).unbind(dim=1)
        moved = images[torch.arange(num)[:, None, None], rows[:, :, None], columns[:, None, :]]
        strength = 0.3 * self.vary
        moved = moved * (1 + strength * drawn[:, 2:3]) + strength * drawn[:, 3:]
        cut = moved.reshape(num, grid, patch, grid, patch).transpose(2, 3).reshape(tokens.values.shape)
        return Tokens(values=cut, keep=tokens.keep, positions=tokens.positions)

    def block(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient feature"]:
        """Describe grey values and thumbnail, averaged over a patient's films and standardised; NaN for absent patients."""
        return blank_absent(self.scaling(self._described(samples)), np.array([s is not None for s in samples], dtype=bool))

    def unknown(self, samples: Sequence[Sample | None]) -> dict[str, int]:
        """Count the patients with a film of a view that no training film has."""
        strange = [any(f.view not in self.views for f in s.films) for s in samples if s is not None]
        return by_column(["view"], np.array([sum(strange)]))

    def outside(self, samples: Sequence[Sample | None]) -> dict[str, int]:
        """Count, by feature, the patients whose value lies far outside the training range: another device or window."""
        return by_column(self.feature_names, self.scaling.far_outside(self._described(samples)))

    def _described(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient feature"]:
        described = np.full((len(samples), len(self.feature_names)), np.nan)
        for row, sample in enumerate(samples):
            if sample is not None:
                statistics, thumbnail = _statistics(sample), _thumbnail(sample)
                described[row] = np.concatenate([statistics, self.components @ (thumbnail - self.mean_thumbnail)])
        return described

    def _patches(self, film: Film) -> Float[torch.Tensor, "patch dim"]:
        _require_pixels(film, self.side)
        pixels = torch.from_numpy(_resized(film.pixels, self.side).astype(np.float32) / 255)
        grid = self.side // self.patch
        cut = ((pixels - self.centre) / self.scale).reshape(grid, self.patch, grid, self.patch)
        return cut.transpose(1, 2).reshape(grid**2, self.dim)

    def _places(self, number: int) -> Float[torch.Tensor, "patch 3"]:
        grid = self.side // self.patch
        y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
        return torch.stack([x.flatten(), y.flatten(), torch.full((grid**2,), number)], dim=1).float()


def fit(samples: Sequence[Sample | None], config: Config = USUAL) -> Preparation:
    """Learn grey mean and deviation, thumbnail components and scales on training patients, whose films were read for ``config``.

    Raises:
        DataError: nobody has the modality.
        ValueError: films are kept smaller than the tokens' side.
    """
    at_least_one(samples, "film")
    present = [s for s in samples if s is not None]
    films = [f for s in present for f in s.films]
    for film in films:
        _require_pixels(film, config.side)
    means = np.array([f.pixels.mean() for f in films]) / 255
    squares = np.array([f.pixels.var() for f in films]) / 255**2
    thumbnails = np.stack([_thumbnail(s) for s in present])
    components, spread = _principal(thumbnails)
    statistics = fit_scaling(np.stack([_statistics(s) for s in present]))
    projected = fit_scaling((thumbnails - thumbnails.mean(axis=0)) @ components.T)
    return Preparation(
        side=config.side,
        patch=config.patch,
        vary=config.vary,
        centre=float(means.mean()),
        scale=float(max(np.sqrt(squares.mean() + means.var()), 1 / 255)),
        views=tuple(sorted({f.view for f in films})),
        mean_thumbnail=thumbnails.mean(axis=0),
        components=components,
        scaling=_joined(statistics, projected, spread),
    )


def _require_pixels(film: Film, side: int) -> None:
    if len(film.pixels) < side:
        msg = f"wanted films kept at {side} px at least, got {len(film.pixels)} px; read them with the same settings"
        raise ValueError(msg)


def _joined(statistics: Scaling, projected: Scaling, spread: float) -> Scaling:
    from oncoweave.data.columns import Span

    first, second = statistics.span, projected.span
    assert first is not None, "a fitted scaling has a span"
    assert second is not None, "a fitted scaling has a span"
    return Scaling(
        centre=np.concatenate([statistics.centre, projected.centre]),
        scale=np.concatenate([statistics.scale, np.full(len(projected.scale), spread)]),
        span=Span(low=np.concatenate([first.low, second.low]), high=np.concatenate([first.high, second.high])),
    )


def _principal(thumbnails: Float[np.ndarray, "patient pixel"]) -> tuple[Float[np.ndarray, "component pixel"], float]:
    """Leading principal axes, signs fixed, and the standard deviation along the first; those without variance are left out."""
    _, values, axes = np.linalg.svd(thumbnails - thumbnails.mean(axis=0), full_matrices=False)
    kept = axes[:NUM_COMPONENTS][values[:NUM_COMPONENTS] > 1e-6 * max(float(values[0]), 1e-6)]
    signs = np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])
    return kept * signs[:, None], max(float(values[0]) / len(thumbnails) ** 0.5, 1e-6)


def _thumbnail(sample: Sample) -> Float[np.ndarray, " pixel"]:
    return np.mean([_blocks(_resized(f.pixels, SIDE), SIDE // _THUMBNAIL).ravel() for f in sample.films], axis=0)


def _blocks(pixels: UInt8[np.ndarray, "side side"], step: int) -> Float[np.ndarray, "small small"]:
    """Mean grey, 0 to 1, of squares of ``step`` pixels."""
    small = len(pixels) // step
    return pixels.reshape(small, step, small, step).mean(axis=(1, 3)) / 255


_STATISTICS = (
    "mean grey",
    "deviation of grey",
    *(f"share of grey {i / _BINS:.3f} to {(i + 1) / _BINS:.3f}" for i in range(_BINS)),
    "edges, 1 px",
    "edges, 4 px",
    "difference between left and right",
)


def _statistics(sample: Sample) -> Float[np.ndarray, " statistic"]:
    return np.mean([_of_film(_resized(f.pixels, SIDE)) for f in sample.films], axis=0)


def _of_film(pixels: UInt8[np.ndarray, "side side"]) -> Float[np.ndarray, " statistic"]:
    shares = np.bincount(pixels.ravel() // (256 // _BINS), minlength=_BINS) / pixels.size
    coarse = _blocks(pixels, 4)
    edges = [float(np.abs(np.diff(p, axis=0)).mean() + np.abs(np.diff(p, axis=1)).mean()) for p in (pixels / 255, coarse)]
    sides = float(np.abs(coarse - coarse[:, ::-1]).mean())
    return np.array([pixels.mean() / 255, pixels.std() / 255, *shares, *edges, sides])


def _resized(pixels: UInt8[np.ndarray, "side side"], side: int) -> np.ndarray:
    if len(pixels) == side:
        return pixels
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))


def synthesise(truth: PatientTruth, rng: np.random.Generator) -> Sample:
    """Draw one chest film, in one patient of ten two: a lesion that grows with the stage, and at stage IV fluid in one angle."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / (SIDE / 2) - 1
    centre = (float(rng.choice((-1, 1)) * rng.uniform(0.35, 0.55)), float(rng.uniform(-0.4, 0.2)))
    radius = (0.06 + 0.05 * truth.stage) * float(np.exp(rng.normal(0, 0.1)))
    lungs = sum(_inside(1 - np.hypot((x - s * 0.42) / 0.36, (y + 0.05) / 0.72), 0.08) for s in (-1, 1))
    grey = 0.72 - 0.5 * lungs + 0.05 * np.cos(22 * (y + 0.25 * np.abs(x)))
    grey += (0.68 - grey) * _inside(radius - np.hypot(x - centre[0], y - centre[1]), 0.03)
    if truth.stage == 4:
        grey += (0.8 - grey) * _inside(y - 0.35, 0.05) * (x * centre[0] > 0)
    views = ("PA", "AP") if rng.random() < 0.1 else ("PA",)
    films = tuple(
        Film(
            path="",
            pixels=(np.clip(grey + 0.03 * rng.standard_normal(grey.shape, dtype=np.float32), 0, 1) * 255).astype(np.uint8),
            view=view,
            spacing_mm=None,
        )
        for view in views
    )
    return Sample(patient_id=truth.patient_id, films=films)


def _inside(depth: np.ndarray, edge: float) -> np.ndarray:
    """1 inside, 0 outside, with an edge of the given width."""
    return np.clip(depth / edge + 0.5, 0, 1)
