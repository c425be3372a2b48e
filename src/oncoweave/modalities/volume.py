"""Volume: a patient's CT or MR scan (a folder of DICOM slices, or NIfTI) as cubes of one size in millimetres.

The scan is read once: brought to left-to-right, back-to-front, feet-to-head, to ``spacing_mm``, and cropped or padded about its
middle to ``size`` voxels (400 x 320 x 280 mm), kept as 16-bit numbers. CT is in Hounsfield units and clipped to ``window``; what
has no unit (MR; NIfTI whose modality is noted with the ``unit`` arbitrary) is stretched by each scan's own quantiles. A token
is a cube of ``patch`` voxels, x slowest, standardised by one mean and deviation of the training scans (see ``Config``); its
position is ``(x, y, z)`` in cubes from the corner of the box. Cubes wholly outside the scan are not kept. A patient has one
volume; a second row is refused, as which of them counts is not ours to choose. With the column ``mask_path`` the block also has
the radiomics features inside the mask; tokens do not (see ``train.radiomics_table``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Int16

from oncoweave.core.errors import DataError, missing_extra
from oncoweave.core.files import publish
from oncoweave.core.ranges import Count, Positive, Share
from oncoweave.core.settings import ranged
from oncoweave.core.truth import PatientTruth
from oncoweave.core.units import ScanUnit, scan_unit
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.data.columns import (
    Scaling,
    at_least_one,
    blank_absent,
    by_column,
    file_of,
    fit_scaling,
    line_up,
    make_record,
    place,
    whose,
)
from oncoweave.nn.tokens import Tokens
from oncoweave.scans.dicom import ScanError
from oncoweave.scans.volume_statistics import COARSE, coarse_means, describe, statistic_names
from oncoweave.scans.volumes import Volume, read_mask, read_volume, resample

_STORED_HU = (-2048, 4095)
"""What CT is kept between before it is windowed."""
_OWN = (0, 1000)
"""What scans without a unit are stretched to, between these quantiles of their own."""
_OWN_QUANTILES = (0.01, 0.99)
NUM_COMPONENTS = 16
"""Principal components of the scan at ``COARSE`` cells in the block, at most."""


@ranged
class Config:
    """How scans are kept, windowed and cut into tokens."""

    spacing_mm: tuple[Positive, Positive, Positive] = (5.0, 5.0, 5.0)
    """Between voxels, left to right, back to front, feet to head."""
    size: tuple[Count, Count, Count] = (80, 64, 56)
    """Voxels of the box about the middle of the scan: whole patches, 10 x 8 x 7 at least."""
    patch: Count = 8
    """Voxels along a side of a token."""
    window: tuple[int, int] = (-1000, 400)
    """Hounsfield units that CT is clipped to, from -2048 to 4095: air to soft bone."""
    vary: Share = 0.0
    """How much a training step varies each scan, 0 to 1: at 1 by shifts of a patch along each axis, and 30% of brightness and
    contrast."""

    def __post_init__(self) -> None:
        """Refuse a box or a window that cannot be cut."""
        small = any(n < least for n, least in zip(self.size, COARSE, strict=True))
        if small or any(n % self.patch for n in self.size):
            msg = f"wanted a size of whole patches of {self.patch} voxels, {COARSE} at least, got {self.size}"
            raise ValueError(msg)
        if not _STORED_HU[0] <= self.window[0] < self.window[1] <= _STORED_HU[1]:
            msg = f"wanted a window (low, high) within {_STORED_HU} HU, got {self.window}"
            raise ValueError(msg)


USUAL = Config()


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
    config: Config = USUAL
    """How it was read."""


def from_voxels(
    patient_id: str,
    values: Int16[np.ndarray, "x y z"],
    *,
    scanned: Int[np.ndarray, "3 2"],
    unit: str,
    config: Config = USUAL,
) -> Sample:
    """Make the sample of a scan that has the stated spacing and size, and describe it for the block."""
    low, high = _limits(unit, config)
    windowed = _windowed(values, unit, config)
    box = tuple(slice(int(first), int(last)) for first, last in scanned)
    return Sample(
        patient_id=patient_id,
        values=values,
        scanned=scanned,
        unit=unit,
        statistics=describe(windowed[box], low=low, high=high, unit=unit),
        coarse=coarse_means(windowed).ravel().astype(float),
        config=config,
    )


def read(record: Record, config: Config = USUAL) -> Sample | None:
    """Read a patient's scan, and the features inside its mask where there is one; None where the row has no path.

    Raises:
        DataError: no column ``path``, several volumes, or files that cannot be read or joined; names row, table and file.
        MissingExtraError: nibabel, pydicom or (with a mask) pyradiomics is not installed; names the extra.
    """
    if "path" not in record.rows.columns:
        msg = f"{place(record)}: no column 'path' to the volume; it has {list(record.rows.columns)}"
        raise ScanError("no column path", msg)
    rows = record.rows[record.rows["path"].notna() & (record.rows["path"].astype(str).str.strip() != "")]
    if len(rows) == 0:
        return None
    if len(rows) > 1:
        msg = f"{place(record)}: {len(rows)} volumes of the patient, wanted one; keep the row of the scan to use"
        raise ScanError("several volumes", msg)
    row = rows.iloc[0]
    path = file_of(record, row["path"])
    try:
        noted = scan_unit(record.modality.notes.get("unit", "HU"))
        volume = read_volume(path)
        unit = _unit(volume, noted)
        values = volume.values if unit == "HU" else _own(volume.values)
        names, features = _radiomics(record, row.get("mask_path"), replace(volume, values=values))
    except DataError as error:
        raise ScanError(getattr(error, "reason", "unreadable"), f"{place(record)}: {error}") from error
    low, high = _STORED_HU if unit == "HU" else _OWN
    scaled = Volume(values=np.clip(values, low, high), spacing_mm=volume.spacing_mm, modality=volume.modality)
    outside = _limits(unit, config)[0]
    try:
        framed, scanned = resample(scaled, spacing_mm=config.spacing_mm, size=config.size, outside=outside)
    except ScanError as error:
        raise ScanError(error.reason, f"{place(record)}: {path}: {error}") from error
    sample = from_voxels(record.patient_id, np.rint(framed).astype(np.int16), scanned=scanned, unit=unit, config=config)
    return replace(sample, radiomics_names=names, radiomics=features, path=str(path), place=place(record))


def _radiomics(record: Record, mask_path: str | float | None, volume: Volume) -> tuple[tuple[str, ...], np.ndarray]:
    if mask_path is None or pd.isna(mask_path) or not str(mask_path).strip():
        return (), np.zeros(0)
    from oncoweave.scans.radiomics import radiomics

    mask = file_of(record, mask_path)
    try:
        return radiomics(volume, read_mask(mask))
    except DataError as error:
        raise DataError(f"mask {mask}: {error}") from error


def _unit(volume: Volume, noted: ScanUnit) -> ScanUnit:
    """What DICOM says counts, and the modality's note where the file says nothing."""
    return ("HU" if volume.modality == "CT" else "own") if volume.modality else noted


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
        raise ScanError("blank", msg)
    if sample.unit == "HU" and inside.min() > -200:
        msg = (
            f"{whose(sample)}: volume {sample.path!r} has no voxel below {inside.min()}, so it is not in Hounsfield units, where"
            " air is -1000; rescale it, or say in the modality's notes that its unit is arbitrary"
        )
        raise ScanError("not in Hounsfield units", msg)


def to_record(sample: Sample, *, root: Path, name: str = "volume") -> Record:
    """Write what was scanned as NIfTI below a cohort folder and lay the sample out as a row of a modality table."""
    try:
        import nibabel
    except ImportError as error:
        raise missing_extra("nibabel", "radiology") from error
    path = Path("volumes") / name / f"{sample.patient_id}.nii"
    image = nibabel.Nifti1Image(sample.values[_box(sample)], np.diag([*sample.config.spacing_mm, 1.0]))
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
    config: Config = USUAL
    """How scans have to be read for it."""

    @property
    def vary(self) -> float:
        """How much training steps vary scans."""
        return self.config.vary

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the modality's table that are read."""
        return ("path", "mask_path") if self.radiomics_names else ("path",)

    @property
    def dim(self) -> int:
        """Width of a token: the voxels of a cube."""
        return self.config.patch**3

    @property
    def num_tokens(self) -> int:
        """Cubes of the box."""
        return int(np.prod(np.array(self.config.size) // self.config.patch))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Statistics of the scan, components of the coarse scan, radiomics inside the mask."""
        inside = (*(f"radiomics {n}" for n in self.radiomics_names), *(["mask missing"] if self.radiomics_names else []))
        return (*statistic_names(self.unit), *(f"coarse component {i + 1}" for i in range(len(self.components))), *inside)

    def collate(self, samples: Sequence[Sample | None]) -> Tokens:
        """Make one token of each cube, standardised; cubes outside the scan are not kept.

        Raises:
            DataError: a scan is not in the unit of the training scans.
        """
        grid = np.array(self.config.size) // self.config.patch
        places = torch.from_numpy(np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1).reshape(-1, 3))
        values = torch.zeros(len(samples), self.num_tokens, self.dim)
        keep = torch.zeros(len(samples), self.num_tokens, dtype=torch.bool)
        for row, sample in enumerate(samples):
            if sample is not None:
                _require_alike(sample, self.unit, self.config)
                values[row] = self._cubes(sample)
                keep[row] = torch.from_numpy(_touched(sample, places.numpy()))
        return Tokens(values=values, keep=keep, positions=places.float().expand(len(samples), -1, -1))

    def varied(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """Shift each scan of a batch, repeating the edge of what is kept, and change brightness and contrast; left stays left."""
        side, (x, y, z), num = self.config.patch, self.config.size, len(tokens.values)
        grid = (x // side, y // side, z // side)
        boxes = tokens.values.reshape(num, *grid, side, side, side).permute(0, 1, 4, 2, 5, 3, 6).reshape(num, x, y, z)
        drawn = torch.rand((num, 5), generator=generator) * 2 - 1
        shifts = (drawn[:, :3] * self.vary * side).round().long()
        first, beyond = _kept(tokens, side)
        for axis, length in enumerate((x, y, z), start=1):
            low, high = first[:, axis - 1 : axis], beyond[:, axis - 1 : axis] - 1
            places = (torch.arange(length) + shifts[:, axis - 1 : axis]).clamp(low, high)
            shape = [num if dim == 0 else length if dim == axis else 1 for dim in range(4)]
            boxes = boxes.gather(axis, places.reshape(shape).expand(boxes.shape))
        strength = 0.3 * self.vary * drawn[:, 3:, None, None, None]
        boxes = boxes * (1 + strength[:, 0]) + strength[:, 1]
        cut = boxes.reshape(num, grid[0], side, grid[1], side, grid[2], side).permute(0, 1, 3, 5, 2, 4, 6)
        return Tokens(values=cut.reshape(tokens.values.shape), keep=tokens.keep, positions=tokens.positions)

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
        plain, coarse, inside = _parts(samples, self.unit, self.config, self.radiomics_names)
        projected = (coarse - self.mean_coarse) @ self.components.T / self.spread
        if not self.radiomics_names:
            return np.hstack([plain, projected])
        lacking = np.isnan(inside).all(axis=1, keepdims=True)
        return np.hstack([plain, projected, np.where(np.isnan(inside), self.fill, inside), lacking.astype(float)])

    def _cubes(self, sample: Sample) -> Float[torch.Tensor, "cube dim"]:
        side = self.config.patch
        x, y, z = (n // side for n in self.config.size)
        inside = (torch.from_numpy(_windowed(sample.values, sample.unit, self.config)) - self.centre) / self.scale
        cut = inside.reshape(x, side, y, side, z, side).permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(x * y * z, self.dim)


def fit(samples: Sequence[Sample | None], config: Config = USUAL) -> Preparation:
    """Learn mean and deviation, coarse components, radiomics means and scales on training patients, read as ``config`` says.

    Raises:
        DataError: nobody has the modality, or scans are in different units.
        ValueError: a scan was read with other settings.
    """
    at_least_one(samples, "volume")
    present = [s for s in samples if s is not None]
    unit = present[0].unit
    names = tuple(dict.fromkeys(n for s in present for n in s.radiomics_names))
    plain, coarse, inside = _parts(present, unit, config, names)
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
        config=config,
    )
    scaling = fit_scaling(started._described(present))
    scaling.scale[plain.shape[1] : plain.shape[1] + len(kept)] = 1.0  # components keep their sizes relative to the first
    return replace(started, scaling=scaling)


def _require_alike(sample: Sample, unit: str, config: Config) -> None:
    if sample.config != config:
        msg = f"wanted volumes read with {config}, got {sample.config}; read them with the same settings"
        raise ValueError(msg)
    if sample.unit != unit:
        msg = f"{whose(sample)}: the volume's unit is {sample.unit!r}, the training volumes' {unit!r}; use one kind of scan"
        raise DataError(msg)


def _parts(
    samples: Sequence[Sample | None], unit: str, config: Config, names: tuple[str, ...]
) -> tuple[Float[np.ndarray, "patient plain"], Float[np.ndarray, "patient voxel"], Float[np.ndarray, "patient radiomics"]]:
    """Describe scans before anything is learned; NaN for absent patients and, in the third part, for those without a mask."""
    plain = np.full((len(samples), len(statistic_names(unit))), np.nan)
    coarse = np.full((len(samples), int(np.prod(COARSE))), np.nan)
    for row, sample in enumerate(samples):
        if sample is not None:
            _require_alike(sample, unit, config)
            plain[row], coarse[row] = sample.statistics, sample.coarse
    rows = [None if s is None else (s.radiomics_names, s.radiomics) for s in samples]
    return plain, coarse, line_up(rows, names)


def _limits(unit: str, config: Config) -> tuple[int, int]:
    return config.window if unit == "HU" else _OWN


def _windowed(values: Int16[np.ndarray, "x y z"], unit: str, config: Config) -> Float[np.ndarray, "x y z"]:
    low, high = _limits(unit, config)
    return (np.clip(values, low, high).astype(np.float32) - low) / (high - low)


def _touched(sample: Sample, places: np.ndarray) -> np.ndarray:
    low, high = sample.scanned.T
    side = sample.config.patch
    return ((places * side < high) & ((places + 1) * side > low)).all(axis=1)


def _kept(tokens: Tokens, side: int) -> tuple[Int[torch.Tensor, "patient 3"], Int[torch.Tensor, "patient 3"]]:
    """Find the first voxel of each scan's kept cubes and the first beyond them, by axis; of an absent scan those of a cube."""
    assert tokens.positions is not None, "cubes have places"
    places, keep = tokens.positions.long(), tokens.keep.unsqueeze(-1)
    some = tokens.present.unsqueeze(1)
    first = torch.where(keep, places, places.max()).amin(dim=1).where(some, 0)
    last = torch.where(keep, places, 0).amax(dim=1)
    return first * side, (last + 1) * side


def synthesise(truth: PatientTruth, rng: np.random.Generator) -> Sample:
    """Draw a chest in Hounsfield units: two lungs and a lesion, whose size follows the stage and outline ``private_volume``."""
    x, y, z = (((np.arange(n) - (n - 1) / 2) * s).astype(np.float32) for n, s in zip(USUAL.size, USUAL.spacing_mm, strict=True))
    x, y, z = x[:, None, None], y[None, :, None], z[None, None, :]
    values = np.where((x / 180) ** 2 + (y / 130) ** 2 < 1, 40.0, -1000.0) + 0.0 * z
    for side in (-1, 1):
        values[((x - side * 80) / 56) ** 2 + ((y + 4) / 92) ** 2 + (z / 150) ** 6 < 1] = -840.0
    dx, dy, dz = x - rng.choice((-1, 1)) * rng.uniform(60, 95), y - rng.uniform(-30, 25), z - rng.uniform(-50, 50)
    rough = 1 + 0.25 / (1 + np.exp(-truth.private_volume)) * np.cos(5 * np.arctan2(dy, dx))
    values[np.sqrt(dx**2 + dy**2 + dz**2) < (8 + 7 * truth.stage) * rough] = 38.0
    across, deep, high = USUAL.size
    short = 8 * int(rng.integers(0, 3))  # some scans are shorter than the box
    scanned = np.array([[0, across], [0, deep], [short, high - short]])
    values += 15 * rng.standard_normal(USUAL.size, dtype=np.float32)
    values[:, :, :short] = values[:, :, high - short :] = USUAL.window[0]
    return from_voxels(truth.patient_id, np.rint(values).astype(np.int16), scanned=scanned, unit="HU")
