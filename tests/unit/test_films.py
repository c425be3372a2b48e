"""Radiographs read from PNG, JPEG and DICOM: windows, inversion, spacing, and what is no film."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from oncoweave.core.errors import DataError
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.modalities import film
from oncoweave.scans.dicom import ScanError
from oncoweave.scans.films import WINDOW, read_film, shrink, window
from oncoweave.train.scan_checks import Looked, look


def write_dicom(path, stored, **tags):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset

    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 16, 16, 15
    dataset.PixelRepresentation, dataset.PhotometricInterpretation = 0, "MONOCHROME2"
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = stored.astype(np.uint16).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def record(*paths, root, views=None):
    rows = pd.DataFrame({"patient_id": "A", "sample_id": [f"A{i}" for i in range(len(paths))], "path": [str(p) for p in paths]})
    if views:
        rows["view"] = views
    return Record(patient_id="A", modality=ModalitySpec(name="film", kind="film"), rows=rows, root=root)


@pytest.fixture
def ramp():
    """Stored values 0, 10, ... 2550, one a column, on 64 rows."""
    return np.arange(0, 2560, 10)[None].repeat(64, axis=0)


def test_dicom_window_is_the_linear_function_of_the_standard(tmp_path, ramp):
    tags = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 1000, "WindowWidth": 401, "PixelSpacing": [0.2, 0.3]}
    picture = read_film(write_dicom(tmp_path / "a.dcm", ramp, **tags))
    wanted = np.clip((2.0 * ramp - 100 - 999.5) / 400 + 0.5, 0, 1)
    np.testing.assert_allclose(picture.pixels, wanted, atol=1e-6)
    assert picture.spacing_mm == (0.2, 0.3)
    assert shrink(picture, 32).spacing_mm == (0.4, 0.6)


def _table(**tags):
    pydicom = pytest.importorskip("pydicom")
    item = pydicom.Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return pydicom.Sequence([item])


def test_a_film_with_a_table_of_grey_values_is_looked_up_in_it(tmp_path, ramp):
    entries = (np.arange(2560) ** 2 // 100).astype("<u2").tobytes()
    lut = _table(LUTDescriptor=[2560, 0, 16], LUTData=entries)
    picture = read_film(write_dicom(tmp_path / "a.dcm", ramp, VOILUTSequence=lut))
    np.testing.assert_allclose(picture.pixels, (ramp**2 // 100) / 65535, atol=1e-7)


def test_an_empty_table_of_grey_values_is_none_and_a_broken_one_is_named(tmp_path, ramp):
    tags = {"WindowCenter": 1000, "WindowWidth": 400}
    plain = read_film(write_dicom(tmp_path / "plain.dcm", ramp, **tags))
    empty = read_film(write_dicom(tmp_path / "empty.dcm", ramp, VOILUTSequence=[], **tags))
    np.testing.assert_array_equal(empty.pixels, plain.pixels)
    for name, held in {
        "data.dcm": {"LUTDescriptor": [4, 0, 9], "LUTData": bytes(8)},
        "lacks.dcm": {"LUTDescriptor": [4, 0, 16]},
        "short.dcm": {"LUTDescriptor": [9, 0, 16], "LUTData": bytes(8)},
    }.items():
        with pytest.raises(ScanError, match=rf"{name}: its table of grey values \(VOI LUT\) cannot be read"):
            read_film(write_dicom(tmp_path / name, ramp, VOILUTSequence=_table(**held)))


def test_padding_does_not_set_the_window_and_is_black(tmp_path, ramp):
    padded = ramp.copy()
    padded[:, :100] = 65535
    for inverted in ("MONOCHROME2", "MONOCHROME1"):
        tags = {"PhotometricInterpretation": inverted}
        plain = read_film(write_dicom(tmp_path / "plain.dcm", ramp[:, 100:], **tags)).pixels
        pixels = read_film(write_dicom(tmp_path / "padded.dcm", padded, PixelPaddingValue=65535, **tags)).pixels
        np.testing.assert_allclose(pixels[:, 100:], plain, atol=1e-6)
        assert (pixels[:, :100] == 0).all()
        stated = tags | {"WindowCenter": 2000, "WindowWidth": 4000}
        windowed = read_film(write_dicom(tmp_path / "windowed.dcm", padded, PixelPaddingValue=65535, **stated)).pixels
        whole = read_film(write_dicom(tmp_path / "whole.dcm", ramp[:, 100:], **stated)).pixels
        np.testing.assert_allclose(windowed[:, 100:], whole, atol=1e-6)
        assert (windowed[:, :100] == 0).all()
        nothing = read_film(write_dicom(tmp_path / "nothing.dcm", np.full_like(ramp, 65535), PixelPaddingValue=65535, **tags))
        assert (nothing.pixels == 0).all()


def test_a_picture_stored_lying_is_turned_as_it_says(tmp_path):
    grey = np.linspace(0, 255, 64 * 80).reshape(64, 80).astype(np.uint8)
    image = Image.fromarray(grey)
    tags = image.getexif()
    tags[0x0112] = 6  # a quarter turn clockwise
    image.save(tmp_path / "lying.png", exif=tags)
    np.testing.assert_allclose(read_film(tmp_path / "lying.png").pixels, np.rot90(grey, -1) / 255, atol=1e-6)


def test_a_pixel_that_is_no_number_is_said(tmp_path):
    values = np.linspace(0, 1, 900, dtype=np.float32).reshape(30, 30).copy()
    values[3, 4] = np.nan
    Image.fromarray(values).save(tmp_path / "film.tif")
    with pytest.raises(ScanError, match=r"film\.tif: 1 of 900 pixels are not finite"):
        read_film(tmp_path / "film.tif")


def test_monochrome1_is_the_negative(tmp_path, ramp):
    tags = {"WindowCenter": 1000, "WindowWidth": 400}
    bright = read_film(write_dicom(tmp_path / "a.dcm", ramp, **tags)).pixels
    dark = read_film(write_dicom(tmp_path / "b.dcm", ramp, PhotometricInterpretation="MONOCHROME1", **tags)).pixels
    np.testing.assert_allclose(bright + dark, 1, atol=1e-6)


def test_without_a_window_the_films_own_quantiles_count(tmp_path, ramp):
    low, high = np.quantile(ramp, WINDOW)
    wanted = np.clip((ramp - low) / (high - low), 0, 1)
    np.testing.assert_allclose(read_film(write_dicom(tmp_path / "a.dcm", ramp)).pixels, wanted, atol=1e-6)
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "b.png")  # 12 of 16 bits used, as hospitals export them
    np.testing.assert_allclose(read_film(tmp_path / "b.png").pixels, wanted, atol=1e-6)


def test_sigmoid_and_exact_windows_have_their_closed_forms():
    values = np.array([[0.0, 50.0, 100.0]])
    exact = window(values, centre=50, width=100, function="LINEAR_EXACT")
    np.testing.assert_allclose(exact, [[0, 0.5, 1]])
    sigmoid = window(values, centre=50, width=100, function="SIGMOID")
    np.testing.assert_allclose(sigmoid, [[1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-2)]], rtol=1e-6)


@pytest.mark.parametrize(("function", "used"), [("LINEAR_EXACT", True), ("SIGMOID", True), ("LINEAR", False)])
def test_a_window_narrower_than_one_is_one_where_the_standard_allows_it(tmp_path, ramp, function, used):
    tags = {"RescaleSlope": 0.0004, "RescaleIntercept": 0, "WindowCenter": 0.5, "WindowWidth": 0.8, "VOILUTFunction": function}
    picture = read_film(write_dicom(tmp_path / "a.dcm", ramp, **tags))
    wanted = window(0.0004 * ramp, centre=0.5, width=0.8, function=function)
    assert np.allclose(picture.pixels, wanted, atol=1e-5) == used


def test_eight_bits_are_kept_as_they_are_and_shrinking_averages(tmp_path, rng):
    stored = rng.integers(0, 256, size=(64, 96)).astype(np.uint8)
    Image.fromarray(stored).save(tmp_path / "a.png")
    picture = read_film(tmp_path / "a.png")
    np.testing.assert_allclose(picture.pixels * 255, stored, atol=1e-4)
    small = shrink(picture, 16).pixels
    assert small.shape == (16, 16)
    assert abs(small.mean() - picture.pixels[:, 16:80].mean()) < 0.01


def test_a_grey_picture_saved_in_colour_is_grey_and_a_photograph_is_refused(tmp_path, rng):
    grey = rng.integers(0, 256, size=(64, 64, 1)).astype(np.uint8).repeat(3, axis=2)
    Image.fromarray(grey).save(tmp_path / "grey.jpg", quality=70)
    assert read_film(tmp_path / "grey.jpg").pixels.shape == (64, 64)
    photo = grey.copy()
    photo[:20, :, 0] = 255 - photo[:20, :, 0]
    Image.fromarray(photo).save(tmp_path / "photo.png")
    with pytest.raises(ScanError, match=r"photo\.png: \d+% of its pixels are coloured") as caught:
        read_film(tmp_path / "photo.png")
    assert caught.value.reason == "colour"


def test_what_is_no_film_is_named_and_counted(tmp_path, rng):
    good = rng.integers(0, 256, size=(64, 64)).astype(np.uint8)
    for name, pixels in (("good", good), ("black", np.zeros_like(good)), ("colour", np.stack([good, 255 - good, good], axis=2))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "short.png").write_bytes((tmp_path / "good.png").read_bytes()[:-900])
    write_dicom(tmp_path / "cine.dcm", np.stack([good, good]), NumberOfFrames=2)
    names = ("good.png", "black.png", "colour.png", "short.png", "cine.dcm", "gone.png")
    looked = look("film", [None, *(record(tmp_path / name, root=tmp_path) for name in names)])
    assert looked.faults == {"blank": 1, "colour": 1, "unreadable": 2, "frames": 1}
    with pytest.raises(DataError, match=r"row 1 .*short\.png: not a readable picture"):
        film.read(record(tmp_path / "short.png", root=tmp_path))
    with pytest.raises(DataError, match=r"black\.png' shows nothing"):
        film.check(film.read(record(tmp_path / "black.png", root=tmp_path)))
    with pytest.raises(DataError, match="no column 'path'"):
        film.read(dataclasses.replace(record(tmp_path / "good.png", root=tmp_path), rows=pd.DataFrame({"patient_id": ["A"]})))


@pytest.mark.parametrize("modality", ["CT", "MR", "US"])
def test_slices_are_no_films(tmp_path, ramp, modality):
    path = write_dicom(tmp_path / "a.dcm", ramp, Modality=modality)
    with pytest.raises(ScanError, match=rf"a\.dcm: DICOM modality {modality}, which is no film; accepted: CR, DX, ") as caught:
        read_film(path)
    assert ("kind 'volume'" in str(caught.value)) == (modality != "US")
    assert look("film", [record(path, root=tmp_path)]).faults == {"modality": 1}


def test_films_that_say_that_they_show_words_are_counted(tmp_path, ramp):
    told = (("a", {"BurnedInAnnotation": "YES"}), ("b", {"BurnedInAnnotation": "NO"}), ("c", {}))
    films = [record(write_dicom(tmp_path / f"{name}.dcm", ramp, **said), root=tmp_path) for name, said in told]
    assert look("film", films) == Looked(faults={}, burned_in=1)


@pytest.mark.parametrize("modality", ["CR", "DX", "MG", "OT", ""])
def test_projections_and_what_does_not_say_are_read(tmp_path, ramp, modality):
    assert read_film(write_dicom(tmp_path / "a.dcm", ramp, Modality=modality)).pixels.shape == ramp.shape


def test_films_of_a_patient_follow_each_other_and_patches_are_squares_of_the_film(tmp_path, rng):
    pixels = [rng.integers(0, 256, size=(film.SIDE, film.SIDE)).astype(np.uint8) for _ in range(2)]
    for number, stored in enumerate(pixels):
        Image.fromarray(stored).save(tmp_path / f"{number}.png")
    sample = film.read(record("0.png", "1.png", root=tmp_path, views=["PA", None]))
    assert [f.view for f in sample.films] == ["PA", ""]
    fitted = film.fit([sample])
    tokens = fitted.collate([sample])
    grid = film.SIDE // film.USUAL.patch
    assert tokens.positions[0, grid + 2].tolist() == [2, 1, 0]
    assert tokens.positions[0, grid**2].tolist() == [0, 0, 1]
    seen = tokens.values[0, grid + 2].numpy() * fitted.scale + fitted.centre
    np.testing.assert_allclose(seen * 255, pixels[0][16:32, 32:48].ravel(), atol=1e-3)
    assert abs(float(tokens.values.mean())) < 1e-5
    assert abs(float(tokens.values.std()) - 1) < 1e-3
    assert film.fit([sample], film.Config(side=112)).collate([sample]).values.shape == (1, 2 * 49, 256)
    with pytest.raises(ValueError, match="whole patches of 16 px, got 100"):
        film.Config(side=100)
    with pytest.raises(ValueError, match="kept at 448 px at least, got 224 px"):
        film.fit([sample], film.Config(side=448))
    lateral = dataclasses.replace(sample, films=(dataclasses.replace(sample.films[0], view="lateral"),))
    assert fitted.unknown([sample, None, lateral]) == {"view": 1}


def test_films_are_kept_as_large_as_asked_and_described_alike(tmp_path, rng):
    coarse = rng.integers(0, 200, size=(28, 28)).astype(np.uint8)
    fine = np.kron(coarse, np.ones((16, 16), dtype=np.uint8))
    fine[::2, ::2] += 40
    Image.fromarray(fine).save(tmp_path / "fine.png")
    config = film.Config(side=448, patch=32)
    usual, large = (film.read(record("fine.png", root=tmp_path), c) for c in (film.USUAL, config))
    np.testing.assert_array_equal(large.films[0].pixels, fine)
    fitted = film.fit([large], config)
    assert (fitted.config, fitted.dim) == (config, 1024)
    tokens = fitted.collate([large])
    assert tokens.values.shape == (1, 14 * 14, 1024)
    seen = tokens.values[0, 14 + 2].numpy() * fitted.scale + fitted.centre
    np.testing.assert_allclose(seen * 255, fine[32:64, 64:96].ravel(), atol=1e-3)
    with pytest.raises(ValueError, match="kept at 448 px at least, got 224 px"):
        fitted.collate([usual])
    np.testing.assert_allclose(film._statistics(large), film._statistics(usual), atol=0.01)


def test_a_varied_film_is_moved_and_changed_in_contrast_and_nothing_else(rng):
    pixels = np.add.outer(np.arange(224), 0.5 * np.arange(224)).clip(0, 255).astype(np.uint8)
    drawn = film.Film(path="", pixels=pixels, view="PA", spacing_mm=None)
    pair, single = (film.Sample(patient_id=str(n), films=(drawn,) * n) for n in (2, 1))
    fitted = film.fit([pair, single], film.Config(vary=0.25))
    tokens = fitted.collate([pair, single, None])
    varied = fitted.varied(tokens, torch.Generator().manual_seed(1))
    assert torch.equal(varied.keep, tokens.keep) and torch.equal(varied.positions, tokens.positions)

    def images(values):
        return values.reshape(-1, 14, 14, 16, 16).transpose(2, 3).reshape(-1, 224, 224)[:2].numpy()

    before, after = images(tokens.values)[0], images(varied.values)
    assert not np.allclose(after[0], after[1])
    for image in after:
        fits = []
        for down in range(-4, 5):
            for right in range(-4, 5):
                moved = before[np.clip(np.arange(224) + down, 0, 223)][:, np.clip(np.arange(224) + right, 0, 223)]
                slope, level = np.polyfit(moved[::9, ::9].ravel(), image[::9, ::9].ravel(), 1)
                fits.append((np.abs(slope * moved + level - image).max(), slope, level))
        error, slope, level = min(fits)
        assert error < 1e-3
        assert abs(slope - 1) <= 0.075 + 1e-4
        assert abs(level) <= 0.075 + 1e-4
    nobody = fitted.collate([None])
    assert torch.equal(fitted.varied(nobody, torch.Generator()).values, nobody.values)
    same = dataclasses.replace(fitted, vary=0.0).varied(tokens, torch.Generator())
    torch.testing.assert_close(same.values, tokens.values)


@pytest.mark.real
def test_real_films_are_read(real_data):
    folder = real_data / "cxr_samples"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    pytest.importorskip("pydicom")
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".png", ".jpg", ".dcm")):
        picture = read_film(path)
        assert 0.3 < picture.pixels.mean() < 0.8, path.name
        assert picture.pixels.std() > 0.1, path.name
