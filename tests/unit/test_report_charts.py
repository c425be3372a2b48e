"""Charts of the report: marks stand where their values say, and no text leaves the drawing or covers another."""

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from report_tables import kaplan_meier

from oncoweave.serve.charts import draw
from oncoweave.serve.charts.bars import Contribution, contribution_bars
from oncoweave.serve.charts.calibration import Square, calibration_plot
from oncoweave.serve.charts.flow import Exit, Stage, flow_chart
from oncoweave.serve.charts.forest import Estimate, Guide, axis_range, forest_plot
from oncoweave.serve.charts.km import Curve, Panel, km_plot
from oncoweave.serve.charts.missingness import Pattern, missingness_chart

LONG = "perceiver_cross_attention_multimodal_transformer_large_with_imputation_indicator"


def marks(svg: str, tag: str, class_: str) -> list[dict[str, str]]:
    """Attributes of all elements of a tag that carry a class."""
    return [e.attrib for e in ElementTree.fromstring(svg).iter(tag) if class_ in e.attrib.get("class", "").split()]


def boxes(svg: str) -> list[tuple[float, float, float, float, str]]:
    """Bounding boxes of upright text, by the widths that the charts reckon with."""
    found = []
    for e in ElementTree.fromstring(svg).iter("text"):
        if "transform" in e.attrib:
            continue
        classes = e.attrib.get("class", "").split()
        size = draw.SMALL if {"tick", "note", "guide-label", "head", "end-label", "risk-label"} & set(classes) else draw.TEXT
        content = "".join(t for t in [e.text or "", *(c.tail or "" for c in e)])
        width = draw.text_width(content, size, bold="strong" in classes) / 1.06
        x, y = float(e.attrib["x"]), float(e.attrib["y"])
        left = x - {"start": 0.0, "middle": width / 2, "end": width}[e.attrib.get("text-anchor", "start")]
        found.append((left, y - 0.72 * size, left + width, y, content))
    return found


def assert_readable(svg: str) -> None:
    """No text outside the drawing, none over another."""
    _, _, width, height = (float(v) for v in ElementTree.fromstring(svg).attrib["viewBox"].split())
    placed = boxes(svg)
    assert placed
    for left, top, right, bottom, content in placed:
        assert left >= -1 and right <= width + 1 and top >= 0 and bottom <= height, (content, left, right, width)
    for i, one in enumerate(placed):
        for other in placed[i + 1 :]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, (one, other)


def test_a_scale_is_straight_and_holds_values_inside():
    scale = draw.Scale(low=-1, high=3, start=100, end=20)
    assert [scale(v) for v in (-1, 1, 3)] == [100, 60, 20]
    assert scale(9) == 20
    assert scale.clipped(9)
    assert not scale.clipped(3)


@pytest.mark.parametrize(
    ("low", "high", "unit", "wanted"),
    [
        (0, 1, None, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.43, 0.71, None, [0.45, 0.5, 0.55, 0.6, 0.65, 0.7]),
        (0, 130, "months", [0, 24, 48, 72, 96, 120]),
        (0, 2000, "days", [0, 365, 730, 1095, 1460, 1825]),
        (0, 4980, "days", [0, 1095, 2190, 3285, 4380]),
        (0, 6, "years", [0, 1, 2, 3, 4, 5, 6]),
        (-0.02, 0.02, None, [-0.02, -0.01, 0, 0.01, 0.02]),
        (5, 5, None, [5]),
    ],
)
def test_ticks_are_round_and_those_of_the_calendar(low, high, unit, wanted):
    assert draw.ticks(low, high, unit=unit) == pytest.approx(wanted)


def test_tick_labels_share_their_decimals_and_have_true_minus_signs():
    assert draw.tick_labels([-0.5, 0, 0.25]) == ["−0.50", "0.00", "0.25"]
    assert draw.tick_labels([0, 1500]) == ["0", "1\u202f500"]


@pytest.mark.parametrize("width", [60.0, 120.0, 300.0])
@pytest.mark.parametrize("content", [LONG, "clinical + blood + pathology + rna", "x", "Donaudampfschifffahrtsgesellschaft"])
def test_wrapped_text_fits_and_loses_nothing_but_what_the_ellipsis_says(content, width):
    lines = draw.wrap(content, width, max_lines=3)
    assert len(lines) <= 3
    assert all(draw.text_width(found) <= width for found in lines)
    joined, whole = "".join(lines).replace(" ", ""), content.replace(" ", "")
    assert joined == whole or (joined.endswith("…") and whole.startswith(joined[:-1].rstrip("+")))


def test_text_from_tables_is_escaped():
    svg = draw.svg(
        10, 10, [draw.text(0, 0, "<b>&", hover='"<'), draw.marker("circle", 1, 1, hover="<")], title="<", description="&"
    )
    assert [e.text for e in ElementTree.fromstring(svg).iter("title")] == ["<", '"<', "<"]


def estimates(num: int, rng: np.random.Generator, name: str = "model") -> list[Estimate]:
    values = 0.6 + 0.1 * rng.random(num)
    return [
        Estimate(label=f"{name}_{i}", value=v, low=v - 0.04, high=v + 0.05, columns=("610", "373"), strong=i == 1, faint=i == 2)
        for i, v in enumerate(values.tolist())
    ]


@pytest.mark.parametrize(("num", "name"), [(1, "m"), (3, "model"), (30, LONG)])
@pytest.mark.parametrize("near", [True, False])
def test_a_forest_plot_is_readable(rng, num, name, near):
    guides = [
        Guide(value=0.66, label="best baseline 0.660", class_="guide"),
        Guide(value=0.655 if near else 0.5, label="chance 0.50", class_="guide"),
    ]
    groups = [("Baselines", estimates(2, rng)), ("Fusion of modalities", estimates(num, rng, name))]
    assert_readable(
        forest_plot(groups, axis="C-index", headers=("C-index (95% interval)", "n", "Events"), guides=guides, title="t")
    )


def test_marks_and_whiskers_of_a_forest_stand_on_one_scale():
    rows = [Estimate(label=str(v), value=v, low=v - 0.1, high=v + 0.1) for v in (0.5, 0.6, 0.7)]
    svg = forest_plot([("", rows)], axis="a", headers=("v",), guides=[Guide(value=0.6, label="g", class_="guide")], title="t")
    centres = [float(m["cx"]) for m in marks(svg, "circle", "mark")]
    lines = [(float(m["x1"]), float(m["x2"])) for m in marks(svg, "line", "whisker") if m["y1"] == m["y2"]]
    assert centres[2] - centres[1] == pytest.approx(centres[1] - centres[0], abs=0.02)
    assert [sum(ends) / 2 for ends in lines] == pytest.approx(centres, abs=0.02)
    assert lines[0][1] == pytest.approx(centres[1], abs=0.02)
    assert float(marks(svg, "line", "guide")[0]["x1"]) == pytest.approx(centres[1], abs=0.02)


def test_what_cannot_be_estimated_has_words_in_place_of_a_mark():
    svg = forest_plot(
        [("", [Estimate(label="a", value=float("nan"), low=None, high=None)])], axis="a", headers=("v",), guides=[], title="t"
    )
    assert "not estimable" in svg
    assert not marks(svg, "circle", "mark")


def test_one_endless_interval_does_not_squeeze_the_others(rng):
    rows = [*estimates(12, rng), Estimate(label="wild", value=0.62, low=-40.0, high=0.8)]
    low, high = axis_range(rows, [])
    assert low > 0.3
    assert high < 0.9
    svg = forest_plot([("", rows[:-1])], axis="a", headers=("v", "n", "e"), guides=[], title="t")
    assert not marks(svg, "polyline", "whisker")
    svg = forest_plot([("", [replace(row, columns=()) for row in rows])], axis="a", headers=("v",), guides=[], title="t")
    assert len(marks(svg, "polyline", "whisker")) == 1  # an arrow head at the end that is not drawn
    low, _ = axis_range([*rows, Estimate(label="far", value=-30.0, low=-40.0, high=-20.0)], [])
    assert low < -40


def curve(rng: np.random.Generator, label: str, num: int, scale: float) -> tuple[pd.DataFrame, Curve]:
    followed = pd.DataFrame({"time": np.ceil(rng.exponential(scale, size=num)), "event": rng.random(num) < 0.6})
    columns = {c: kaplan_meier(followed)[c].to_numpy(dtype=float) for c in ("time", "survival", "low", "high", "at_risk")}
    return followed, Curve(label=label, **columns)


def test_numbers_at_risk_are_those_who_reach_the_time(rng):
    followed, made = curve(rng, "Low risk", 200, 40.0)
    for when in (0.0, 1.0, 12.0, 24.5, 60.0, 1000.0):
        assert made.at_risk_at(when) == int((followed["time"] >= when).sum())


def test_a_survival_curve_is_a_staircase_from_one():
    made = Curve(
        label="a",
        time=np.array([0.0, 10.0, 20.0]),
        survival=np.array([1.0, 0.5, 0.25]),
        low=np.array([1.0, 0.3, 0.1]),
        high=np.array([1.0, 0.8, np.nan]),
        at_risk=np.array([4.0, 4.0, 2.0]),
    )
    svg = km_plot([Panel(title="t", notes=("n",), curves=(made,))], unit="months", event_free="alive", title="t")
    points = [tuple(float(v) for v in p.split(",")) for p in marks(svg, "polyline", "step")[0]["points"].split()]
    xs, ys = zip(*points, strict=True)
    assert list(xs) == sorted(xs)
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(points))
    top, bottom = min(ys), max(ys)
    # 1 -> 0.25 spans three quarters of an axis whose zero lies a third of that span below
    zero = top + (bottom - top) / 0.75
    assert ys[4] == pytest.approx(top + 0.5 * (zero - top), abs=0.02)
    band = marks(svg, "polygon", "band")[0]["points"]
    assert "nan" not in band


@pytest.mark.parametrize("unit", ["days", "weeks", "months", "years"])
@pytest.mark.parametrize("num_panels", [1, 2])
def test_survival_plots_are_readable(rng, unit, num_panels):
    scale = {"days": 1500.0, "weeks": 200.0, "months": 50.0, "years": 4.0}[unit]
    note = "Hazard ratio high / low 2.41 (1.83 to 3.17); log-rank p < 0.001"
    curves = tuple(curve(rng, name, 300, scale)[1] for name in ("Low risk", "High risk"))
    panels = [Panel(title=LONG, notes=(note,), curves=curves)] * num_panels
    assert_readable(km_plot(panels, unit=unit, event_free="Proportion without event", title="t"))


def test_perfect_calibration_lies_on_the_diagonal():
    values = np.array([0.1, 0.5, 0.9])
    square = Square(
        title="m", predicted=values, observed=values, low=values - 0.1, high=values + 0.1, num=np.array([50.0, 50.0, 50.0])
    )
    svg = calibration_plot([square], predicted="p", observed="o", title="t")
    ideal = marks(svg, "line", "ideal")[0]
    slope = (float(ideal["y2"]) - float(ideal["y1"])) / (float(ideal["x2"]) - float(ideal["x1"]))
    assert slope == pytest.approx(-1, abs=0.01)
    for dot in marks(svg, "circle", "dot"):
        on_line = float(ideal["y1"]) + slope * (float(dot["cx"]) - float(ideal["x1"]))
        assert float(dot["cy"]) == pytest.approx(on_line, abs=0.05)


@pytest.mark.parametrize("num", [1, 2, 6])
def test_calibration_plots_are_readable(num):
    values = np.linspace(-3.2, 4.8, 7)
    square = Square(
        title=LONG, predicted=values, observed=values**3 / 12, low=values - 1, high=values + np.nan, num=np.full(7, 9.0)
    )
    assert_readable(calibration_plot([square] * num, predicted="Predicted", observed="Observed (mean)", title="t"))


def test_bars_are_filled_only_where_the_interval_leaves_out_zero():
    rows = [
        Contribution(modality="sure", adds=0.03, low=0.01, high=0.05, share=0.7),
        Contribution(modality="harmful", adds=-0.03, low=-0.05, high=-0.01, share=-0.1),
        Contribution(modality="unsure", adds=0.03, low=-0.01, high=0.05, share=0.4),
        Contribution(modality="unknown", adds=float("nan"), low=float("nan"), high=float("nan"), share=None),
    ]
    svg = contribution_bars(rows, axis="a", title="t")
    sure, unsure = marks(svg, "rect", "bar-sure"), marks(svg, "rect", "bar-unsure")
    assert (len(sure), len(unsure)) == (2, 1)
    assert float(sure[0]["width"]) == pytest.approx(float(sure[1]["width"]), abs=0.02)
    zero = float(sure[0]["x"])
    assert float(sure[1]["x"]) + float(sure[1]["width"]) == pytest.approx(zero, abs=0.02)
    assert "not estimable" in svg
    assert "−10%" in svg
    assert_readable(svg)


def test_a_share_a_hair_below_zero_is_written_as_zero():
    row = Contribution(modality="useless", adds=0.0, low=-0.02, high=0.02, share=-0.001)
    svg = contribution_bars([row], axis="a", title="t")
    assert "0%" in svg and "−0%" not in svg


def test_shares_beyond_the_whole_are_drawn_beyond_it():
    rows = [Contribution(modality=str(s), adds=0.0, low=-0.1, high=0.1, share=s) for s in (1.3, 0.5, -0.8)]
    svg = contribution_bars(rows, axis="a", title="t")
    widths = [float(bar["width"]) for bar in marks(svg, "rect", "bar")]
    assert widths[0] / widths[1] == pytest.approx(1.3 / 0.5, rel=0.02)
    assert widths[2] / widths[1] == pytest.approx(0.8 / 0.5, rel=0.02)
    assert_readable(svg)


@pytest.mark.parametrize(("se", "written"), [(0.0, "+0.041"), (0.012, "+0.041 ± 0.012")])
def test_without_shares_the_values_are_written(se, written):
    row = Contribution(modality="rna", adds=0.0, low=-0.1, high=0.1, share=None, shapley=0.041, shapley_se=se)
    svg = contribution_bars([row], axis="a", title="t")
    assert f">{written}<" in svg and "Shapley value" in svg and "Shapley share" not in svg


@pytest.mark.parametrize("share", [0.1, None])
def test_bars_with_long_names_are_readable(share):
    rows = [Contribution(modality=f"{LONG}_{i}", adds=0.01 * i - 0.04, low=-0.06, high=0.05, share=share) for i in range(13)]
    assert_readable(contribution_bars(rows, axis="Change in C-index when the modality is there", title="t"))


def test_dots_of_the_pattern_matrix_are_the_patterns():
    patterns = [
        Pattern(present=frozenset({"a", "b", "c"}), patients=50, events=20),
        Pattern(present=frozenset({"a", "c"}), patients=25, events=0),
        Pattern(present=frozenset(), patients=5, events=None),
        Pattern(present=None, patients=10, events=3, label="4 more"),
    ]
    svg = missingness_chart(patterns, ["a", "b", "c"], having={"a": 80, "b": 55, "c": 80}, event_name="events", title="t")
    assert (len(marks(svg, "circle", "present")), len(marks(svg, "circle", "absent"))) == (5, 4)
    assert len(marks(svg, "line", "connection")) == 2
    columns = [m for m in marks(svg, "rect", "bar") if float(m["width"]) == 30]
    heights = [float(m["height"]) for m in columns]
    assert heights == pytest.approx([heights[0], heights[0] / 2, heights[0] / 10, heights[0] / 5], abs=0.02)
    assert_readable(svg)


@pytest.mark.parametrize("num_patterns", [1, 14])
def test_a_wide_pattern_matrix_is_readable(rng, num_patterns):
    modalities = [f"{LONG[: 8 + 5 * i]}_{i}" for i in range(13)]
    patterns = [
        Pattern(present=frozenset(m for m in modalities if rng.random() < 0.5), patients=12345 // (i + 1), events=6789 // (i + 1))
        for i in range(num_patterns)
    ]
    having = {m: 12345 - i for i, m in enumerate(modalities)}
    assert_readable(missingness_chart(patterns, modalities, having=having, event_name="lymph node metastasis", title="t"))


def test_the_flow_accounts_for_everyone():
    stages = [
        Stage(name="in the cohort", patients=100, events=40),
        Stage(name="with outcome", patients=90, events=38, exits=(Exit(patients=7, events=2, reason=f"no follow-up {LONG}"),)),
        Stage(name="analysed", patients=90, events=38),
    ]
    svg = flow_chart(stages, event_name="events", title="t")
    assert "Excluded: n = 10" in svg
    assert "3 (events unknown): no reason recorded" in svg
    assert len(re.findall(r'class="box lost"', svg)) == 1
    assert_readable(svg)
