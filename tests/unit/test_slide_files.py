from pathlib import Path

import pytest

from oncoweave.core.errors import DataError
from oncoweave.wsi.files import find_slides, identity, slide_id_of


@pytest.mark.parametrize(
    ("name", "slide_id"),
    [
        ("a.svs", "a"),
        ("TCGA-AA-3949-01Z-00-DX1.23748E80.svs", "TCGA-AA-3949-01Z-00-DX1.23748E80"),
        ("b.ome.tiff", "b"),
        ("c.OME.TIF", "c"),
        ("d.tar.ndpi", "d.tar"),
        ("e.unknown", "e"),
    ],
)
def test_a_slide_is_called_after_its_file(name, slide_id):
    assert slide_id_of(Path("some") / name) == slide_id


def test_one_slide_whatever_the_spelling(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.svs").write_bytes(b"1")
    (tmp_path / "link.svs").symlink_to(tmp_path / "in" / "a.svs")
    monkeypatch.chdir(tmp_path)
    spellings = ["in/a.svs", "./in/../in/a.svs", str(tmp_path / "in" / "a.svs"), "in", "link.svs"]
    found = find_slides(spellings)
    assert [s.slide_id for s in found.slides] == ["a"]
    assert found.slides[0].path == tmp_path / "in" / "a.svs"
    assert len(found.repeated) == 4
    for spelling in spellings[:4]:
        assert find_slides([spelling]).slides[0].slide_id == "a"


def test_a_folder_is_searched_at_all_depths_and_the_rest_is_told(tmp_path):
    for name in ("x/1.svs", "x/y/2.tiff", "x/3.ndpi", "x/notes.txt", "x/.hidden/4.svs"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "x" / "m.mrxs").write_bytes(b"")
    (tmp_path / "x" / "m").mkdir()
    (tmp_path / "x" / "m" / "Data0000.dat").write_bytes(b"0")
    found = find_slides([tmp_path])
    assert [s.slide_id for s in found.slides] == ["1", "3", "m", "2"]
    assert [Path(o).name for o in found.other] == ["notes.txt"]


def test_two_files_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "s.svs").write_text(folder)
    with pytest.raises(DataError, match=r"two slides would be called 's': .*a/s\.svs and .*b/s\.svs"):
        find_slides([tmp_path])


def test_a_table_gives_names_and_resolutions(tmp_path):
    (tmp_path / "1.svs").write_text("1")
    (tmp_path / "2.svs").write_text("2")
    table = tmp_path / "slides.csv"
    table.write_text("path,slide_id,mpp\n1.svs,first,0.25\n2.svs,,\n")
    found = find_slides([table], mpp=0.5)
    assert [(s.slide_id, s.mpp) for s in found.slides] == [("first", 0.25), ("2", 0.5)]
    table.write_text("file\n1.svs\n")
    with pytest.raises(DataError, match=r"slides\.csv: a table of slides needs a column 'path'; it has \['file'\]"):
        find_slides([table])
    table.write_text("path\n3.svs\n")
    with pytest.raises(DataError, match=r"column 'path' names '3\.svs', which does not exist"):
        find_slides([table])


@pytest.mark.parametrize("content", [b"", b"path\ngr\xf6.svs\n", b"path\na\nb,c,d\n"])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "slides.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"slides\.csv: cannot be read as a CSV table: "):
        find_slides([tmp_path / "slides.csv"])


@pytest.mark.parametrize("slide_id", ["../../evil", "/etc/evil", "a\\b", "..", ".", " ", "a" * 201, ".hidden"])
def test_a_slide_id_that_leads_elsewhere_is_refused(tmp_path, slide_id):
    (tmp_path / "1.svs").write_text("1")
    (tmp_path / "slides.csv").write_text(f"path,slide_id\n1.svs,good\n1.svs,{slide_id}\n")
    with pytest.raises(DataError, match=r"slides\.csv, line 3, column 'slide_id': .* cannot name a file: it "):
        find_slides([tmp_path / "slides.csv"])


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone: no such file or folder"):
        find_slides([tmp_path / "gone"])


def test_identity_follows_content_not_name(tmp_path, rng):
    content = rng.bytes(6_000_000)
    (tmp_path / "a.svs").write_bytes(content)
    (tmp_path / "b.svs").write_bytes(content)
    assert identity(tmp_path / "a.svs") == identity(tmp_path / "b.svs")
    (tmp_path / "b.svs").write_bytes(content[:-1])
    assert identity(tmp_path / "a.svs") != identity(tmp_path / "b.svs")
    (tmp_path / "b.svs").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert identity(tmp_path / "a.svs") != identity(tmp_path / "b.svs")


@pytest.mark.real
def test_the_files_of_a_dicom_series_are_one_slide(real_data):
    samples = real_data / "wsi_samples"
    found = find_slides([samples])
    assert "boxes_0" in [s.slide_id for s in found.slides]
    assert [Path(r).name for r in found.repeated] == ["boxes_1.dcm"]
