"""The page of a bench: what its tasks show together, with the figures of every model and what they cost."""

import time

import yaml

from oncoweave.serve import wording
from oncoweave.serve.bench.cost import cost_section, curves_section, sizes_section
from oncoweave.serve.bench.groups import groups_section
from oncoweave.serve.bench.names import task_name
from oncoweave.serve.bench.published import published_section
from oncoweave.serve.bench.quality import gains_section, quality_section, ranks_section
from oncoweave.serve.bench.results import Results
from oncoweave.serve.page import Block, Folded, Items, KeyFigure, Links, Page, Prose, Row, Section, Table, Verdict, absent


def bench_page(results: Results) -> Page:
    """Put the page together."""
    sections = (
        quality_section(results),
        gains_section(results),
        ranks_section(results),
        groups_section(results),
        published_section(results),
        cost_section(results),
        curves_section(results),
        sizes_section(results),
        _audits(results),
        _failures(results),
        _pages(results),
    )
    return Page(
        title=results.bench.name,
        facts=_facts(results),
        verdict=_verdict(results),
        sections=sections,
        colophon="Made by oncoweave from the run folders of the tasks. The page holds no patient identifiers.",
        kind="bench",
    )


def _facts(results: Results) -> tuple[tuple[str, str], ...]:
    scores = results.scores
    patients = scores[scores["level"] == "patients"].groupby(["endpoint", "run"])["n"].max()
    models = scores.loc[scores["role"] != "null", "name"].nunique()
    return (
        ("Tasks", wording.count(len(results.tasks))),
        ("Models", wording.count(models)),
        ("Largest task", wording.plural(int(patients.max()), "patient") if len(patients) else "–"),
        ("This call", f"{results.seconds / 60:.1f} min"),
        ("Date", time.strftime("%Y-%m-%d", time.gmtime())),
    )


def _verdict(results: Results) -> Verdict:
    duels, sentences, figures = results.duel("main"), list[str](), list[KeyFigure]()
    better, worse = duels["differs"] & (duels["difference"] > 0), duels["differs"] & (duels["difference"] < 0)
    total = len(duels)
    headline = "No task has finished." if not results.tasks else "No task has both a main model and a simple one."
    if total:
        tasks = wording.plural(total, "task")
        headline = f"The main model beats the best simple model in {better.sum()} of {tasks}."
        tiles = set(duels["task"]) & set(results.scores.loc[results.scores["level"] == "tiles", "task"])
        of_tiles = " (of tiles, colour statistics and networks with random weights)" if tiles else ""
        sentences.append(
            f"Simple models are the hospital alone and a linear model of one modality{of_tiles}; the best of them is the one"
            " over which the main model gains least on the patients that both have a figure of, and is found on these, which"
            " favours it. Better and worse mean: the interval of the difference leaves out zero and p stays"
            f" below .05 after Holm’s correction over the {tasks}."
        )
        if worse.any():
            sentences.append(f"It is worse in {worse.sum()}: {wording.listed([task_name(t) for t in duels.loc[worse, 'task']])}.")
        figures.append(
            KeyFigure(
                name="Median gain over the best simple model",
                value=wording.number(duels["difference"].median(), sign=True),
                detail=f"of {tasks}, metrics as in table 1",
            )
        )
    stand_ins = results.scores.loc[results.scores["stand_in"].astype(bool), "task"].nunique()
    if stand_ins:
        told = "All" if stand_ins == len(results.tasks) else str(stand_ins)
        sentences.append(
            f"{told} of the tasks were asked of stand-ins: their figures say that everything runs, and nothing of medicine."
        )
    ranking, _ = results.ranking
    if ranking is not None:
        figures.append(
            KeyFigure(
                name="Best mean rank",
                value=f"{ranking.mean_ranks[0]:.2f}",
                detail=f"{wording.model(ranking.models[0])}, of {len(ranking.models)} models over {ranking.tasks} tasks",
            )
        )
    if results.failures:
        sentences.append(f"{wording.plural(len(results.failures), 'task')} did not finish; see below.")
    failed = results.audits[results.audits["verdict"] == "failed"]
    figures.append(
        KeyFigure(
            name="Audits that failed",
            value=wording.count(len(failed)),
            detail=f"of {wording.count((results.audits['verdict'] != 'not applicable').sum())} that applied",
        )
    )
    return Verdict(headline=headline, sentences=tuple(sentences), figures=tuple(figures))


def _audits(results: Results) -> Section:
    key, title, table = "audits", "Audits", results.audits
    if table.empty:
        return absent(key, title, "No task of patients has finished, so nothing was audited.")
    rows = []
    for task in table["task"].drop_duplicates():
        counts = table.loc[table["task"] == task, "verdict"].value_counts()
        told = (wording.count(counts.get(v, 0)) for v in ("passed", "failed", "not applicable"))
        rows.append(Row(cells=(task_name(task), *told), strong=bool(counts.get("failed", 0))))
    blocks: list[Block] = [
        Table(
            caption="Kinds of fault that each run looked for in itself (leaks, copies, nulls that find something, and more).",
            header=("Task", "Passed", "Failed", "Not applicable"),
            rows=tuple(rows),
        )
    ]
    failed = table[table["verdict"] == "failed"]
    if len(failed):
        said = (f"{task_name(row['task'])}: {row['audit']}. {row['evidence']}" for _, row in failed.iterrows())
        blocks.append(Items(items=tuple(said)))
    without = table[table["verdict"] == "not applicable"]
    if len(without):
        reasons = without["audit"] + ": " + without["evidence"]
        why = [
            f"{reason} ({wording.listed([task_name(task) for task in names])})"
            for reason, names in without.groupby(reasons)["task"].apply(list).items()
        ]
        blocks.append(Folded(summary="Why audits did not apply", text="\n".join(why)))
    return Section(key=key, title=title, blocks=tuple(blocks))


def _failures(results: Results) -> Section:
    key, title = "failures", "What did not finish"
    if not results.failures:
        return Section(key=key, title=title, blocks=(Prose(text="Every task finished."),))
    said = tuple(f"{task_name(task)}: {why}" for task, why in results.failures.items())
    advice = "What has finished is kept: give the same command again when the causes are mended."
    return Section(key=key, title=title, blocks=(Items(items=said), Prose(text=advice)))


def _pages(results: Results) -> Section:
    links = tuple((task_name(task), address) for task, address in results.pages.items())
    asked = yaml.safe_dump(results.bench.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    blocks: list[Block] = [Links(links=links)] if links else []
    return Section(
        key="pages",
        title="The tasks’ own pages, and the bench",
        blocks=(*blocks, Folded(summary="The bench as it was asked for", text=_without_paths(asked))),
    )


def _without_paths(text: str) -> str:
    """Keep the names of folders and files and leave out where on this machine they lie."""
    lines = []
    for line in text.splitlines():
        head, slash, tail = line.partition("/")
        lines.append(f"{head}…/{tail.rsplit('/', 1)[-1]}" if slash and head.endswith((" ", "'")) else line)
    return "\n".join(lines)
