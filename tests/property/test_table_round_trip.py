"""Any table of plain columns comes back from parquet exactly as it was."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from oncoweave.data.tables import read_table, write_table

FLOATS = st.floats(width=64) | st.sampled_from([math.nan, math.inf, -0.0, 5e-324, 1.7e308])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(["", "NA", "nan", "001", "1"])


@st.composite
def columns(draw, length):
    kind = draw(
        st.sampled_from(["float64", "float32", "int64", "Int64", "bool", "boolean", "text", "nan text", "string", "category"])
    )
    rows = {"min_size": length, "max_size": length}
    if kind == "float64":
        return pd.Series(draw(st.lists(FLOATS, **rows)), dtype="float64")
    if kind == "float32":
        return pd.Series(np.array(draw(st.lists(st.floats(width=32), **rows)), dtype="float32"))
    if kind == "int64":
        return pd.Series(draw(st.lists(st.integers(-(2**63), 2**63 - 1), **rows)), dtype="int64")
    if kind == "Int64":
        return pd.Series(pd.array(draw(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), **rows)), dtype="Int64"))
    if kind in ("bool", "boolean"):
        values = draw(st.lists(st.booleans() if kind == "bool" else st.none() | st.booleans(), **rows))
        return pd.Series(pd.array(values, dtype=kind))
    if kind == "category":
        categories = draw(st.lists(TEXT, unique=True, max_size=4))
        values = draw(st.lists(st.none() | st.sampled_from(categories) if categories else st.none(), **rows))
        return pd.Series(pd.Categorical(values, categories=pd.Index(categories, dtype=object), ordered=draw(st.booleans())))
    if kind == "string":
        return pd.Series(draw(st.lists(st.none() | TEXT, **rows)), dtype="string")
    mark = None if kind == "text" else math.nan
    return pd.Series(draw(st.lists(st.just(mark) | TEXT, **rows)), dtype=object)


@st.composite
def tables(draw):
    length = draw(st.integers(0, 6))
    names = draw(st.lists(TEXT, unique=True, min_size=1, max_size=4))
    return pd.DataFrame({name: draw(columns(length)) for name in names})


@given(tables())
@settings(max_examples=40, deadline=None)
def test_round_trip(frame):
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "t.parquet", frame)
        read = read_table(Path(folder) / "t.parquet")
    assert list(read.columns) == list(frame.columns)
    pd.testing.assert_frame_equal(read, frame, check_exact=True)
    for name in frame.select_dtypes("float64"):
        known = frame[name].notna()  # NaN has no sign worth keeping; -0.0 stays -0.0
        np.testing.assert_array_equal(np.signbit(read[name][known]), np.signbit(frame[name][known]))
