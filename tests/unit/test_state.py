"""Fitted objects survive the disk exactly, and nothing else is ever created from a file."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import DataError
from oncoweave.core.shelf import Entry
from oncoweave.core.state import load_state, save_state


def test_round_trip_keeps_arrays_text_tuples_numbers_and_nested_objects(tmp_path, rng):
    endpoint = Endpoint(name="os", kind="survival", columns=("t", "e"), time_unit="days")
    values = rng.normal(size=(5, 2))
    values[0, 0] = np.nan
    save_state(tmp_path / "t.safetensors", Target(endpoint=endpoint, values=values))
    loaded = load_state(tmp_path / "t.safetensors")
    assert loaded.endpoint == endpoint
    assert loaded.values.dtype == values.dtype
    np.testing.assert_array_equal(loaded.values, values)


def test_infinity_dictionaries_and_text_arrays_survive(tmp_path):
    held = Entry(name="n", summary="s", constants={"a": (1, float("inf")), 2: None, "b": np.array(["x", "y"])})
    save_state(tmp_path / "t.safetensors", held)
    loaded = load_state(tmp_path / "t.safetensors").constants
    assert loaded["a"] == (1, float("inf"))
    assert loaded[2] is None
    assert loaded["b"].tolist() == ["x", "y"]


SAVE = """
import sys, numpy as np
from oncoweave.core.shelf import Entry
from oncoweave.core.state import save_state
save_state(sys.argv[1], Entry(name="n", summary="s", constants={k: np.arange(i + 1.0) for i, k in enumerate("cab")}))
"""


def test_equal_objects_give_equal_bytes_in_every_process(tmp_path):
    written = set()
    for seed in range(2):
        path = tmp_path / f"{seed}.safetensors"
        subprocess.run([sys.executable, "-c", SAVE, path], check=True, env={**os.environ, "PYTHONHASHSEED": str(seed)})
        written.add(path.read_bytes())
    assert len(written) == 1
    with safe_open(path, framework="numpy") as stream:
        assert len(stream.metadata()) == 1  # safetensors writes several keys in any order


def test_files_of_the_first_version_are_read_and_later_ones_refused(tmp_path):
    fields = {"name": "n", "summary": "s", "constants": {"dict": [["a", {"array": "w"}]]}}
    structure = {"class": "oncoweave.core.shelf:Entry", "fields": fields}
    metadata = {"oncoweave_state": "1", "structure": json.dumps(structure)}
    save_file({"w": np.arange(3.0)}, tmp_path / "old.safetensors", metadata=metadata)
    np.testing.assert_array_equal(load_state(tmp_path / "old.safetensors").constants["a"], np.arange(3.0))
    save_file({}, tmp_path / "new.safetensors", metadata={"oncoweave": json.dumps({"state": "3", "structure": structure})})
    with pytest.raises(DataError, match=r"new\.safetensors: not a fitted model .*version '3', wanted '2'"):
        load_state(tmp_path / "new.safetensors")


@dataclass(frozen=True)
class Stranger:
    """A class outside the package."""

    x: int = 1


def test_a_class_from_elsewhere_is_never_created(tmp_path):
    save_state(tmp_path / "s.safetensors", Stranger())
    with pytest.raises(DataError, match="not one of oncoweave's"):
        load_state(tmp_path / "s.safetensors")


def test_a_function_of_the_package_is_never_called(tmp_path):
    structure = '{"class": "oncoweave.core.files:sha256", "fields": {"path": "/etc/hostname"}}'
    save_file({}, tmp_path / "s.safetensors", metadata={"oncoweave_state": "1", "structure": structure})
    with pytest.raises(DataError, match="not a dataclass"):
        load_state(tmp_path / "s.safetensors")


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("oncoweave.core.gone:Entry", "{}", "No module named 'oncoweave.core.gone'"),
        ("oncoweave.gone.shelf:Entry", "{}", "No module named 'oncoweave.gone'"),
        ("oncoweave.core.shelf:Gone", "{}", "has no attribute 'Gone'"),
        ("oncoweave.core.shelf:Entry", '{"name": "n", "old": 1}', r"unknown fields \['old'\], missing fields \[.*'summary'\]"),
    ],
)
def test_a_model_of_another_version_says_so(tmp_path, name, fields, why):
    structure = f'{{"class": "{name}", "fields": {fields}}}'
    save_file({}, tmp_path / "s.safetensors", metadata={"oncoweave_state": "1", "structure": structure})
    with pytest.raises(DataError, match=rf"s\.safetensors: .*{name}.*{why}.* written by another version of oncoweave"):
        load_state(tmp_path / "s.safetensors")


@pytest.mark.parametrize("structure", ['{"array": "gone"}', "{", '{"list": []}'])
def test_a_damaged_structure_says_so(tmp_path, structure):
    save_file({}, tmp_path / "s.safetensors", metadata={"oncoweave_state": "1", "structure": structure})
    with pytest.raises(DataError, match=r"s\.safetensors: .* the file is damaged"):
        load_state(tmp_path / "s.safetensors")


def test_foreign_files_are_refused(tmp_path):
    save_file({"w": np.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="not a fitted model of oncoweave"):
        load_state(tmp_path / "w.safetensors")
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(DataError, match="not a readable safetensors file"):
        load_state(tmp_path / "junk")


def test_what_cannot_be_stored_is_named_with_its_place(tmp_path):
    with pytest.raises(TypeError, match=r"cannot store a set at fitted\.constants\.0"):
        save_state(tmp_path / "x", Entry(name="n", summary="s", constants={"a": {1}}))
