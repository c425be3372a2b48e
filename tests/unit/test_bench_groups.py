"""A bench's table of groups: those without a figure share a line, and a second column stands only where it says something."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.evaluate.metrics import ALL_PAIRS
from oncoweave.serve.bench.groups import groups_section
from oncoweave.serve.bench.results import Results
from oncoweave.train.bench.spec import Bench


def section(over_all: dict[str, float]):
    usual = pd.DataFrame(
        {
            "grouping": "tumour_type",
            "group": ["BLCA", "CHOL", "KICH", "TGCT"],
            "value": [0.6, np.nan, np.nan, np.nan],
            "low": [0.5, np.nan, np.nan, np.nan],
            "high": [0.7, np.nan, np.nan, np.nan],
            "n": [1200, 6, 4, 87],
            "events": [159, 3, 2, 2],
            "note": ["", "fewer than 10 patients", "fewer than 10 patients", ""],
        }
    ).assign(task="pancancer_survival", model="stacking", metric="c_index", stratum="tumour_type")
    both = usual.assign(metric=f"c_index{ALL_PAIRS}", value=usual["group"].map(over_all))
    told, nothing = pd.concat([usual, both], ignore_index=True), pd.DataFrame()
    return groups_section(
        Results(
            bench=Bench(name="b", tasks={"pancancer_survival": "cohort"}), asked=(), scores=nothing, duels=nothing, groups=told,
            curves=nothing, audits=nothing, failures={}, pages={}, seconds=1.0,
        )
    )  # fmt: skip


@pytest.mark.parametrize("over_all, columns", [({"BLCA": 0.6}, 5), ({"BLCA": 0.8}, 6)])
def test_groups_without_a_figure_share_a_line_and_equal_columns_are_one(over_all, columns):
    table = section(over_all).blocks[0]
    assert len(table.header) == columns
    assert all(len(row.cells) == columns for row in table.rows)
    assert [row.cells[:5] for row in table.rows] == [
        ("tumour type", "BLCA", "1\u202f200", "159", "0.600 (0.500 to 0.700)"),
        ("tumour type", "CHOL and KICH", "10", "5", "each fewer than 10 patients"),
        ("tumour type", "TGCT", "87", "2", "not estimable"),
    ]
    assert [row.faint for row in table.rows] == [False, True, True]
    assert ("ranked against each other" in table.caption) == (columns == 6)
