"""A bench from its file to its page: task after task, each resumable and none in the way of the others."""

import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from oncoweave.core.errors import OncoweaveError
from oncoweave.core.files import locked, publish
from oncoweave.serve.bench.markdown import markdown_of
from oncoweave.serve.bench.page import bench_page
from oncoweave.serve.bench.results import Results
from oncoweave.serve.page import render
from oncoweave.serve.report import write_report
from oncoweave.train.bench import collect
from oncoweave.train.bench.asked import Asked, ask
from oncoweave.train.bench.label_curve import COLUMNS as CURVES
from oncoweave.train.bench.label_curve import label_curve
from oncoweave.train.bench.spec import Bench, Entry, check_bench, entries
from oncoweave.train.bench.tiles import ask_tiles
from oncoweave.train.results import write_table
from oncoweave.train.study import run_study

Tell = Callable[[str], None]
_AUDITS = ("task", "audit", "verdict", "evidence", "n")


class _Collected:
    """What has finished so far."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.tiles: dict[str, pd.DataFrame] = {}
        self.scores: list[pd.DataFrame] = []
        self.duels: list[pd.DataFrame] = []
        self.groups: list[pd.DataFrame] = []
        self.curves: list[pd.DataFrame] = []
        self.audits: list[pd.DataFrame] = []
        self.failures: dict[str, str] = {}
        self.pages: dict[str, str] = {}


def run_bench(bench: Bench, out: Path, *, jobs: int = 1, tell: Tell = lambda _: None) -> Results:
    """Run every task of a bench into its folder under ``out/tasks`` and write the page; what is finished there is kept.

    A task that fails is reported, and the others go on. Written are ``bench.html``, ``bench.md``, ``bench.parquet`` (figures),
    ``duels.parquet`` (comparisons) and, where there are any, ``groups.parquet`` (by type of cancer) and ``curves.parquet``.

    Args:
        bench: checked names; see ``train.bench.spec.read_bench``.
        out: folder of the bench.
        jobs: processes that fit folds at a time.
        tell: told a line a task.

    Raises:
        UnknownNameError: a task, encoder or fusion that is on no shelf; nothing has been fitted then.
        ConfigError: the bench asks for what cannot be, or another one is running in the folder.
    """
    started, out = time.time(), Path(out).resolve()
    check_bench(bench)
    listed = entries(bench)
    with locked(out):
        collected = _Collected()
        for number, entry in enumerate(listed, start=1):
            began = time.time()
            outcome = _attempt(bench, entry, out, collected, jobs)
            tell(f"{number}/{len(listed)} {entry.key}: {outcome} ({time.time() - began:.0f} s)")
        results = _together(bench, collected, seconds=time.time() - started)
        _write(out, results)
    return results


def _attempt(bench: Bench, entry: Entry, out: Path, collected: _Collected, jobs: int) -> str:
    try:
        if entry.place.tiles is not None:
            rows, duels, audits = ask_tiles(entry, bench.tiles, out, protocol=bench.protocol, earlier=collected.tiles)
            collected.scores.append(rows)
            collected.duels.append(duels)
            collected.audits.append(audits)
            collected.pages[entry.key] = f"{rows['run'].iloc[0]}/page.md"
            return _told(str(rows["same_as"].iloc[0]))
        return _ask_patients(bench, entry, out, collected, jobs)
    except OncoweaveError as error:
        collected.failures[entry.key] = "; ".join([str(error), *getattr(error, "__notes__", [])])
    except Exception as error:  # noqa: BLE001  (hours of other tasks must not be lost to one; its traceback is kept)
        place = out / "failures" / f"{entry.folder}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(traceback.format_exc(), encoding="utf-8")
        collected.failures[entry.key] = f"{type(error).__name__}: {error} (traceback in failures/{place.name})"
    return f"failed: {collected.failures[entry.key]}"


def _ask_patients(bench: Bench, entry: Entry, out: Path, collected: _Collected, jobs: int) -> str:
    asked = ask(bench, entry, out, earlier=collected.asked)
    if not asked.same_as:
        run_study(asked.study, asked.run, jobs=jobs)
        page = asked.run / "report.html"
        if not page.exists() or page.stat().st_mtime_ns < (asked.run / "manifest.json").stat().st_mtime_ns:
            write_report(asked.run)
    scores = collect.scores_of(asked)
    duels = collect.duels_of(asked, scores)
    if bench.curves.labels and not asked.same_as:
        collected.curves.append(label_curve(asked, bench.curves, out, jobs=jobs))
    if not asked.same_as:
        collected.groups.append(collect.groups_of_task(asked))
        audits = pd.read_parquet(asked.run / "audits.parquet").assign(task=entry.key)
        collected.audits.append(audits.reindex(columns=list(_AUDITS)))
    collected.asked.append(asked)
    collected.scores.append(scores)
    collected.duels.append(duels)
    collected.pages[entry.key] = f"tasks/{asked.run.name}/report.html"
    return _told(asked.same_as)


def _told(same_as: str) -> str:
    return f"the same question as {same_as}" if same_as else "done"


def _together(bench: Bench, collected: _Collected, *, seconds: float) -> Results:
    repeats = {asked.entry.key for asked in collected.asked if asked.same_as}
    duels = collect.joined(collected.duels, collect.DUELS)
    duels = collect.corrected(duels[~duels["task"].isin(repeats)].reset_index(drop=True))
    scores = collect.joined(collected.scores, collect.SCORES)
    return Results(
        bench=bench,
        asked=tuple(collected.asked),
        scores=collect.with_ranks(scores, duels),
        duels=duels,
        groups=collect.joined(collected.groups, collect.GROUPS),
        curves=collect.joined(collected.curves, CURVES),
        audits=collect.joined(collected.audits, _AUDITS),
        failures=collected.failures,
        pages=collected.pages,
        seconds=seconds,
    )


def _write(out: Path, results: Results) -> None:
    write_table(out / "bench.parquet", results.scores)
    write_table(out / "duels.parquet", results.duels)
    if len(results.groups):
        write_table(out / "groups.parquet", results.groups)
    if len(results.curves):
        write_table(out / "curves.parquet", results.curves)
    page = bench_page(results)
    for name, text in (("bench.html", render(page)), ("bench.md", markdown_of(page))):
        with publish(out / name) as partial:
            partial.write_text(text, encoding="utf-8")
