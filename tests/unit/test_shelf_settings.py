"""Settings that are read from source are those that the class has, and all say what they do."""

import dataclasses
import subprocess
import sys
import typing

import pytest

from oncoweave.core import shelf
from oncoweave.core.errors import UnknownNameError
from oncoweave.core.shelf_settings import settings, variants
from oncoweave.train.penalties import PENALTIES
from oncoweave.train.study import ModelSpec

SHELVES = ("fusion", "missingness", "encoders", "modalities")
FILES = [(name, file) for name in SHELVES for file in shelf.names(name)]


@pytest.mark.parametrize(("name", "file"), FILES, ids="/".join)
def test_what_source_says_is_what_the_class_has(name, file):
    read = settings(name, file)
    config = getattr(shelf.load(name, file), "Config", None)
    fields = [] if config is None else dataclasses.fields(config)
    assert [s.name for s in read] == [f.name for f in fields]
    for told, field in zip(read, fields, strict=True):
        assert told.about.endswith("."), f"{name}/{file}: {told.name} does not say what it does"
        if field.default is not dataclasses.MISSING:
            assert eval(told.default) == field.default  # noqa: S307  (our own source)


@pytest.mark.parametrize("file", ["bert", "film_vit", "longnet", "pathways"])
def test_variants_are_those_of_the_file(file):
    module = shelf.load("encoders", file)
    read = variants("encoders", file)
    assert list(read) == list(module.VARIANTS)
    for key, how in read.items():
        assert eval(f"dict({how})").items() <= dataclasses.asdict(module.VARIANTS[key]).items()  # noqa: S307


def test_words_that_are_allowed_are_listed_and_other_files_are_refused():
    words = {s.name: s.type for s in settings("encoders", "bert")}
    assert words["readout"] == "windows | document | words"
    assert settings("fusion", "rank") == []
    with pytest.raises(UnknownNameError, match="did you mean 'mdt'"):
        settings("fusion", "mdtt")


def test_reading_settings_imports_no_torch():
    code = (
        "import sys; from oncoweave.core.shelf_settings import settings; from oncoweave.train.penalties import PENALTIES;"
        "assert len(settings('fusion', 'mcat')) == 5; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_penalties_that_are_listed_are_those_that_a_study_takes():
    assert tuple(PENALTIES) == typing.get_args(ModelSpec.model_fields["penalty"].annotation)
