from contextlib import closing

import numpy as np
import pytest
import tifffile

from oncoweave.core.errors import SlideError, UnknownNameError
from oncoweave.wsi.geometry import Box0, Px0
from oncoweave.wsi.image import read_box, read_thumbnail
from oncoweave.wsi.readers import open_slide, require_mpp

REGIONS = [((0, 0), 0, (64, 64)), ((250, 120), 0, (300, 200)), ((512, 256), 1, (200, 150)), ((900, 700), 0, (300, 300))]


def box(x: float, y: float, width: float, height: float) -> Box0:
    return Box0(x=Px0(x), y=Px0(y), width=Px0(width), height=Px0(height))


@pytest.mark.parametrize("reader", ["openslide", "tifffile"])
def test_a_reader_says_what_the_file_is(write_slide, reader):
    with closing(open_slide(write_slide(size=(1024, 768), mpp=0.265, levels=3), reader=reader)) as slide:
        assert slide.dimensions == (1024, 768)
        assert slide.level_dimensions == ((1024, 768), (512, 384), (256, 192))
        assert slide.downsamples == (1.0, 2.0, 4.0)
        assert slide.mpp == pytest.approx(0.265, rel=1e-5)
        assert slide.reader.startswith(reader)


@pytest.mark.parametrize(("corner", "level", "size"), REGIONS)
def test_both_readers_agree(write_slide, corner, level, size):
    path = write_slide()
    with closing(open_slide(path, reader="openslide")) as a, closing(open_slide(path, reader="tifffile")) as b:
        ours, theirs = b.read_region(corner, level, size), a.read_region(corner, level, size)
        assert ours.shape == (size[1], size[0], 3)
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("reader", ["openslide", "tifffile"])
def test_pixels_stand_where_they_were_written(write_slide, reader):
    path = write_slide(boxes=((300, 200, 100, 50),))
    with closing(open_slide(path, reader=reader)) as slide:
        region = slide.read_region((299, 199), 0, (102, 52))
        assert (region[0] == 243).all()
        assert (region[:, 0] == 243).all()
        assert (region[-1] == 243).all()
        assert (region[1:-1, 1:-1] < 200).all()


@pytest.mark.parametrize("reader", ["openslide", "tifffile"])
def test_outside_a_slide_is_white(write_slide, reader):
    with closing(open_slide(write_slide(size=(300, 300), boxes=()), reader=reader)) as slide:
        region = slide.read_region((290, 290), 0, (20, 20))
        assert (region[:10, :10] == 243).all()
        assert (region[10:] == 255).all()
        assert (region[:, 10:] == 255).all()


def test_striped_and_alpha_images_are_read(tmp_path, rng):
    image = rng.integers(0, 255, (90, 70, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "striped.tif", image, photometric="rgb", rowsperstrip=16)
    four = np.dstack([image, np.full((90, 70), 255, dtype=np.uint8)])
    tifffile.imwrite(tmp_path / "alpha.tif", four, photometric="rgb", extrasamples=["unassalpha"], tile=(32, 32))
    for name in ("striped.tif", "alpha.tif"):
        with closing(open_slide(tmp_path / name, reader="tifffile")) as slide:
            np.testing.assert_array_equal(slide.read_region((5, 30), 0, (60, 55)), image[30:85, 5:65])


def test_levels_of_an_ome_tiff_are_found(tmp_path, rng):
    """OpenSlide sees only level 0 of such a file, so tifffile is asked first."""
    image = rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        meta = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
        tiff.write(image, tile=(128, 128), photometric="rgb", subifds=1, metadata=meta)
        tiff.write(image[::2, ::2], tile=(128, 128), photometric="rgb", subfiletype=1)
    with closing(open_slide(tmp_path / "a.ome.tif")) as slide:
        assert slide.downsamples == (1.0, 2.0)
        assert slide.mpp == 0.5
        np.testing.assert_array_equal(slide.read_region((64, 64), 1, (50, 50)), image[::2, ::2][32:82, 32:82])


def test_an_exact_reduction_averages(write_slide):
    path = write_slide(levels=1, boxes=((256, 128, 512, 384),))
    image = tifffile.imread(path).astype(float)
    with closing(open_slide(path)) as slide:
        half = read_box(slide, box(200, 100, 256, 128), size=(128, 64))
    wanted = image[100:228, 200:456].reshape(64, 2, 128, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(half, wanted, atol=1.01)  # rounded to 8 bits after each axis


@pytest.mark.parametrize("size", [(100, 100), (135, 135), (256, 256), (400, 400)])
def test_a_flat_colour_survives_any_resampling(tmp_path, size):
    image = np.full((512, 512, 3), (180, 90, 160), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "flat.tif", image, tile=(128, 128), photometric="rgb")
    with closing(open_slide(tmp_path / "flat.tif", reader="tifffile")) as slide:
        assert (read_box(slide, box(100, 100, 256.513, 256.513), size=size) == (180, 90, 160)).all()


def test_a_thumbnail_is_the_same_whatever_the_patches(write_slide, monkeypatch):
    path = write_slide(mpp=0.5, levels=1)
    with closing(open_slide(path)) as slide:
        whole = read_thumbnail(slide, level0=slide.mpp, target=4.0)
        monkeypatch.setattr("oncoweave.wsi.image._PATCH", 128)
        pieces = read_thumbnail(slide, level0=slide.mpp, target=4.0)
    assert whole.shape == (96, 128, 3)
    np.testing.assert_array_equal(whole, pieces)


def test_a_slide_without_resolution_names_the_option(write_slide):
    with closing(open_slide(write_slide(mpp=None))) as slide:
        assert slide.mpp is None
        with pytest.raises(SlideError, match=r"slide.tiff: no usable resolution: it states none.*--slide-mpp.*--mpp is only"):
            require_mpp(slide, declared=None)
        assert require_mpp(slide, declared=0.25) == 0.25


def test_a_resolution_written_by_image_software_is_not_believed(write_slide):
    with (
        closing(open_slide(write_slide(mpp=352.78))) as slide,
        pytest.raises(SlideError, match=r"states 352\.78 x 352\.78 um/px, which no"),
    ):
        require_mpp(slide, declared=None)


def test_what_is_not_a_slide_is_refused_with_what_each_reader_said(tmp_path):
    (tmp_path / "notes.svs").write_text("no image")
    with pytest.raises(SlideError, match=r"notes.svs: cannot be opened as a slide \(openslide: .*; tifffile: .*not a TIFF"):
        open_slide(tmp_path / "notes.svs")
    tifffile.imwrite(tmp_path / "grey.tif", np.zeros((64, 64), dtype=np.uint16))
    with pytest.raises(SlideError, match=r"tifffile: wanted an 8-bit RGB image, found uint16 with axes YX"):
        open_slide(tmp_path / "grey.tif")
    with pytest.raises(SlideError, match=r"gone.svs: no such file"):
        open_slide(tmp_path / "gone.svs")
    with pytest.raises(UnknownNameError, match="no slide reader named 'openslid'; did you mean 'openslide'"):
        open_slide(tmp_path / "notes.svs", reader="openslid")


@pytest.mark.parametrize("reader", ["openslide", "tifffile"])
def test_a_damaged_tile_is_an_error_not_a_blank(write_slide, reader):
    path = write_slide()
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        start, length = tiff.pages[0].dataoffsets[5], tiff.pages[0].databytecounts[5]
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    with (
        closing(open_slide(path, reader=reader)) as slide,
        pytest.raises(SlideError, match=r"level 0 cannot be read at level-0 pixel"),
    ):
        slide.read_region((256, 256), 0, (256, 256))


@pytest.mark.real
@pytest.mark.filterwarnings("ignore:The value length")
def test_readers_agree_on_a_dicom_slide(real_data):
    path = real_data / "wsi_samples" / "sm_image.dcm"
    with closing(open_slide(path, reader="openslide")) as a, closing(open_slide(path, reader="wsidicom")) as b:
        assert a.dimensions == b.dimensions == (50, 50)
        assert a.mpp == b.mpp == pytest.approx(0.499)
        np.testing.assert_array_equal(a.read_region((7, 3), 0, (60, 30)), b.read_region((7, 3), 0, (60, 30)))


@pytest.mark.real
@pytest.mark.parametrize("region", [((0, 0), (300, 300)), ((999, 1501), (257, 100)), ((2100, 2900), (200, 100))])
def test_readers_agree_on_a_real_slide(real_data, region):
    """JPEG decoders round differently by a level or two."""
    path = real_data / "wsi_samples" / "cmu_1_small_region.svs"
    with closing(open_slide(path, reader="openslide")) as a, closing(open_slide(path, reader="tifffile")) as b:
        assert (a.dimensions, a.mpp) == (b.dimensions, b.mpp)
        ours, theirs = (s.read_region(region[0], 0, region[1]).astype(int) for s in (b, a))
        assert np.abs(ours - theirs).max() <= 2


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_slide_cut_short_is_never_read_as_if_whole(write_slide, share):
    path = write_slide(levels=1)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    for reader in ("openslide", "tifffile"):
        with pytest.raises(SlideError), closing(open_slide(path, reader=reader)) as slide:
            slide.read_region((0, 0), 0, slide.dimensions)
