"""Every tile-level protocol for encoders on one task, beside random weights and colour statistics, as tables and a page."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.errors import ConfigError, DataError
from oncoweave.core.files import locked, publish
from oncoweave.data.tables import write_table
from oncoweave.train.probe import LabelledTiles, ProbeData, embedded, load_probe
from oncoweave.train.tile_encoder import TileEncoder
from oncoweave.train.tile_protocols import (
    fine_tune,
    k_shot,
    linear_probe,
    neighbours,
    out_of_distribution,
    perturb,
    retrieval,
    robustness,
    sides,
    simpleshot,
)
from oncoweave.train.tile_protocols.contenders import (
    SIDE,
    Contender,
    contenders,
    digest,
    embed,
    embed_versions,
    kept,
    place_of,
    spread_over_classes,
)
from oncoweave.train.tile_protocols.embedded import Embedded, TileScores, column_scale
from oncoweave.train.tile_protocols.figure import draw_scores
from oncoweave.train.tile_protocols.page import write_page
from oncoweave.train.tile_protocols.robustness import Versions
from oncoweave.train.tile_protocols.tables import difference_table, score_table, tile_table

Step = Callable[[str], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class TileProtocolOptions:
    """How much is done; the protocols themselves are fixed."""

    title: str = "Tile-level protocols"
    seed: int = 0
    episodes: int = k_shot.EPISODES
    """Draws of the k-shot protocol for each k."""
    perturbed_tiles: int = 60
    """Test tiles of which the 91 versions are made; 0 leaves robustness and out-of-distribution drop out, as the page says."""
    tuning_epochs: int = fine_tune.EPOCHS
    """Epochs of fine-tuning; 0 leaves it out, as the page says."""
    patient: str = ""
    """See ``tile_task.TileLayout``; empty takes the slide, or the file, that a tile is of."""

    def __post_init__(self) -> None:
        """Refuse so few tiles that the last protocol, after all others, could not find one among them."""
        most = max(robustness.TOP_OF.values())
        if 0 < self.perturbed_tiles <= most:
            msg = f"perturbed_tiles: wanted 0, or more than {most} to find a tile among them, got {self.perturbed_tiles}"
            raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class TileProtocolRun:
    """Where the results are."""

    scores: Path
    """Parquet: one row for each encoder, protocol, setting and metric."""
    differences: Path
    """Parquet: each encoder less each control, on the same tiles."""
    tiles: Path
    """Parquet: what each score is the mean of, one row for each encoder, score and test tile."""
    sides: Path
    """Parquet: how many test tiles are near-equal to a training tile, by each encoder; see ``sides.COLUMNS``."""
    versions: Path | None
    """Parquet: cosine with the tiles as they are and balanced accuracy, for each encoder, stain and scanner."""
    page: Path
    """Markdown."""
    figure: Path
    """SVG."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Task:
    data: ProbeData
    chosen: np.ndarray
    """Test tiles whose versions are made."""
    cache: Path
    options: TileProtocolOptions


def run_tile_protocols(
    encoders: Mapping[str, TileEncoder],
    train_folder: Path | str,
    test_folder: Path | str,
    out: Path | str,
    *,
    options: TileProtocolOptions = TileProtocolOptions(),
) -> TileProtocolRun:
    """Run every protocol; ``encoders`` are named as the tables shall name them, the controls come by themselves.

    Folders, or shards, are those of :func:`oncoweave.train.tile_sources.open_tiles`. Tiles are brought to the side that an
    encoder's card states, 224 px where there is none. Embeddings and tuned predictions are kept under ``out`` by the fingerprints
    of encoder and tiles, so that a run that was stopped goes on; the rest takes seconds.

    Raises:
        ConfigError: no encoder is given, one twice, or another run writes to ``out``.
        DataError: tiles have no label, classes differ between the sides, a slide has tiles on both or a tile is on both, or there
            are too few tiles.
    """
    out, some = Path(out), contenders(encoders)
    with locked(out):
        data = load_probe(train_folder, test_folder, side=max(SIDE, *(c.side for c in some)))
        if options.patient:
            data = replace(data, train=_by_patient(data.train, "train", options), test=_by_patient(data.test, "test", options))
        _refuse_shared_slides(data, train_folder, test_folder)
        sides.refuse_equal_tiles(data, train_folder, test_folder)
        count = options.perturbed_tiles
        chosen = spread_over_classes(data.test.label, count, np.random.default_rng(options.seed))
        task = _Task(data=data, chosen=chosen, cache=out / "cache", options=options)
        with _bar(_steps(some, options)) as step:
            return _write(out, some, _score(some, task, step), task)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Found:
    scored: dict[str, list[tuple[TileScores, Embedded]]]
    versions: list[pd.DataFrame]
    near: list[dict[str, object]]


def _score(some: Sequence[Contender], task: _Task, step: Step) -> _Found:
    versions: dict[str, np.ndarray] = {}
    if len(task.chosen):
        images = task.data.test.images[task.chosen]
        versions = embed_versions(some, images, task.cache, done=lambda: step("stains and scanners"))
    found = _Found(scored={}, versions=[], near=[])
    for contender in some:
        _protocols(contender, versions.get(contender.name), task, step, found)
    return found


def _protocols(contender: Contender, versions: np.ndarray | None, task: _Task, step: Step, into: _Found) -> None:
    """Run all protocols for one encoder; every encoder meets the same draws."""
    options, data = task.options, task.data
    x, z = (embed(contender, side.images, task.cache).astype(np.float64) for side in (data.train, data.test))
    mean, scale = column_scale(x) if contender.role == "colour" else (0.0, 1.0)  # its columns have different units
    train, test = embedded((x - mean) / scale, data.train), embedded((z - mean) / scale, data.test)
    step(contender.name)
    into.near.append(sides.near_tiles(contender.name, train, test, rng=np.random.default_rng([options.seed, 8])))
    cost = linear_probe.choose_cost(train, seed=options.seed)
    shots = [k for k in k_shot.SHOTS if k <= np.bincount(data.train.label).min()]

    def rng(number: int) -> np.random.Generator:
        return np.random.default_rng([options.seed, number])

    found = [
        linear_probe.evaluate(train, test, rng=rng(0), cost=cost),
        neighbours.evaluate(train, test, rng=rng(1)),
        simpleshot.evaluate(train, test, rng=rng(2)),
        k_shot.evaluate(train, test, rng=rng(3), shots=shots, episodes=options.episodes),
        retrieval.evaluate(train, test, rng=rng(4)),
    ]
    step(contender.name)
    if options.tuning_epochs and contender.role != "colour":
        found.append(_tuned(contender, train, test, task, cost))
        step(contender.name)
    into.scored[contender.name] = scored = [(scores, test) for scores in found]
    if versions is None:
        return
    label, group = data.test.label[task.chosen], data.test.group[task.chosen]
    made = Versions(features=(versions.astype(np.float64) - mean) / scale, label=label, group=group)
    scored.append((robustness.evaluate(made, rng=rng(6)), made.original))
    scored.append((out_of_distribution.evaluate(train, made, rng=rng(7), cost=cost), made.original))
    step(contender.name)
    into.versions.append(_by_version(contender, train, made, cost))


def _tuned(contender: Contender, train: Embedded, test: Embedded, task: _Task, cost: float) -> TileScores:
    options, data = task.options, task.data
    depends = digest(data.train.images), digest(data.test.images), data.train.label.tolist(), cost
    place = place_of(task.cache, contender, "tuned", *depends, options.seed, options.tuning_epochs, fine_tune.REVISION)
    given = (train, contender.see(data.train.images)), (test, contender.see(data.test.images))
    predicted = kept(
        place,
        lambda: fine_tune.tuned_classes(contender.encoder, *given, seed=options.seed, epochs=options.tuning_epochs, cost=cost),
    )
    frozen = linear_probe.linear(train.features, train.label, test.features, cost=cost)
    return fine_tune.compare(frozen, predicted, test, rng=np.random.default_rng([options.seed, 5]), epochs=options.tuning_epochs)


def _by_version(contender: Contender, train: Embedded, versions: Versions, cost: float) -> pd.DataFrame:
    cosine, right = robustness.to_original(versions), out_of_distribution.by_version(train, versions, cost=cost)
    rows = [
        (contender.name, stain.name, scanner.name, cosine[i, j], right[i, j])
        for i, stain in enumerate(perturb.STAINS)
        for j, scanner in enumerate(perturb.SCANNERS)
    ]
    return pd.DataFrame(rows, columns=["encoder", "stain", "scanner", "cosine", "balanced_accuracy"])


def _write(out: Path, some: Sequence[Contender], found: _Found, task: _Task) -> TileProtocolRun:
    scored, near, title = found.scored, pd.DataFrame(found.near), task.options.title
    paths = TileProtocolRun(
        scores=out / "scores.parquet",
        differences=out / "differences.parquet",
        tiles=out / "tiles.parquet",
        sides=out / "sides.parquet",
        versions=out / "versions.parquet" if found.versions else None,
        page=out / "page.md",
        figure=out / "scores.svg",
    )
    scores, differences = score_table(some, scored), difference_table(some, scored, seed=task.options.seed)
    write_table(paths.scores, scores)
    write_table(paths.differences, differences)
    write_table(paths.tiles, tile_table(some, scored, tiles=len(task.data.test.label)))
    write_table(paths.sides, near)
    if paths.versions is not None:
        write_table(paths.versions, pd.concat(found.versions, ignore_index=True))
    facts = [*_facts(task), "", f"Both sides: {sides.said(near)}"]
    page = write_page(scores, differences, title=title, facts=facts, figure=paths.figure.name)
    for path, text in ((paths.figure, draw_scores(scores, title=title)), (paths.page, page)):
        with publish(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return paths


def _facts(task: _Task) -> list[str]:
    """Say what the tiles are, and what was not done."""
    data, options = task.data, task.options
    sizes = [f"{len(s.label)} {what} tiles{_slides(s)}" for s, what in ((data.train, "training"), (data.test, "test"))]
    lines = [f"{sizes[0]}, {sizes[1]}, {len(data.classes)} classes. Intervals are of 95 %."]
    few = int(np.bincount(data.train.label).min())
    left_out = [k for k in k_shot.SHOTS if k > few]
    if left_out:
        lines.append(f"Left out: k-shot for k = {', '.join(map(str, left_out))}, as a class has {few} training tiles.")
    if not options.perturbed_tiles:
        lines.append("Left out, as asked: robustness and out-of-distribution drop.")
    if not options.tuning_epochs:
        lines.append("Left out, as asked: fine-tuning.")
    return lines


def _slides(side: LabelledTiles) -> str:
    slides = len(np.unique(side.group))
    return f" of {slides} slides or patients" if slides < len(side.label) else ", whose slides are not known"


def _by_patient(side: LabelledTiles, name: str, options: TileProtocolOptions) -> LabelledTiles:
    """Put the patients that the names of files tell in place of the files."""
    found = [re.search(options.patient, side.groups[number]) for number in side.group]
    if None in found:
        path = side.groups[side.group[found.index(None)]]
        msg = f"{options.title!r}: no patient ({options.patient}) in the path {path!r} of a {name} tile; name files as released"
        raise DataError(msg)
    patients, group = np.unique([f"{name} {match.group()}" for match in found if match], return_inverse=True)
    return replace(side, group=group.astype(np.int64), groups=tuple(patients.tolist()))


def _refuse_shared_slides(data: ProbeData, train: Path | str, test: Path | str) -> None:
    """Raise where a slide has tiles on both sides; names of single images say nothing of slides."""
    named = [s.groups for s in (data.train, data.test) if len(s.groups) < len(s.label)]
    shared = set.intersection(*map(set, named)) if len(named) == 2 else set()
    if shared:
        msg = (
            f"{len(shared)} slide(s) or patient(s) have tiles both in {train} and in {test}; a score of them is of no worth:"
            " split by slide"
        )
        raise DataError(msg)


def _steps(some: Sequence[Contender], options: TileProtocolOptions) -> int:
    tuned = sum(c.role != "colour" for c in some) if options.tuning_epochs else 0
    perturbed = len(perturb.STAINS) + len(some) if options.perturbed_tiles else 0
    return 2 * len(some) + tuned + perturbed


@contextmanager
def _bar(total: int) -> Iterator[Step]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("embedding", total=total)
        yield lambda done: bars.update(bar, advance=1, description=done)
