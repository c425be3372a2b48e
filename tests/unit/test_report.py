"""The report: one page from a run folder, honest about what the tables say and about what is not there."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from report_plan import ENDPOINTS, Plan
from report_runs import write_run
from typer.testing import CliRunner

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.serve import findings
from oncoweave.serve.page import Figure
from oncoweave.serve.report import page_of, write_report
from oncoweave.serve.run_folder import read_run
from oncoweave.serve.sections.cohort import flow_stages
from oncoweave.serve.sections.methods import gather_hashes

VOID = {"meta", "link", "br", "wbr", "img", "hr"}
TABLES = ("metrics", "comparisons", "groups", "calibration", "km", "km_summary", "contributions", "missingness", "decision")


KEYS = ["flow", "missingness", "performance", "comparisons", "km", "calibration", "acting", "certainty", "contributions"]
KEYS += ["groups", "measures", "audits", "methods", "limits", "provenance"]


class Outline(HTMLParser):
    """Checks that elements nest, and collects links, ids and the text of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in named:
            self.ids.append(named["id"])
        if tag == "a":
            self.links.append(named["href"])
        self.addresses += [named[k] for k in ("src", "href", "srcset", "action", "data") if k in named]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text += data


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    assert not parser.open
    return parser


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run folder of each kind of endpoint, with its page."""
    root = tmp_path_factory.mktemp("runs")
    made = {kind: write_run(root / kind, Plan(kind=kind, num=120, num_sites=4)) for kind in ENDPOINTS}
    return {kind: (folder, write_report(folder).read_text(encoding="utf-8")) for kind, folder in made.items()}


@pytest.mark.parametrize("kind", ENDPOINTS)
def test_the_page_is_whole_and_asks_nothing_of_the_network(runs, kind):
    _, html = runs[kind]
    page = outline(html)
    assert len(page.ids) == len(set(page.ids))
    assert all(link[0] == "#" and link[1:] in page.ids for link in page.links)
    assert [a for a in page.addresses if not a.startswith(("#", "data:"))] == []
    assert not re.search(r"<script|@import|url\(|https?://", html)
    assert len(html.encode()) < 2_000_000
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|<NA>", page.text)


@pytest.mark.parametrize("kind", ENDPOINTS)
def test_every_chart_is_xml_with_a_title_and_a_description(runs, kind):
    charts = re.findall(r"<svg.*?</svg>", runs[kind][1], flags=re.DOTALL)
    assert len(charts) >= 6
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.attrib["role"] == "img"
        ids = {e.attrib["id"]: e.text for e in root if e.tag in ("title", "desc")}
        assert ids[root.attrib["aria-labelledby"]]
        assert ids[root.attrib["aria-describedby"]]


@pytest.mark.parametrize("kind", ENDPOINTS)
def test_no_patient_identifier_is_on_the_page_and_sites_are(runs, kind):
    folder, html = runs[kind]
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert [p for p in predictions["patient_id"].unique() if p in html] == []
    assert all(site in html for site in predictions["site"].unique())
    assert "[patient]" in html  # a warning and a reason named one


@pytest.mark.parametrize("table", [*TABLES, "flow"])
def test_a_section_whose_table_is_absent_says_why(runs, table):
    run = replace(read_run(runs["survival"][0]), **{table: None})
    sections = page_of(run).sections
    assert [s.key for s in sections] == KEYS
    said = "holds no log-rank test" if table == "km_summary" else f"has no {table}."
    told = [block.text if block.kind == "prose" else getattr(block, "svg", "") for s in sections for block in s.blocks]
    assert any(said in text for text in told)


def test_without_any_result_table_there_is_still_a_page(tmp_path, runs):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("manifest.json", "predictions.parquet"):
        (folder / name).write_bytes((runs["survival"][0] / name).read_bytes())
    html = write_report(folder).read_text(encoding="utf-8")
    assert "No verdict can be given" in html
    assert html.count('class="absent"') >= 8


@pytest.mark.parametrize("kind", sorted(set(ENDPOINTS) - {"survival"}))
def test_risk_groups_of_other_endpoints_are_explained(runs, kind):
    assert "Kaplan-Meier curves need a survival endpoint" in runs[kind][1]


@pytest.mark.parametrize("name", ["manifest.json", "predictions.parquet"])
def test_what_is_missing_is_named_with_the_command_that_makes_it(tmp_path, runs, name):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in runs["binary"][0].iterdir():
        if path.name != name:
            (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=rf"no {name} .*oncoweave run study.yaml --out .*run"):
        write_report(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: wanted a run folder, found nothing; .*oncoweave run"):
        write_report(tmp_path / "nowhere")


def test_a_missing_column_and_a_missing_key_are_named(tmp_path):
    folder = write_run(tmp_path / "run", Plan(num=40))
    pd.read_parquet(folder / "metrics.parquet").drop(columns="low").to_parquet(folder / "metrics.parquet")
    with pytest.raises(DataError, match=r"metrics.parquet: column\(s\) \['low'\] are missing"):
        write_report(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["main_model"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"manifest.json: key\(s\) \['main_model'\] are missing"):
        write_report(folder)
    (folder / "manifest.json").write_text('{"name":')
    with pytest.raises(DataError, match=r"manifest.json: not JSON .*oncoweave run"):
        write_report(folder)


def test_the_command_rebuilds_the_page(tmp_path):
    from typer import Typer

    from oncoweave.cli.report import add_to

    app = Typer()
    add_to(app)
    folder = write_run(tmp_path / "run", Plan(num=40))
    result = CliRunner().invoke(app, [str(folder)])
    assert result.exit_code == 0, result.output
    assert "report.html" in result.output
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize("samples", [100, 10_000])
def test_small_p_values_are_said_to_be_normal_and_no_bound_is_claimed(tmp_path, samples):
    folder = write_run(tmp_path / "run", Plan(num=40))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["study"]["protocol"]["bootstrap"] = samples
    (folder / "manifest.json").write_text(json.dumps(manifest))
    section = next(s for s in page_of(read_run(folder)).sections if s.key == "comparisons")
    assert all(block.kind == "table" for block in section.blocks)
    assert "Where fewer than 10 of the 10" in section.blocks[0].caption
    assert "p is that of a normal difference" in section.blocks[0].caption


def test_one_hospital_that_is_not_recorded_is_told(tmp_path):
    folder = write_run(tmp_path / "run", Plan(num=40))
    groups = pd.read_parquet(folder / "groups.parquet")
    one = groups[groups["grouping"] == "site"].groupby("model").head(1).assign(group="unknown", n=40)
    pd.concat([one, groups[groups["grouping"] == "pattern"]]).to_parquet(folder / "groups.parquet")
    predictions = pd.read_parquet(folder / "predictions.parquet").assign(site="unknown")
    predictions.to_parquet(folder / "predictions.parquet")
    page = page_of(read_run(folder))
    section = next(s for s in page.sections if s.key == "groups")
    assert section.blocks[0].text.startswith("The patients’ hospital is not recorded")
    assert "Hospitals" not in dict(page.facts)


def test_age_groups_stand_in_the_order_of_age(tmp_path):
    folder = write_run(tmp_path / "run", Plan(num=40))
    groups = pd.read_parquet(folder / "groups.parquet")
    one = groups[groups["grouping"] == "site"].groupby("model").head(1).assign(grouping="age group")
    sizes = {"65 to 74": 90, "unknown": 80, "below 50": 10, "75 and older": 60, "50 to 64": 50}
    aged = [one.assign(group=name, n=size, events=size // 2) for name, size in sizes.items()]
    pd.concat([groups, *aged]).to_parquet(folder / "groups.parquet")
    section = next(s for s in page_of(read_run(folder)).sections if s.key == "groups")
    table = next(b for b in section.blocks if b.kind == "table" and b.header[0] == "Age")
    order = ["below 50", "50 to 64", "65 to 74", "75 and older", "unknown"]
    assert [row.cells[0].removesuffix(" †") for row in table.rows] == order


def test_small_groups_are_greyed_and_marked(runs):
    section = next(s for s in page_of(read_run(runs["survival"][0])).sections if s.key == "groups")
    rows = [row for block in section.blocks if block.kind == "table" for row in block.rows]
    assert any(row.faint for row in rows)
    assert all(row.cells[0].endswith("†") == row.faint for row in rows)
    for row in rows:
        assert row.faint == (int(row.cells[1]) < findings.SMALL_N or int(row.cells[2]) < findings.SMALL_EVENTS)


def test_the_forest_has_every_model_once_and_the_null_last(runs):
    folder, _ = runs["survival"]
    section = next(s for s in page_of(read_run(folder)).sections if s.key == "performance")
    figure = section.blocks[0]
    assert isinstance(figure, Figure)
    labels = re.findall(r'class="label[^"]*">([^<]*)<', figure.svg)
    models = pd.read_parquet(folder / "metrics.parquet")["model"].unique()
    assert len(labels) == len(models)
    assert labels[-1] == "stacking, outcomes permuted"
    assert labels[:2] == ["clinical only", "hospital only"]


def test_excluded_steps_become_exits_and_the_rest_stages():
    flow = (
        {"step": "in the cohort", "patients": 10, "events": 5, "reason": ""},
        {"step": "excluded", "patients": 2, "events": 1, "reason": "no outcome"},
        {"step": "excluded", "patients": 1, "events": None, "reason": ""},
        {"step": "analysed", "patients": 7, "events": 4, "reason": ""},
    )
    first, last = flow_stages(flow, str.upper)
    assert (first.patients, first.exits) == (10, ())
    assert [(e.patients, e.events, e.reason) for e in last.exits] == [(2, 1, "NO OUTCOME"), (1, None, "no reason recorded")]


def test_many_files_of_a_folder_become_one_hash_that_any_change_changes():
    hashes = {"a.csv": "1", **{f"bags/p{i}.h5": str(i) for i in range(30)}}
    lines = gather_hashes(hashes)
    assert lines[0] == ("a.csv", "1")
    assert lines[1][0] == "bags/ (30 files, hash of their list)"
    assert gather_hashes({**hashes, "bags/p3.h5": "x"})[1][1] != lines[1][1]
    assert not any("p3" in name for name, _ in lines)


@pytest.mark.parametrize("num", [20, 400])
def test_the_smallest_and_the_largest_study_make_a_page(tmp_path, num):
    wide = tuple(f"modality_with_a_long_name_{i}" for i in range(13))
    plan = Plan(num=20, num_patterns=3, num_sites=2, modalities=("clinical", "rna"), fusions=("stacking",))
    if num > 20:
        fusions = (*(f"perceiver_cross_attention_multimodal_transformer_{i}" for i in range(28)), "stacking")
        plan = Plan(num=num, modalities=wide, num_patterns=30, num_sites=40, fusions=fusions)
    html = write_report(write_run(tmp_path / "run", plan)).read_text(encoding="utf-8")
    outline(html)
    assert len(html.encode()) < 2_000_000
    assert ("rarer combinations are pooled" in html) == (num > 20)


def real_predictions(kind: str, rng: np.random.Generator) -> tuple[Endpoint, pd.DataFrame]:
    declared = ENDPOINTS[kind]
    endpoint = Endpoint(kind=kind, **{k: tuple(v) if isinstance(v, list) else v for k, v in declared.items()})
    n, truth = 60, rng.normal(size=60)
    base = pd.DataFrame({"patient_id": [f"ID{i:04d}q" for i in range(n)], "site": np.repeat(["A", "B"], n // 2), "repeat": 0})
    base = base.assign(fold=np.arange(n) % 3, pattern=np.where(np.arange(n) % 4 == 0, "clinical", "clinical+rna"))
    time, event, y = rng.exponential(30 * np.exp(-truth)), rng.random(n) < 0.7, rng.integers(0, 3, size=n)
    frames = []
    for model in ("only_clinical", "stacking", "permuted_stacking"):
        score = truth * (model != "permuted_stacking") + rng.normal(size=n)
        p = 1 / (1 + np.exp(-score))
        shares = rng.dirichlet(np.ones(3), size=n)
        columns = {
            "survival": {
                "time": time,
                "event": event,
                "risk": score,
                "high_risk": score > 0,
                "survival@12": 1 - p,
                "survival@36": (1 - p) ** 2,
            },
            "binary": {"y": (truth > 0).astype(int), "p": p},
            "multilabel": {f"{k}@{c}": (truth > 0).astype(float) if k == "y" else p for k in "yp" for c in endpoint.classes},
            "regression": {"y": truth, "yhat": score},
        }.get(kind) or {"y": np.array(endpoint.classes)[y], **{f"p@{c}": shares[:, i] for i, c in enumerate(endpoint.classes)}}
        frames.append(base.assign(model=model, **columns))
    return endpoint, pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("kind", ENDPOINTS)
def test_tables_of_the_evaluation_are_read_as_they_are_written(tmp_path, kind, rng):
    from oncoweave.evaluate.summary import SummaryOptions, summarise

    endpoint, predictions = real_predictions(kind, rng)
    folder = write_run(tmp_path / "run", Plan(kind=kind, num=60, modalities=("clinical", "rna"), fusions=("stacking",)))
    predictions.to_parquet(folder / "predictions.parquet")
    roles = {"only_clinical": "baseline", "stacking": "fusion", "permuted_stacking": "null"}
    options = SummaryOptions(references=("only_clinical",), replicates=20)
    for name, table in summarise(predictions, endpoint, roles=roles, generator=rng, options=options).tables().items():
        table.to_parquet(folder / f"{name}.parquet")
    page = outline(write_report(folder).read_text(encoding="utf-8"))
    assert "distinguishable from the baseline" in page.text or "than the baseline" in page.text
    assert not re.search(r"\bnan\b|<NA>|ID0\d\d\dq", page.text)
