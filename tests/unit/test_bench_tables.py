from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.errors import ConfigError, UnknownNameError
from oncoweave.data.store import write_cohort
from oncoweave.evaluate.compare import benjamini_hochberg, holm
from oncoweave.evaluate.versus import Versus
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.serve.bench import quality
from oncoweave.serve.bench.cost import sizes_section
from oncoweave.serve.bench.phantom import slide_encoders
from oncoweave.serve.bench.published import published_section
from oncoweave.serve.bench.quality import gains_section, quality_section
from oncoweave.serve.bench.results import Results
from oncoweave.train.bench.collect import corrected, duels_between, independent, joined, ranking_of, with_ranks
from oncoweave.train.bench.panel import bench_study, grid
from oncoweave.train.bench.spec import Aggregator, Bench, check_bench, entries, read_bench
from oncoweave.train.bench.tiles import AS_MANY, NOT_KNOWN, OTHER_TILES
from oncoweave.train.finetune import start_settings
from oncoweave.train.study import ModelSpec
from oncoweave.train.task import load_task

KINDS = {"he": "slide", "notes": "report", "clinical": "record"}


def bench(**changed) -> Bench:
    return Bench(**({"name": "b", "tasks": {"tcga_survival": "cohort"}} | changed))


def test_the_grid_is_every_encoder_alone_and_every_fusion_with_every_choice():
    tried = grid(
        bench(aggregators=("pool/mean", "abmil"), encoders={"report": ("bert/tiny",)}, fusions=("concat", "gated")), KINDS
    )
    assert [m.name for m in tried] == ["pool-mean", "abmil", "bert-tiny", "concat", "gated+pool-mean", "gated+abmil"]
    of = {m.name: m for m in tried}
    assert of["abmil"].modalities == ("he",)
    assert of["concat"].encoders == {}
    assert of["gated+abmil"].encoders == {"slide": "abmil", "report": "bert/tiny"}
    assert of["gated+abmil"].modalities == tuple(KINDS)


def test_one_encoder_a_kind_leaves_a_fusion_its_name_over_tasks_with_and_without_slides():
    asked = bench(aggregators=("abmil",), fusions=("gated",))
    assert [m.name for m in grid(asked, KINDS)] == ["abmil", "gated"]
    assert [m.name for m in grid(asked, {"clinical": "record", "rna": "expression"})] == ["gated"]
    assert [m.name for m in grid(asked, {"he": "slide"})] == ["abmil"]


def test_two_modalities_of_a_kind_are_told_apart():
    asked = bench(encoders={"embedding": ("pool/mean",)})
    names = [m.name for m in grid(asked, {"he": "embedding", "cd3": "embedding"})]
    assert names == ["pool-mean-he", "pool-mean-cd3"]


def test_a_slide_encoder_is_frozen_tuned_or_random():
    asked = bench(
        aggregators=(
            Aggregator(name="frozen", encoder="longnet/tiny", weights="w.safetensors", frozen=True),
            Aggregator(name="tuned", encoder="longnet/tiny", weights="w.safetensors"),
            Aggregator(name="random", encoder="longnet/tiny"),
        )
    )
    of = {m.name: m for m in grid(asked, {"he": "slide"})}
    assert (of["frozen"].weights, of["frozen"].frozen) == ({"slide": "w.safetensors"}, ("slide",))
    assert (of["tuned"].weights, of["tuned"].frozen) == ({"slide": "w.safetensors"}, ())
    assert (of["random"].weights, of["random"].frozen) == ({}, ())


def test_a_frozen_tuned_and_random_slide_encoder_are_one_network():
    tried = {a.name: a.start for a in slide_encoders() if not isinstance(a, str)}
    of = {m.name: m for m in grid(bench(aggregators=slide_encoders()), {"he": "slide"})}
    assert {"pool-mean", "pool-max", "abmil-tiny", "abmil", "agata-tiny"} <= of.keys()
    assert [tried[f"longnet-{how}"] for how in ("frozen", "tuned", "random")] == ["frozen", "tuned", "random"]
    assert (of["longnet-frozen"].frozen, of["longnet-tuned"].frozen) == (("slide",), ())
    weights = Path(of["longnet-tuned"].weights["slide"])
    assert of["longnet-frozen"].weights == {"slide": str(weights)}
    assert of["longnet-random"].weights == {}
    assert of["longnet-random"].encoder_settings == {"slide": start_settings(weights, "longnet/tiny")}
    check_bench(bench(aggregators=slide_encoders()))


def test_a_task_that_nothing_of_the_bench_fits_keeps_its_models_and_the_one_it_is_about(tmp_path):
    drawn, _, _ = draw_cohort(
        Config(patients=24, seed=3, sites=3, missing=0.0, without=("slide", "volume", "film", "expression", "variants"))
    )
    write_cohort(drawn, tmp_path / "cohort")
    task, asked = load_task("report_cancer_type"), {"report_cancer_type": str(tmp_path / "cohort")}
    for given, names, main in (
        (bench(tasks=asked, fusions=("stacking",), main=("stacking", "abmil")), [m.name for m in task.models], task.main),
        (bench(tasks=asked, encoders={"report": ("bag_of_words",)}, main=("bag_of_words",)), ["bag_of_words"], "bag_of_words"),
    ):
        study = bench_study(given, entries(given)[0], task, tmp_path / "cohort", splits=None)
        assert [m.name for m in study.models] == names
        assert study.main == main
    mistaken = bench(tasks=asked, encoders={"report": ("bag_of_words",)}, main=("stacking",))
    with pytest.raises(
        UnknownNameError, match="no model \\(main\\) of task 'report_cancer_type' named 'stacking'; known: bag_of_words"
    ):
        bench_study(mistaken, entries(mistaken)[0], task, tmp_path / "cohort", splits=None)


def test_encoders_that_a_fusion_names_are_not_tried_in_turn():
    fusion = ModelSpec(name="gated", fusion="gated", encoders={"slide": "abmil", "film": "film_vit/tiny"})
    tried = grid(bench(aggregators=("pool/mean", "pool/max"), encoders={"report": ("bert/tiny",)}, fusions=(fusion,)), KINDS)
    assert [m.name for m in tried] == ["pool-mean", "pool-max", "bert-tiny", "gated"]
    assert tried[-1].encoders == {"slide": "abmil", "report": "bert/tiny"}


@pytest.mark.parametrize(
    ("aggregator", "message"),
    [
        (Aggregator(name="a", encoder="longnet/tiny", settings={"dimm": 8}), "did you mean 'dim'"),
        (Aggregator(name="a", encoder="longnet/tiny", settings={"dim": 9}), "'a': settings of encoder .* does not divide"),
        (Aggregator(name="a", encoder="abmil", weights="builtin"), "no built-in weights for abmil .*longnet/tiny"),
        (Aggregator(name="a", encoder="longnet/tiny", weights="w.safetensors"), "w.safetensors are no file"),
    ],
)
def test_settings_and_weights_that_cannot_be_are_refused_before_anything_runs(aggregator, message):
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        check_bench(bench(aggregators=(aggregator,)))


def results(scores: pd.DataFrame, duels: pd.DataFrame | None = None) -> Results:
    return Results(
        bench=bench(), asked=(), scores=scores, duels=pd.DataFrame(columns=["task", "question"]) if duels is None else duels,
        groups=pd.DataFrame(), curves=pd.DataFrame(), audits=pd.DataFrame(), failures={}, pages={}, seconds=1.0,
    )  # fmt: skip


def test_sizes_are_drawn_of_networks_that_start_alike():
    rows = pd.DataFrame(
        [
            ("small", "longnet/tiny", "random", 10.0),
            ("large", "longnet/tiny", "random", 40.0),
            ("held", "longnet/tiny", "frozen", 40.0),
            ("abmil", "abmil", "random", 20.0),
        ],
        columns=["name", "encoder", "start", "parameters"],
    ).assign(task="one", same_as="", metric="auroc", value=0.7, low=0.6, high=0.8)
    shown = sizes_section(results(rows)).blocks[0].svg
    assert "small: 0.70" in shown and "large: 0.70" in shown
    assert "held: 0.70" not in shown and "abmil: 0.70" not in shown
    alike = rows[rows["start"] == "frozen"]
    assert "in two sizes" in sizes_section(results(alike)).blocks[0].text


def test_places_are_taken_from_the_file_and_told_apart(tmp_path):
    (tmp_path / "b.yaml").write_text(
        "name: b\n"
        "tasks:\n"
        "  tcga_survival: [luad, ../brca]\n"
        "  pancancer_survival@other: {cohort: luad, splits: s.parquet}\n"
        "  crc_tiles: tiles/crc\n",
        encoding="utf-8",
    )
    found = {e.key: e.place for e in entries(read_bench(tmp_path / "b.yaml"))}
    assert list(found) == ["tcga_survival@luad", "tcga_survival@brca", "pancancer_survival@other", "crc_tiles"]
    assert found["tcga_survival@brca"].cohort == str(tmp_path.parent / "brca")
    assert found["pancancer_survival@other"].splits == str(tmp_path / "s.parquet")
    assert found["crc_tiles"].tiles == str(tmp_path / "tiles" / "crc")
    assert found["crc_tiles"].cohort is None


def scores(values: dict[str, dict[str, float]], **changed) -> pd.DataFrame:
    rows = [
        {"task": task, "name": name, "model": name, "role": "fusion", "value": value, "higher_is_better": True, "same_as": ""}
        for task, models in values.items()
        for name, value in models.items()
    ]
    return pd.DataFrame(rows).assign(**{"stratum": "", "all_pairs": np.nan, "n": 50} | changed)


def test_figures_of_fewer_patients_are_not_ranked_and_rival_where_both_are_known():
    """``few`` is ahead of all on the patients it has, where the main model is ahead of it."""
    roles = {"main": "fusion", "other": "fusion", "simple": "single", "weaker": "single", "few": "single"}
    given = scores({"one": {"main": 0.7, "other": 0.6, "simple": 0.65, "weaker": 0.5, "few": 0.9}}, metric="auroc")
    given = given.assign(
        role=given["name"].map(roles), main=given["name"] == "main", n=np.where(given["name"] == "few", 20, 50), low=0.1, high=0.9
    )
    gains = {"simple": 0.05, "few": 0.01, "other": 0.1}

    def fight(first: str, second: str) -> Versus:
        told = {"difference": gains[second], "low": 0.0, "high": 1.0, "p": 0.5, "p_folds": 0.5, "detectable": 0.1, "events": 5}
        return Versus(**told, n=20 if second == "few" else 50, note="")

    duels = duels_between(given, fight).set_index("question")
    assert duels["second"].to_dict() == {"main": "few", "best": "simple"}
    assert duels["n"].to_dict() == {"main": 20, "best": 50}
    gains["few"] = 0.06
    assert duels_between(given, fight).set_index("question").loc["main", "second"] == "simple"
    ranks = with_ranks(given, corrected(duels.reset_index())).set_index("name")["rank"]
    assert ranks.dropna().to_dict() == {"main": 1.0, "simple": 2.0, "other": 3.0, "weaker": 4.0}
    assert set(independent(given)["name"]) == set(roles) - {"few"}
    table = quality._matrix(with_ranks(given.assign(level="patients", events=9), corrected(duels.reset_index())), ["one"])
    written = {row.cells[0]: row.cells[1] for row in table.rows}
    assert written["few"].endswith("0.100 to 0.900; of 20")
    assert "of" not in written["simple"]
    assert table.rows[-1].cells[0] == "few"


def test_ranks_are_over_the_models_that_tasks_share():
    given = scores(
        {
            "one": {"a": 0.9, "b": 0.8, "c": 0.7},
            "two": {"a": 0.8, "b": 0.7, "c": 0.75},
            "three": {"a": 0.6, "b": 0.5, "d": 0.4},
        }
    )
    ranking, left_out = ranking_of(given)
    assert set(ranking.models) == {"a", "b", "c"}
    assert left_out == ("three",)
    assert dict(zip(ranking.models, ranking.mean_ranks, strict=True)) == {"a": 1.0, "b": 2.5, "c": 2.5}
    assert ranking_of(given[given["task"] == "one"])[0] is None


def test_models_as_often_held_on_other_tasks_do_not_cost_ranks_their_tasks():
    slides = {f"slide {i}": {"a": 0.9, "b": 0.8, "c": 0.7} for i in range(5)}
    reports = {f"report {i}": {"r": 0.9, "s": 0.8} for i in range(4)}
    given = scores({**slides, **reports, "both": {"a": 0.9, "b": 0.8, "c": 0.7, "r": 0.6, "s": 0.5}})
    ranking, left_out = ranking_of(given)
    assert set(ranking.models) == {"a", "b", "c"} and ranking.tasks == 6
    assert left_out == tuple(sorted(reports))


@pytest.mark.parametrize("count", [1, 4, 5, 9, 17])
def test_tasks_are_dealt_evenly_to_tables_of_four_at_most_and_nulls_stand_in_one_row(count):
    given = scores({f"task {i}": {"a": 0.9, "permuted_a": 0.4, "permuted_a_2": 0.6} for i in range(count)}, level="patients")
    role = np.where(given["name"] == "a", "fusion", "null")
    given = given.assign(role=role, low=0.3, high=0.95, rank=1.0, main=False, best_differs=False, metric="auroc", n=9, events=4)
    tables = [b for b in quality_section(results(given)).blocks if b.kind == "table"]
    widths = [len(table.header) - 1 for table in tables]
    assert sum(widths) == count and max(widths) <= 4 and max(widths) - min(widths) <= 1
    names = [row.cells[0] for row in tables[0].rows]
    assert names == ["Metric", "Patients (events)", "a", "main model, outcomes permuted"]
    assert tables[0].rows[-1].cells[1] == "0.500\n0.400 to 0.600 in 2 runs" and tables[0].rows[-1].faint


def test_a_metric_that_falls_is_turned_round_and_repeats_count_once():
    given = scores({"one": {"a": 1.0, "b": 2.0}, "two": {"a": 1.0, "b": 2.0}, "again": {"a": 9.0, "b": 1.0}})
    given = given.assign(higher_is_better=False, same_as=np.where(given["task"] == "again", "one", ""))
    ranking, _ = ranking_of(given)
    assert ranking.models == ("a", "b")
    assert ranking.tasks == 2


def test_p_values_are_corrected_within_each_question_across_tasks():
    p = [0.01, 0.03, 0.04]
    main = pd.DataFrame({"task": ["one", "two", "three"], "question": "main", "p": p, "low": [0.01, 0.02, -0.01], "high": 0.1})
    best = main.assign(question="best", p=[0.5, 0.6, 0.7])
    found = corrected(pd.concat([main, best], ignore_index=True))
    assert found["p_adjusted"].tolist()[:3] == pytest.approx(holm(np.array(p)).tolist())
    assert found["q"].tolist() == pytest.approx([*benjamini_hochberg(np.array(p)), *benjamini_hochberg(best["p"].to_numpy())])
    assert found["differs"].tolist() == [True, False, False, False, False, False]


def test_gains_over_tasks_of_one_measure_are_tested_together():
    gains = [0.05, 0.02, 0.03, 0.04, 0.01, 0.06]
    duels = pd.DataFrame({"task": list("abcdef"), "difference": gains, "metric": "auroc", "question": "main", "note": ""})
    duels = duels.assign(low=-0.1, high=0.2, p=0.2, p_adjusted=0.5, q=0.3, p_folds=0.4, detectable=0.08, differs=False, n=50)
    duels = duels.assign(first="fused", second="only_record")
    rows = scores({task: {"fused": 0.8} for task in "abcdef"}, level="patients")
    said = [block.text for block in gains_section(results(rows, duels)).blocks if block.kind == "prose"]
    assert said[0].startswith(
        "Wilcoxon’s signed-rank test of the gains, a task counted once: over the 6 tasks measured by AUROC p = 0.031"
    )
    table = next(block for block in gains_section(results(rows, duels)).blocks if block.kind == "table")
    assert table.rows[0].cells[table.header.index("q")] == "0.30"
    assert "q by Benjamini and Hochberg across tasks" in table.caption
    fewer = results(rows, duels.iloc[:5])
    assert not [block for block in gains_section(fewer).blocks if block.kind == "prose"]


def test_tables_are_joined_whatever_columns_are_empty_in_some():
    one = pd.DataFrame({"task": ["a"], "seconds": [1.5], "note": [None]})
    other = pd.DataFrame({"task": ["b"], "seconds": [np.nan], "note": ["x"]})
    found = joined([one, pd.DataFrame(), other], ["task", "note", "seconds"])  # warnings are errors here
    assert found.columns.tolist() == ["task", "note", "seconds"] and found["seconds"].dtype == float
    assert joined([], ["task"]).columns.tolist() == ["task"]


def test_published_figures_of_tiles_stand_beside_ours_and_alike_rows_are_one():
    given = scores({"luad_lusc_tiles": {"vit": 0.8}, "pcam_tiles": {"vit": 0.7}}, main=True, rank=1.0, low=0.6, high=0.9)
    given = given.assign(level="tiles", metric="balanced accuracy", stand_in=given["task"] == "pcam_tiles", sides=AS_MANY)
    table = published_section(results(given)).blocks[0]
    floor = next(row.cells for row in table.rows if row.cells[0] == "luad lusc tiles")
    assert floor[1].startswith("colour and LBP, random forest\nsimple floor")
    assert floor[3:] == ("yes\nas many as released", "0.717\nbalanced accuracy", "0.800 (0.600 to 0.900)")
    for sides in (OTHER_TILES, NOT_KNOWN):
        changed = published_section(results(given.assign(sides=sides))).blocks[0]
        assert [r.cells[3] for r in changed.rows if r.cells[0] == "luad lusc tiles"] == [f"context\n{sides}"]
    pcam = [row for row in table.rows if row.cells[0] == "pcam tiles"]
    assert pcam and all(row.cells[3] == "no\nstand-in" and row.faint for row in pcam)
    twice = pd.concat([given, given[given["task"] == "luad_lusc_tiles"].assign(task="luad_lusc_tiles@again")])
    assert "luad lusc tiles and luad lusc tiles (again)" in [
        row.cells[0] for row in published_section(results(twice)).blocks[0].rows
    ]


def test_the_best_is_marked_only_where_it_differs_from_the_next():
    given = scores({"one": {"a": 0.9, "b": 0.8}, "two": {"a": 0.7, "b": 0.8}})
    duels = pd.DataFrame({"task": ["one", "two"], "question": "best", "differs": [True, False]})
    found = with_ranks(given, duels)
    assert found.loc[found["best_differs"], ["task", "name"]].to_numpy().tolist() == [["one", "a"]]
    assert found["rank"].tolist() == [1, 2, 2, 1]
