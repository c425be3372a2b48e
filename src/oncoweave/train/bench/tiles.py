"""Tasks about tiles in a bench: the protocols of ``train.tile_protocols``, and the row of each encoder in the bench's table."""

from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.evaluate.versus import Versus
from oncoweave.train.bench.collect import DUELS, SCORES, duels_between
from oncoweave.train.bench.spec import Aggregator, Entry, TileSpec, named
from oncoweave.train.builtin_weights import builtin_weights, has_builtin
from oncoweave.train.study import Protocol
from oncoweave.train.tile_encoder import load_tile_encoder
from oncoweave.train.tile_protocols.run import TileProtocolOptions, run_tile_protocols
from oncoweave.train.tile_protocols.sides import said, suspicious
from oncoweave.train.tile_protocols.tables import tile_duel
from oncoweave.train.tile_task import TileTask, load_tile_task, tile_folders

PROTOCOL = "linear probe"
"""The protocol whose score decides; all others stand on the page of the task's folder."""
AS_MANY, OTHER_TILES, NOT_KNOWN = "as many as released", "other tiles", "released number not known"
"""What the tiles of a task are to those that were released, as far as their numbers tell."""
STAND_IN = "phantom-tiles"
"""Name of a folder whose tiles are of the phantom."""


def ask_tiles(
    entry: Entry, spec: TileSpec, out: Path, *, protocol: Protocol, earlier: dict[str, pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Run the tile-level protocols of a task; returns rows of ``collect.SCORES`` and of ``DUELS``, and audits.

    Tasks whose parts the same tissues of the phantom play are one question: the second has the rows of the first, of which
    ``earlier`` keeps what was found, and no duels. Of ``protocol`` the seed and the bootstrap samples are taken.

    Raises:
        DataError: the tiles do not lie as the task says.
    """
    task = load_tile_task(entry.task)
    assert entry.place.tiles is not None, "a task about tiles has a folder"
    stands_in = STAND_IN in Path(entry.place.tiles).parts
    question = str(sorted(task.stand_in.classes.values())) if stands_in else entry.key
    if question in earlier:
        first = earlier[question]
        return first.assign(task=entry.key, same_as=first["task"]), pd.DataFrame(columns=list(DUELS)), pd.DataFrame()
    train, test = tile_folders(task, entry.place.tiles)
    options = TileProtocolOptions(
        title=task.question,
        seed=protocol.seed,
        episodes=spec.episodes,
        perturbed_tiles=spec.perturbed_tiles,
        tuning_epochs=spec.tuning_epochs,
        patient="" if stands_in else task.layout.patient,
    )
    listed = [named(encoder) for encoder in spec.encoders]
    encoders = {encoder.name: load_tile_encoder(encoder.encoder, weights=_weights(encoder)) for encoder in listed}
    done = run_tile_protocols(encoders, train, test, out / "tasks" / entry.folder, options=options)
    table = pd.read_parquet(done.scores)
    rows = table[(table["protocol"] == PROTOCOL) & (table["metric"] == task.metrics[0])]
    if rows.empty:
        msg = f"task {entry.key!r}: no {PROTOCOL} with metric {task.metrics[0]!r} among {sorted(set(table['protocol']))}"
        raise DataError(msg)
    rows = rows.drop_duplicates("encoder").rename(columns={"encoder": "model"})
    near = pd.read_parquet(done.sides)
    found = rows.assign(
        sides=_sides(task, near),
        task=entry.key,
        level="tiles",
        same_as="",
        stand_in=stands_in,
        endpoint="",
        stratum="",
        higher_is_better=True,
        name=rows["model"],
        role=rows["role"].map({"encoder": "fusion"}).fillna("baseline"),
        encoder="",
        start="",
        main=rows["model"] == listed[0].name,
        run=f"tasks/{entry.folder}",
    ).reindex(columns=list(SCORES))
    earlier[question] = found
    held = pd.read_parquet(done.tiles)
    held = held[(held["protocol"] == PROTOCOL) & (held["metric"] == task.metrics[0])]

    def fight(first: str, second: str) -> Versus:
        return tile_duel(held, first, second, rng=np.random.default_rng([protocol.seed, 6]), replicates=protocol.bootstrap)

    return found, duels_between(found, fight), _audit(entry, near)


def _sides(task: TileTask, near: pd.DataFrame) -> str:
    counts = int(near["trained"].iloc[0]), int(near["tested"].iloc[0])
    return NOT_KNOWN if task.tiles is None else AS_MANY if counts == task.tiles else OTHER_TILES


def _audit(entry: Entry, near: pd.DataFrame) -> pd.DataFrame:
    """Judge whether tiles stand on both sides, as a run of patients judges itself; equal ones were refused."""
    verdict = "failed" if suspicious(near) else "passed"
    return pd.DataFrame(
        [{"task": entry.key, "audit": "near-same tile on both sides", "verdict": verdict, "evidence": said(near)}]
    ).assign(n=int(near["tested"].iloc[0]))


def _weights(encoder: Aggregator) -> Path | None:
    if encoder.file is not None:
        return Path(encoder.file)
    return builtin_weights(encoder.encoder)[0] if has_builtin(encoder.encoder) else None
