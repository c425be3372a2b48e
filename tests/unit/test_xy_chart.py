import re

import pytest

from oncoweave.serve.charts.xy import Curve, Panel, Point, log_ticks, short_number, xy_chart


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.5, 2000, [1, 10, 100, 1000]),
        (0.15, 6, [0.2, 0.5, 1, 2, 5]),
        (12, 39, [15, 20, 30]),
        (21, 26, [25]),
    ],
)
def test_ticks_are_round_and_enough(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_sizes_are_written_short():
    assert [short_number(v) for v in (0.05, 3, 20, 1234, 86_330_880, 1.1e9)] == ["0.05", "3", "20", "1.23k", "86.3M", "1.1G"]


def test_equal_factors_are_equal_distances():
    points = tuple(Point(x=x, y=0.5, low=0.4, high=0.6, hover=f"at {x:g}") for x in (1.0, 10.0, 100.0))
    drawn = xy_chart([Panel(title="a", y_label="AUROC", points=points)], x_label="seconds", title="t")
    across = [float(x) for x in re.findall(r'<circle cx="([0-9.]+)"', drawn)]
    assert across[2] - across[1] == pytest.approx(across[1] - across[0], abs=0.02)
    assert "at 10" in drawn
    assert drawn.count('class="whisker"') == 3


def test_every_panel_has_its_own_axis_and_curves_their_names():
    curve = Curve(name="abmil", points=(Point(x=10, y=0.6), Point(x=100, y=0.7)))
    panels = [Panel(title=f"task {i}", y_label="C-index", curves=(curve,)) for i in range(3)]
    drawn = xy_chart(panels, x_label="labels", title="t")
    assert drawn.count(">abmil</text>") == 3
    assert drawn.count(">labels</text>") == 3
