"""Shelves are read from disk, without importing what stands on them."""

import subprocess
import sys

import pytest

from oncoweave.core import shelf
from oncoweave.core.errors import UnknownNameError


@pytest.mark.parametrize("name", shelf.SHELVES)
def test_every_entry_says_in_one_line_what_it_is(name):
    for entry in shelf.catalogue(name):
        assert entry.summary.endswith("."), f"{name}/{entry.name} has no one-line docstring"


def test_unknown_names_list_the_nearest():
    with pytest.raises(LookupError, match="no shelf named 'fusions'; did you mean 'fusion'"):
        shelf.names("fusions")
    with pytest.raises(LookupError, match="did you mean 'concat'"):
        shelf.load("fusion", "concatt")


def test_listing_a_shelf_imports_neither_torch_nor_the_entries():
    code = (
        "import sys; from oncoweave.core import shelf; [shelf.catalogue(s) for s in shelf.SHELVES];"
        "bad = [m for m in sys.modules if m == 'torch' or m.startswith('oncoweave.encoders')]; assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_loading_an_entry_lists_no_folder(monkeypatch):
    def listed(shelf: str) -> list[str]:
        raise AssertionError(f"listed {shelf}")

    with monkeypatch.context() as patch:
        patch.setattr(shelf, "names", listed)
        assert shelf.load("fusion", "concat").__name__ == "oncoweave.fusion.concat"
        assert shelf.load("encoders", "vit/tiny").__name__ == "oncoweave.encoders.vit"
    for place, name in (("fusion", "__init__"), ("fusion", ""), ("fusions", "concat")):
        with pytest.raises(UnknownNameError):
            shelf.load(place, name)
