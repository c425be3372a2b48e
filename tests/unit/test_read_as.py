"""Settings of films and volumes in a study, by modality or by kind."""

import pytest

from oncoweave.core.errors import ConfigError, UnknownNameError
from oncoweave.modalities import film, volume
from oncoweave.train.read_as import read_as

KINDS = {"chest": "film", "hand": "film", "ct": "volume", "labs": "record"}


def test_names_stand_before_kinds_and_the_rest_is_usual():
    found = read_as(KINDS, {"film": {"side": 112}, "hand": {"patch": 32}, "ct": {"window": (-160, 240), "spacing_mm": (4, 4, 4)}})
    assert found == {
        "chest": film.Config(side=112),
        "hand": film.Config(patch=32),
        "ct": volume.Config(window=(-160, 240), spacing_mm=(4.0, 4.0, 4.0)),
    }
    assert read_as(KINDS, {}) == {"chest": film.USUAL, "hand": film.USUAL, "ct": volume.USUAL}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"flim": {}}, UnknownNameError, r"no modality or kind \(preparation\) named 'flim'; did you mean 'film'"),
        ({"film": {"sides": 112}}, UnknownNameError, r"setting of modalities of kind 'film' .*'sides'; did you mean 'side'"),
        (
            {"film": {"side": 112.5}},
            ConfigError,
            r"film: setting 'side' .* wanted int \(1 or more\) as in 224, got 112.5",
        ),
        (
            {"film": {"side": 100}},
            ConfigError,
            "preparation: film: .*: wanted a side of whole patches of 16 px, got 100",
        ),
        ({"ct": {"size": (80, 64, "x")}}, ConfigError, "preparation: ct: setting 'size' .* wanted 3 values: int"),
        (
            {"ct": {"spacing_mm": (5.0, 0.0, 5.0)}},
            ConfigError,
            r"preparation: ct: setting 'spacing_mm' .* wanted 3 values: float \(above 0\)",
        ),
        ({"ct": {"patch": 7}}, ConfigError, "preparation: ct: settings .*: wanted a size of whole patches of 7 voxels"),
        (
            {"ct": {"size": (80, 64)}},
            ConfigError,
            r"preparation: ct: setting 'size' .* wanted 3 values: int .* as in \(80, 64, 56\), got \(80, 64\)",
        ),
        ({"labs": {"side": 1}}, ConfigError, "kind 'record' have no settings; those that have: film, volume"),
    ],
)
def test_what_a_kind_does_not_take_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        read_as(KINDS, given)
