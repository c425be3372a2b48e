"""Scans of phantom patients: a CT-like chest volume and a radiograph-like film, both with one lesion of known place and size."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oncoweave.core.errors import missing_extra
from oncoweave.core.files import publish
from oncoweave.core.truth import PatientTruth
from oncoweave.phantom.texture import smooth_noise

VOLUME_SHAPE = (96, 96, 56)
"""Voxels left to right, back to front, feet to head."""
SPACING_MM = (4.0, 3.2, 5.0)
FILM_SHAPE = (256, 320)
"""Height and width of the film in pixels; about 1.1 mm by 1.2 mm each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesion:
    """Where the lesion is: millimetres from the centre of the chest (left, front and head are positive)."""

    x_mm: float
    y_mm: float
    z_mm: float
    radius_mm: float
    spiculation: float
    """Relative depth of the irregular outline."""


def draw_lesion(truth: PatientTruth, rng: np.random.Generator) -> Lesion:
    """Place a lesion in a lung; its size follows the stage, its outline ``private_volume``."""
    side = rng.choice((-1.0, 1.0))
    return Lesion(
        x_mm=float(side * rng.uniform(55, 95)), y_mm=float(rng.uniform(-30, 25)), z_mm=float(rng.uniform(-55, 60)),
        radius_mm=float(np.exp(np.log(6.5 + 4.5 * truth.stage) + rng.normal(0, 0.15))),
        spiculation=float(0.5 / (1 + np.exp(-1.3 * truth.private_volume))),
    )  # fmt: skip


def draw_volume(truth: PatientTruth, lesion: Lesion, rng: np.random.Generator) -> np.ndarray:
    """Draw a chest in Hounsfield units, int16 ``[x, y, z]``: fat, muscle, lungs, heart, bones, lesion, noise."""
    x, y, z = (
        ((np.arange(n) - (n - 1) / 2) * s).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (n, s) in enumerate(zip(VOLUME_SHAPE, SPACING_MM, strict=True))
    )
    wide = float(rng.uniform(0.93, 1.07))
    body = (x / (178 * wide)) ** 2 + (y / 132) ** 2
    taper = 1 - 0.25 * np.clip(z / 140, 0, 1) ** 2
    hounsfield = np.full(VOLUME_SHAPE, -1000.0, dtype=np.float32)
    hounsfield[np.broadcast_to(body < 1, VOLUME_SHAPE)] = -95
    hounsfield[np.broadcast_to(body < 0.84, VOLUME_SHAPE)] = 45
    lung = np.minimum(_lung(x, y, z, -1.0, wide, taper), _lung(x, y, z, 1.0, wide, taper)) < 1
    hounsfield[lung] = -840
    texture = np.stack([smooth_noise(VOLUME_SHAPE[:2], 3.0, rng) for _ in range(VOLUME_SHAPE[2])], axis=2)
    vessels = lung & (texture + 0.6 * np.roll(texture, 1, axis=2) > 2.3 + 0.008 * np.abs(np.abs(x) - 45))
    hounsfield[vessels] = -80
    heart = ((x - 22) / 58) ** 2 + ((y - 32) / 48) ** 2 + ((z + 45) / 62) ** 2 < 1
    hounsfield[heart & (hounsfield < 300)] = 55
    aorta = np.broadcast_to((x - 16) ** 2 + (y + 48) ** 2 < 13**2, VOLUME_SHAPE)
    hounsfield[aorta] = 130
    airway = np.broadcast_to((x**2 + (y + 12) ** 2 < 9**2) & (z > 10), VOLUME_SHAPE)
    hounsfield[airway] = -980
    _bones(hounsfield, x, y, z, body)
    _put_lesion(hounsfield, x, y, z, lesion, rng)
    hounsfield += rng.normal(0, 14, VOLUME_SHAPE).astype(np.float32) + 8 * texture
    return np.clip(hounsfield, -1024, 1500).astype(np.int16)


def _lung(x: np.ndarray, y: np.ndarray, z: np.ndarray, side: float, wide: float, taper: np.ndarray) -> np.ndarray:
    across, deep = 54 * wide * taper, 92 * taper
    return ((x - side * 80 * wide) / across) ** 2 + ((y + 4) / deep) ** 2 + (z / 150) ** 6


def _bones(hounsfield: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, body: np.ndarray) -> None:
    spine = np.broadcast_to(((x / 20) ** 2 + ((y + 84) / 17) ** 2 < 1) & (np.mod(z, 26) > 4), hounsfield.shape)
    hounsfield[spine] = 320
    hounsfield[np.broadcast_to((x / 10) ** 2 + ((y + 108) / 9) ** 2 < 1, hounsfield.shape)] = 380
    shell = (body > 0.70) & (body < 0.80)
    slanted = np.mod(z + 0.35 * y - 0.12 * np.abs(x), 27) < 8
    ribs = shell & slanted & (np.abs(x) > 24)
    hounsfield[ribs] = 520
    sternum = (np.abs(x) < 15) & (np.abs(y - 112) < 6) & (z > -70)
    hounsfield[np.broadcast_to(sternum, hounsfield.shape)] = 300


def _put_lesion(
    hounsfield: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, lesion: Lesion, rng: np.random.Generator
) -> None:
    dx, dy, dz = x - lesion.x_mm, y - lesion.y_mm, z - lesion.z_mm
    distance = np.sqrt(dx**2 + dy**2 + dz**2) + 1e-3
    spikes = np.ones_like(distance)
    for _ in range(5):
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        cosine = (dx * direction[0] + dy * direction[1] + dz * direction[2]) / distance
        spikes = spikes + lesion.spiculation * np.cos(rng.integers(3, 7) * np.arccos(np.clip(cosine, -1, 1))) / 2
    inside = np.clip((lesion.radius_mm * spikes - distance) / 2.5 + 0.5, 0, 1)
    hounsfield += inside * (38 - hounsfield)


def draw_film(truth: PatientTruth, volume: np.ndarray, lesion: Lesion, rng: np.random.Generator) -> np.ndarray:
    """Draw a frontal chest film, uint8 ``[height, width]``, bright where much is absorbed.

    The volume is projected from back to front; ribs, clavicles and lung markings are drawn finer than its voxels. At stage IV
    fluid blunts one costophrenic angle in two of three patients.
    """
    from PIL import Image

    attenuation = np.clip(volume.astype(np.float32) / 1000 + 1, 0, 1.12)  # without the volume's own ribs
    path = np.ascontiguousarray(attenuation.sum(axis=1)[:, ::-1].T)  # head on top, the patient's left on the right
    height, width = FILM_SHAPE
    film = np.asarray(Image.fromarray(path).resize((width, height), Image.Resampling.BICUBIC)).copy()
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x_mm, y_mm = (x - width / 2) * 384 / width, (height / 2 - y) * 280 / height
    chest = np.clip(1.4 - np.abs(x_mm) / 150, 0, 1) * (np.abs(x_mm) > 14)
    for level in range(10):  # front and back parts of each rib slope in opposite directions
        centre = 118 - 27 * level
        for slope, weight in ((0.55, 8.0), (-0.28, 11.0)):
            line = np.abs(y_mm - centre + slope * np.abs(x_mm) + 0.0022 * x_mm**2 * np.sign(slope)) / 6.5
            film += weight * chest * np.clip(1.25 - line, 0, 1) * (0.75 + 0.45 * (np.abs(line - 0.85) < 0.2))
    film += 11 * np.clip(1 - np.abs(y_mm - 118 - 0.14 * np.abs(x_mm)) / 6, 0, 1) * (np.abs(x_mm) > 18)
    aerated = np.clip((np.quantile(film, 0.6) - film) / 12, 0, 1)
    hilum = np.exp(-np.abs(np.abs(x_mm) - 42) / 45 - np.abs(y_mm + 5) / 70)
    film += aerated * (7 * hilum + 0.8) * np.clip(np.abs(smooth_noise(FILM_SHAPE, 9, rng)) - 0.3, 0, 2)
    below = _diaphragm(truth, lesion, x_mm, y_mm, rng) * np.clip((film - film.min()) / 20, 0, 1)
    film += below * (0.25 * film + 0.75 * np.quantile(film, 0.97) - film)
    low, high = np.quantile(film, (0.005, 0.985))
    grey = np.clip((film - low) / (high - low), 0, 1) ** 0.85 * 225 + 8 + rng.normal(0, 2.5, film.shape)
    return np.clip(grey, 0, 255).astype(np.uint8)


def _diaphragm(truth: PatientTruth, lesion: Lesion, x_mm: np.ndarray, y_mm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Say how much of each pixel lies under the diaphragm or in fluid: 0 to 1."""
    dome = -82 + 10 * (x_mm < 0) - 20 * ((np.abs(x_mm) - 72) / 52) ** 2
    shade = np.clip((dome - y_mm) / 5, 0, 1)
    if truth.stage == 4 and rng.random() < 0.66:
        side = np.sign(lesion.x_mm)
        level = -62 + 0.3 * (side * x_mm - 110)
        within = np.clip((side * x_mm - 40) / 20, 0, 1) * np.clip((140 - np.abs(x_mm)) / 18, 0, 1)
        fluid = np.clip((level - y_mm) / 9, 0, 1) * within
        shade = np.maximum(shade, 0.9 * fluid)
    return shade


def write_volume(path: Path, volume: np.ndarray) -> None:
    """Write a volume as compressed NIfTI with its spacing in millimetres; the same voxels give the same bytes.

    Raises:
        MissingExtraError: nibabel is not installed.
    """
    try:
        import nibabel
    except ImportError as error:
        raise missing_extra("nibabel", "radiology") from error
    import gzip

    affine = np.diag([-SPACING_MM[0], SPACING_MM[1], SPACING_MM[2], 1.0])
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    with publish(path) as partial:
        partial.write_bytes(gzip.compress(image.to_bytes(), compresslevel=4, mtime=0))


def write_film(path: Path, film: np.ndarray) -> None:
    """Write a film as an 8-bit grey PNG."""
    from PIL import Image

    with publish(path) as partial:
        Image.fromarray(film).save(partial, format="PNG")
