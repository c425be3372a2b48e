"""Slides and scans of phantom patients on disk, and what a cohort lets see."""

import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.core.files import sha256
from oncoweave.phantom import radiology
from oncoweave.phantom.biology import Config, draw_truths, stream
from oncoweave.phantom.cohort import draw_cohort, write_phantom
from oncoweave.phantom.sections import stain_of
from oncoweave.phantom.slide_file import write_slide
from oncoweave.phantom.truth_folder import read_truth

SMALL = Config(patients=3, seed=4, slide_px=512)


def test_a_slide_is_a_pyramid_whose_resolution_openslide_reads(tmp_path, rng):
    import openslide
    import tifffile

    y, x = np.mgrid[0:700, 0:900]
    image = np.stack([120 + 80 * np.sin(x / 60), 150 + 60 * np.cos(y / 50), 180 + x / 20], axis=-1).astype(np.uint8)
    write_slide(tmp_path / "s.tiff", image, mpp=0.5)
    with openslide.OpenSlide(tmp_path / "s.tiff") as slide:
        assert slide.level_dimensions == ((900, 700), (450, 350), (225, 175))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        read = np.asarray(slide.read_region((0, 0), 0, (900, 700)).convert("RGB"), dtype=float)
        half = np.asarray(slide.read_region((0, 0), 1, (450, 350)).convert("RGB"), dtype=float)
    assert np.abs(read - image).mean() < 2  # JPEG loss
    assert np.abs(half - image.reshape(350, 2, 450, 2, 3).mean(axis=(1, 3))).mean() < 2
    with tifffile.TiffFile(tmp_path / "s.tiff") as tiff:
        assert [page.is_tiled for page in tiff.pages] == [True] * 3
        assert tiff.pages[0].tags["XResolution"].value == (20000, 1)
        assert tiff.pages[0].tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER


def test_a_place_that_is_taken_is_left_as_it_is(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("words")
    with pytest.raises(DataError, match="already there and not a phantom cohort's"):
        write_phantom(SMALL, tmp_path / "thesis", progress=False)
    with pytest.raises(DataError, match="no truth beside it"):
        read_truth(tmp_path / "thesis")


def test_follow_up_hides_what_comes_later():
    config = Config(patients=100, seed=8, without=("slide", "expression", "volume", "film"))
    cohort, revealed, _ = draw_cohort(config)
    table = cohort.patients.assign(**{n: [getattr(o, n) for o in revealed.outcomes] for n in ("death_months", "censored_months")})
    assert ((table["os_event"] == 1) == (table["death_months"] <= table["censored_months"])).all()
    assert np.abs(table["os_months"] - table[["death_months", "censored_months"]].min(axis=1)).max() <= 0.1
    unknown = table["progression_24m"].isna()
    assert 0 < unknown.sum() < 25
    assert (table.loc[unknown, "censored_months"] < 24).all()


def test_without_leaves_modalities_out():
    cohort, _, orders = draw_cohort(Config(patients=5, without=("slide", "volume", "film")))
    assert set(cohort.tables) == {"expression", "variants", "report", "record"}
    assert orders == []


def test_the_confounder_widens_the_stains_of_sites():
    def spread(confounded):
        config = Config(site_confounder=confounded)
        stains = [stain_of(config, f"site-0{i}") for i in range(1, 6)]
        return np.std([np.log(s.eosin_strength) for s in stains])

    assert spread(True) == pytest.approx(2 * spread(False))


def test_a_lesion_is_soft_tissue_where_the_truth_says_and_grows_with_stage():
    config = Config(patients=60, seed=1)
    truths = draw_truths(config)
    lesions = [radiology.draw_lesion(t, stream(config, "lesion", i)) for i, t in enumerate(truths)]
    assert np.corrcoef([t.stage for t in truths], [f.radius_mm for f in lesions])[0, 1] > 0.8
    assert np.corrcoef([t.private_volume for t in truths], [f.spiculation for f in lesions])[0, 1] > 0.9
    volume = radiology.draw_volume(truths[0], lesions[0], stream(config, "scan", 0))
    at = [
        round(mm / s + (n - 1) / 2)
        for mm, s, n in zip(
            (lesions[0].x_mm, lesions[0].y_mm, lesions[0].z_mm), radiology.SPACING_MM, radiology.VOLUME_SHAPE, strict=True
        )
    ]
    assert -60 < volume[tuple(at)] < 120
    assert volume[0, 0, 0] < -950
    film = radiology.draw_film(truths[0], volume, lesions[0], stream(config, "film", 0))
    assert film.shape == radiology.FILM_SHAPE
    assert film.std() > 30


def test_a_volume_keeps_its_voxels_spacing_and_bytes(tmp_path, rng):
    import nibabel

    voxels = rng.integers(-1000, 1000, (8, 9, 10)).astype(np.int16)
    for name in ("a.nii.gz", "b.nii.gz"):
        radiology.write_volume(tmp_path / name, voxels)
    image = nibabel.load(tmp_path / "a.nii.gz")
    assert (np.asarray(image.dataobj) == voxels).all()
    assert image.header.get_zooms() == pytest.approx(radiology.SPACING_MM)
    assert sha256(tmp_path / "a.nii.gz") == sha256(tmp_path / "b.nii.gz")
