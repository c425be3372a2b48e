"""The demonstration, small: slides are drawn, embedded, fused with tables and reported, and what is finished is kept."""

import pandas as pd
import pytest

from oncoweave.phantom.biology import Config
from oncoweave.serve import demo


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(
        demo, "DEMO", Config(patients=30, seed=2, sites=3, slide_px=640, missing=0.3, without=("volume", "film", "report"))
    )
    protocol = {"folds": 2, "repeats": 1, "inner_folds": 2, "bootstrap": 100, "group_by_site": False}
    models = [{"name": "stacking", "fusion": "stacking"}]
    monkeypatch.setattr(demo, "STUDY", demo.STUDY | {"protocol": protocol, "models": models})


def test_demo_ends_in_a_report_and_a_second_call_changes_nothing(small, tmp_path):
    page = demo.run_demo(tmp_path)
    assert page == tmp_path / "run" / "report.html"
    assert "only_slide" in set(pd.read_parquet(tmp_path / "run" / "predictions.parquet")["model"])
    made = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.h5")}
    parts = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "parts").glob("*")}
    assert made
    assert demo.run_demo(tmp_path) == page
    assert parts == {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "parts").glob("*")}
