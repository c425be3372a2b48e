"""Volume: a patient's CT or MR scan (a folder of DICOM slices, or NIfTI) as cubes of one size in millimetres.

The scan is read once: brought to right-to-left, back-to-front, feet-to-head, to ``SPACING_MM``, and cropped or padded about its
middle to ``SIZE`` voxels (400 x 320 x 280 mm), kept as 16-bit numbers. CT is in Hounsfield units and clipped to ``WINDOW_HU``;
what has no unit (MR; NIfTI whose modality is noted with a ``unit`` other than HU) is stretched by each scan's own quantiles. A
token is a cube of ``PATCH`` voxels, x slowest, standardised by one mean and deviation of the training scans; its position is
``(x, y, z)`` in cubes from the corner of the box. Cubes wholly outside the scan are not kept. A patient has one volume; a second
row is refused, as which of them counts is not ours to choose. With the column ``mask_path`` the block also has the radiomics
features inside the mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Int16

from oncoweave.core.errors import DataError, missing_extra
from oncoweave.core.files import publish
from oncoweave.core.truth import PatientTruth
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.data.columns import Scaling, at_least_one, blank_absent, by_column, fit_scaling, line_up, make_record, place, whose
from oncoweave.nn.tokens import Tokens
from oncoweave.scans.volumes import Volume, read_mask, read_volume, resample

SPACING_MM = (5.0, 5.0, 5.0)
SIZE = (80, 64, 56)
"""Voxels of the box, right to left, back to front, feet to head."""
PATCH = 8
"""Voxels along a side of a token."""
WINDOW_HU = (-1000, 400)
"""What CT is clipped to: air to soft bone."""
_OWN = (0, 1000)
"""What scans without a unit are stretched to, between these quantiles of their own."""
_OWN_QUANTILES = (0.01, 0.99)
_HU_EDGES = (-1000, -900, -700, -500, -150, -20, 20, 80, 200, 400)
_COARSE = (10, 8, 7)
NUM_COMPONENTS = 16
"""Principal components of the scan at an eighth of its size in the block, at most."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Sample:
    """The scan of one patient."""

    patient_id: str
    values: Int16[np.ndarray, "x y z"]
    """Hounsfield units, or thousandths of the scan's own window."""
    scanned: Int[np.ndarray, "3 2"]
    """First voxel inside the scan and first beyond it, axis by axis."""
    unit: str
    """``HU`` or ``own``."""
    statistics: Float[np.ndarray, " statistic"]
    coarse: Float[np.ndarray, " voxel"]
    """Means of large cubes, 0 to 1 inside the window."""
    radiomics_names: tuple[str, ...] = ()
    radiomics: Float[np.ndarray, " feature"] = field(default_factory=lambda: np.zeros(0))
    """Features inside the mask; none where the table has no mask for the patient."""
    path: str = ""
    place: str = ""
    """Where it was read, for messages."""


def from_voxels(
    patient_id: str,
    values: Int16[np.ndarray, "x y z"],
    *,
    scanned: Int[np.ndarray, "3 2"],
    unit: str,
) -> Sample:
    """Make the sample of a scan that has the stated spacing and size, and describe it for the block."""
    low, high = WINDOW_HU if unit == "HU" else _OWN
    windowed = _windowed(values, unit)
    steps = [n for c, s in zip(_COARSE, SIZE, strict=True) for n in (c, s // c)]
    box = tuple(slice(int(first), int(last)) for first, last in scanned)
    return Sample(
        patient_id=patient_id,
        values=values,
        scanned=scanned,
        unit=unit,
        statistics=_statistics(windowed[box], low=low, high=high, unit=unit),
        coarse=windowed.reshape(steps).mean(axis=(1, 3, 5)).ravel().astype(float),
    )


def read(record: Record) -> Sample | None:
    """Read a patient's scan, and the features inside its mask where there is one; None where the row has no path.

    Raises:
        DataError: no column ``path``, several volumes, or files that cannot be read or joined; names row, table and file.
        MissingExtraError: nibabel, pydicom or (with a mask) pyradiomics is not installed; names the extra.
    """
    if "path" not in record.rows.columns:
        msg = f"{place(record)}: no column 'path' to the volume; it has {list(record.rows.columns)}"
        raise DataError(msg)
    rows = record.rows[record.rows["path"].notna() & (record.rows["path"].astype(str).str.strip() != "")]
    if len(rows) == 0:
        return None
    if len(rows) > 1:
        msg = f"{place(record)}: {len(rows)} volumes of the patient, wanted one; keep the row of the scan to use"
        raise DataError(msg)
    row = rows.iloc[0]
    path = _resolve(record, row["path"])
    try:
        volume = read_volume(path)
        names, features = _radiomics(record, row.get("mask_path"), volume)
    except DataError as error:
        raise DataError(f"{place(record)}: {error}") from error
    unit = _unit(volume, record.modality)
    values = volume.values if unit == "HU" else _own(volume.values)
    low, high = (-2048, 4095) if unit == "HU" else _OWN
    scaled = Volume(values=np.clip(values, low, high), spacing_mm=volume.spacing_mm, modality=volume.modality)
    framed, scanned = resample(scaled, spacing_mm=SPACING_MM, size=SIZE, outside=WINDOW_HU[0] if unit == "HU" else _OWN[0])
    sample = from_voxels(record.patient_id, np.rint(framed).astype(np.int16), scanned=scanned, unit=unit)
    return replace(sample, radiomics_names=names, radiomics=features, path=str(path), place=place(record))


def _resolve(record: Record, path: object) -> Path:
    return Path(str(path)) if record.root is None else record.root / str(path)


def _radiomics(record: Record, mask_path: str | float | None, volume: Volume) -> tuple[tuple[str, ...], np.ndarray]:
    if mask_path is None or pd.isna(mask_path) or not str(mask_path).strip():
        return (), np.zeros(0)
    from oncoweave.scans.radiomics import radiomics

    mask = _resolve(record, mask_path)
    try:
        return radiomics(volume, read_mask(mask))
    except DataError as error:
        raise DataError(f"mask {mask}: {error}") from error


def _unit(volume: Volume, modality: ModalitySpec) -> str:
    if volume.modality:
        return "HU" if volume.modality == "CT" else "own"
    return "HU" if modality.notes.get("unit", "HU") == "HU" else "own"


def _own(values: Float[np.ndarray, "x y z"]) -> Float[np.ndarray, "x y z"]:
    low, high = np.quantile(values, _OWN_QUANTILES)
    return (values - low) / max(float(high - low), 1e-6) * _OWN[1]


def check(sample: Sample) -> None:
    """Refuse a scan that shows nothing, and one in Hounsfield units without air: it is in another unit.

    Raises:
        DataError: names row, table and file.
    """
    inside = sample.values[_box(sample)]
    if inside.min() == inside.max():
        msg = f"{whose(sample)}: volume {sample.path!r} holds {inside.min()} in every voxel; drop the row"
        raise DataError(msg)
    if sample.unit == "HU" and inside.min() > -200:
        msg = (
            f"{whose(sample)}: volume {sample.path!r} has no voxel below {inside.min()}, so it is not in Hounsfield units, where"
            " air is -1000; rescale it, or say in the modality's notes that its unit is arbitrary"
        )
        raise DataError(msg)


def to_record(sample: Sample, *, root: Path, name: str = "volume") -> Record:
    """Write what was scanned as NIfTI below a cohort folder and lay the sample out as a row of a modality table."""
    try:
        import nibabel
    except ImportError as error:
        raise missing_extra("nibabel", "radiology") from error
    path = Path("volumes") / name / f"{sample.patient_id}.nii"
    image = nibabel.Nifti1Image(sample.values[_box(sample)], np.diag([*SPACING_MM, 1.0]))
    with publish(root / path) as partial:
        partial.write_bytes(image.to_bytes())
    notes = {"unit": "HU" if sample.unit == "HU" else "arbitrary"}
    spec = ModalitySpec(name=name, kind="volume", notes=notes)
    return make_record(sample.patient_id, [{"path": path.as_posix()}], modality=spec, root=root)


def _box(sample: Sample) -> tuple[slice, ...]:
    return tuple(slice(int(low), int(high)) for low, high in sample.scanned)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Preparation:
    """Window, mean and deviation, components of the coarse scan, and scales of the block's features on training scans."""

    unit: str
    centre: float
    """Mean of the training scans inside the window, from 0 to 1, each counting once."""
    scale: float
    radiomics_names: tuple[str, ...]
    fill: Float[np.ndarray, " radiomics"]
    """Mean of each radiomics feature on training patients who have it; imputed for those without a mask."""
    mean_coarse: Float[np.ndarray, " voxel"]
    components: Float[np.ndarray, "component voxel"]
    scaling: Scaling
    spread: float
    """Standard deviation along the first component, by which all are divided."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the modality's table that are read."""
        return ("path", "mask_path") if self.radiomics_names else ("path",)

    @property
    def dim(self) -> int:
        """Width of a token: the voxels of a cube."""
        return PATCH**3

    @property
    def num_tokens(self) -> int:
        """Cubes of the box."""
        return int(np.prod(np.array(SIZE) // PATCH))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Statistics of the scan, components of the coarse scan, radiomics inside the mask."""
        inside = (*(f"radiomics {n}" for n in self.radiomics_names), *(["mask missing"] if self.radiomics_names else []))
        return (*_names(self.unit), *(f"coarse component {i + 1}" for i in range(len(self.components))), *inside)

    def collate(self, samples: Sequence[Sample | None]) -> Tokens:
        """Make one token of each cube, standardised; cubes outside the scan are not kept.

        Raises:
            DataError: a scan is not in the unit of the training scans.
        """
        grid = np.array(SIZE) // PATCH
        places = torch.from_numpy(np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1).reshape(-1, 3))
        values = torch.zeros(len(samples), self.num_tokens, self.dim)
        keep = torch.zeros(len(samples), self.num_tokens, dtype=torch.bool)
        for row, sample in enumerate(samples):
            if sample is not None:
                _require_unit(sample, self.unit)
                values[row] = self._cubes(sample)
                keep[row] = torch.from_numpy(_touched(sample, places.numpy()))
        return Tokens(values=values, keep=keep, positions=places.float().expand(len(samples), -1, -1))

    def block(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient feature"]:
        """Describe each scan by statistics, coarse components and radiomics, standardised; NaN for absent patients.

        Raises:
            DataError: a scan is not in the unit of the training scans.
        """
        described = self.scaling(self._described(samples))
        missing = np.isnan(described) & np.array([s is not None for s in samples], dtype=bool)[:, None]
        return blank_absent(np.where(missing, 0.0, described), np.array([s is not None for s in samples], dtype=bool))

    def outside(self, samples: Sequence[Sample | None]) -> dict[str, int]:
        """Count, by feature, the patients whose value lies far outside the training range: another device or unit."""
        return by_column(self.feature_names, self.scaling.far_outside(self._described(samples)))

    def _described(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient feature"]:
        plain, coarse, inside = _parts(samples, self.unit, self.radiomics_names)
        projected = (coarse - self.mean_coarse) @ self.components.T / self.spread
        if not self.radiomics_names:
            return np.hstack([plain, projected])
        lacking = np.isnan(inside).all(axis=1, keepdims=True)
        return np.hstack([plain, projected, np.where(np.isnan(inside), self.fill, inside), lacking.astype(float)])

    def _cubes(self, sample: Sample) -> Float[torch.Tensor, "cube dim"]:
        x, y, z = (n // PATCH for n in SIZE)
        inside = (torch.from_numpy(_windowed(sample.values, sample.unit)) - self.centre) / self.scale
        cut = inside.reshape(x, PATCH, y, PATCH, z, PATCH).permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(x * y * z, PATCH**3)


def fit(samples: Sequence[Sample | None]) -> Preparation:
    """Learn mean and deviation, coarse components, radiomics means and scales on training patients.

    Raises:
        DataError: nobody has the modality, or scans are in different units.
    """
    at_least_one(samples, "volume")
    present = [s for s in samples if s is not None]
    unit = present[0].unit
    names = tuple(dict.fromkeys(n for s in present for n in s.radiomics_names))
    plain, coarse, inside = _parts(present, unit, names)
    means, spreads = plain[:, 0], plain[:, 1]
    _, values, axes = np.linalg.svd(coarse - coarse.mean(axis=0), full_matrices=False)
    kept = axes[:NUM_COMPONENTS][values[:NUM_COMPONENTS] > 1e-6 * max(float(values[0]), 1e-6)]
    kept = kept * np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])[:, None]
    known = ~np.isnan(inside)
    fill = np.where(known, inside, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    started = Preparation(
        unit=unit,
        centre=float(means.mean()),
        scale=float(max(np.sqrt((spreads**2).mean() + means.var()), 1e-3)),
        radiomics_names=names,
        fill=fill,
        mean_coarse=coarse.mean(axis=0),
        components=kept,
        scaling=fit_scaling(plain),
        spread=max(float(values[0]) / len(present) ** 0.5, 1e-6),
    )
    scaling = fit_scaling(started._described(present))
    scaling.scale[plain.shape[1] : plain.shape[1] + len(kept)] = 1.0  # components keep their sizes relative to the first
    return replace(started, scaling=scaling)


def _require_unit(sample: Sample, unit: str) -> None:
    if sample.unit != unit:
        msg = f"{whose(sample)}: the volume's unit is {sample.unit!r}, the training volumes' {unit!r}; use one kind of scan"
        raise DataError(msg)


def _parts(
    samples: Sequence[Sample | None], unit: str, names: tuple[str, ...]
) -> tuple[Float[np.ndarray, "patient plain"], Float[np.ndarray, "patient voxel"], Float[np.ndarray, "patient radiomics"]]:
    """Describe scans before anything is learned; NaN for absent patients and, in the third part, for those without a mask."""
    plain = np.full((len(samples), len(_names(unit))), np.nan)
    coarse = np.full((len(samples), int(np.prod(_COARSE))), np.nan)
    for row, sample in enumerate(samples):
        if sample is not None:
            _require_unit(sample, unit)
            plain[row], coarse[row] = sample.statistics, sample.coarse
    rows = [None if s is None else (s.radiomics_names, s.radiomics) for s in samples]
    return plain, coarse, line_up(rows, names)


def _edges(unit: str) -> tuple[int, ...]:
    return _HU_EDGES if unit == "HU" else tuple(range(0, 1000, 100))


def _names(unit: str) -> tuple[str, ...]:
    edges, mark = _edges(unit), "HU" if unit == "HU" else "thousandths"
    ranges = (f"share of {low} to {high} {mark}" for low, high in pairwise(edges))
    return ("mean", "deviation", "skewness", "kurtosis", *ranges, f"share above {edges[-1]} {mark}", "edges")


def _statistics(inside: Float[np.ndarray, "x y z"], *, low: int, high: int, unit: str) -> Float[np.ndarray, " statistic"]:
    """Describe what lies inside the scan, 0 to 1 inside the window."""
    mean, spread = float(inside.mean()), max(float(inside.std()), 1e-6)
    off = (inside - mean) / spread
    square = off * off
    slots = np.searchsorted((np.array(_edges(unit), dtype=np.float32) - low) / (high - low), inside.ravel(), side="right")
    shares = np.bincount(slots, minlength=len(_edges(unit)) + 1)[1:] / inside.size
    changes = float(np.mean([np.abs(np.diff(inside, axis=a)).mean() if inside.shape[a] > 1 else 0.0 for a in range(3)]))
    return np.array([mean, spread, float((square * off).mean()), float((square * square).mean()), *shares, changes])


def _windowed(values: Int16[np.ndarray, "x y z"], unit: str) -> Float[np.ndarray, "x y z"]:
    low, high = WINDOW_HU if unit == "HU" else _OWN
    return (np.clip(values, low, high).astype(np.float32) - low) / (high - low)


def _touched(sample: Sample, places: np.ndarray) -> np.ndarray:
    low, high = sample.scanned.T
    return ((places * PATCH < high) & ((places + 1) * PATCH > low)).all(axis=1)


def synthesise(truth: PatientTruth, rng: np.random.Generator) -> Sample:
    """Draw a chest in Hounsfield units: two lungs and a lesion, whose size follows the stage and outline ``private_volume``."""
    x, y, z = (((np.arange(n) - (n - 1) / 2) * s).astype(np.float32) for n, s in zip(SIZE, SPACING_MM, strict=True))
    x, y, z = x[:, None, None], y[None, :, None], z[None, None, :]
    values = np.where((x / 180) ** 2 + (y / 130) ** 2 < 1, 40.0, -1000.0) + 0.0 * z
    for side in (-1, 1):
        values[((x - side * 80) / 56) ** 2 + ((y + 4) / 92) ** 2 + (z / 150) ** 6 < 1] = -840.0
    dx, dy, dz = x - rng.choice((-1, 1)) * rng.uniform(60, 95), y - rng.uniform(-30, 25), z - rng.uniform(-50, 50)
    rough = 1 + 0.25 / (1 + np.exp(-truth.private_volume)) * np.cos(5 * np.arctan2(dy, dx))
    values[np.sqrt(dx**2 + dy**2 + dz**2) < (8 + 7 * truth.stage) * rough] = 38.0
    short = 8 * int(rng.integers(0, 3))  # some scans are shorter than the box
    scanned = np.array([[0, SIZE[0]], [0, SIZE[1]], [short, SIZE[2] - short]])
    values += 15 * rng.standard_normal(SIZE, dtype=np.float32)
    values[:, :, :short] = values[:, :, SIZE[2] - short :] = WINDOW_HU[0]
    return from_voxels(truth.patient_id, np.rint(values).astype(np.int16), scanned=scanned, unit="HU")
