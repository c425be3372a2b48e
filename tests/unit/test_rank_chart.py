from xml.etree import ElementTree

import numpy as np
import pytest

from oncoweave.evaluate.ranking import rank_models
from oncoweave.serve.charts.ranks import rank_plot


def drawn(svg, tag, class_):
    return [e.attrib for e in ElementTree.fromstring(svg).iter(tag) if class_ in e.attrib.get("class", "").split()]


def test_marks_stand_at_mean_ranks_and_bars_join_what_cannot_be_told_apart():
    values = np.tile([0.9, 0.8, 0.7, 0.6], (5, 1))
    names = ("mean", "abmil", "a very long name of a model that would not fit into the space that labels have here", "<b>")
    ranking = rank_models(values, names)
    svg = rank_plot(ranking, title="Ranks")
    x = [float(m["cx"]) for m in drawn(svg, "circle", "mark")]
    assert np.diff(x) == pytest.approx(np.full(3, x[1] - x[0]), abs=0.02)  # mean ranks 1, 2, 3, 4
    rows = [float(m["cy"]) for m in drawn(svg, "circle", "mark")]
    bars = [(float(b["y1"]) + 6, float(b["y2"]) - 6) for b in drawn(svg, "line", "joined")]
    assert bars == [(rows[0], rows[2]), (rows[1], rows[3])]
    critical = next(b for b in drawn(svg, "line", "whisker") if b["y1"] == b["y2"])
    length = (float(critical["x2"]) - float(critical["x1"])) / (x[1] - x[0])
    assert length == pytest.approx(ranking.critical_difference, abs=0.01)
    assert "Not told apart: mean to a very long name" in svg and "<b>" not in svg
    width = float(ElementTree.fromstring(svg).attrib["viewBox"].split()[2])
    assert max(float(b["x1"]) for b in drawn(svg, "line", "joined")) < width
