"""A folder of bags to one vector a slide: a table, a record of what became of every slide, and a modality of a cohort."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float32

from oncoweave.core.errors import ConfigError, DataError
from oncoweave.core.files import locked, publish, read_json, sweep_partials, write_json
from oncoweave.data.bags import read_bag, read_head
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import read_documents, write_cohort
from oncoweave.data.tables import read_table, write_table
from oncoweave.train.slide_embedding import embed_bag, embedding_fingerprint
from oncoweave.train.slide_encoder import SlideEncoder

SCHEMA = "oncoweave.slide_embeddings"
VERSION = 1
TABLE, RECORD = "slide_embeddings.parquet", "slide_embeddings.json"
SAID = ("slide_id", "slide_encoder", "fingerprint")
"""Columns of the table that are no values of the vector."""

Row = tuple[str, Float32[np.ndarray, " dim"]]
"""Fingerprint and vector of a slide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorResult:
    """What became of one slide."""

    slide_id: str
    status: Literal["done", "reused", "failed"]
    reason: str = ""
    tiles: int = 0
    seconds: float = math.nan


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SlideVectors:
    """The vectors of a folder's slides, and what became of each."""

    folder: Path
    encoder: SlideEncoder
    results: tuple[VectorResult, ...]
    table: pd.DataFrame
    """``slide_id``, ``slide_encoder``, ``fingerprint``, then the values of the vector; slides that failed have no row."""
    discarded: int
    """Rows of earlier runs with another encoder, weights or readout that were taken out."""

    def count(self, status: str) -> int:
        """Count the slides of this run that ended so."""
        return sum(r.status == status for r in self.results)


def embed_bags(
    slide_ids: Sequence[str],
    folder: Path | str,
    *,
    encoder: SlideEncoder,
    any_tiles: bool = False,
    missing: Mapping[str, str] | None = None,
    progress: Callable[[int], object] | None = None,
) -> SlideVectors:
    """Embed the slides whose bags stand in ``folder/bags``; writes ``slide_embeddings.parquet`` and ``slide_embeddings.json``.

    Both are published after every slide that is encoded, so a killed run goes on where it stood: a row made of the same bag by
    the same encoder and readout is kept. A slide that cannot be embedded has no row, and its reason in the record.

    Args:
        slide_ids: slides of this run; rows of others that are of the same encoder stay.
        folder: what ``oncoweave slides embed`` made.
        encoder: the slide encoder.
        any_tiles: encode tiles that the slide encoder was not trained on.
        missing: why slides have no bag, for the record.
        progress: told how many slides are finished.

    Raises:
        ConfigError: another run writes to the folder.
        DataError: its table is damaged.
    """
    folder = Path(folder)
    with locked(folder):
        rows, discarded = _earlier(folder, encoder)
        seconds = _seconds(folder)
        results: list[VectorResult] = []
        for number, slide_id in enumerate(slide_ids, start=1):
            before = rows.pop(slide_id, None)
            reason = (missing or {}).get(slide_id, "")
            if reason:
                result, row = VectorResult(slide_id=slide_id, status="failed", reason=f"it has no bag: {reason}"), None
            else:
                result, row = _embed(slide_id, folder, encoder, before, any_tiles=any_tiles)
            if result.status == "reused":
                result = replace(result, seconds=seconds.get(slide_id, math.nan))
            results.append(result)
            if row is not None:
                rows[slide_id] = row
            if result.status == "done":
                _publish(_so_far(folder, encoder, results, rows, discarded))
            if progress is not None:
                progress(number)
        vectors = _so_far(folder, encoder, results, rows, discarded)
        _publish(vectors)
    return vectors


def lay_vectors(cohort: Cohort, modality: str, vectors: SlideVectors) -> Cohort:
    """Lay the vectors into a cohort on disk as modality ``<modality>_embedding`` of kind embedding; returns the cohort as it is.

    One row a slide; several of a patient are averaged by the kind. A slide without a vector has no row; with its reason it stands
    in ``slides-<modality>_embedding.json``, and a patient all of whose slides failed lacks the modality.

    Raises:
        DataError: the cohort is not on disk, the modality's table names no slides, or the name is taken by another kind.
    """
    name = f"{modality}_embedding"
    if cohort.root is None:
        msg = f"cohort {cohort.name!r} is not on disk; write it first"
        raise DataError(msg)
    if name in cohort.modalities and cohort.modalities[name].kind != "embedding":
        msg = f"cohort {cohort.name!r} has a modality {name!r} of kind {cohort.modalities[name].kind!r}; rename it"
        raise DataError(msg)
    slides = cohort.tables[modality]
    if "slide_id" not in slides:
        msg = f"modality {modality!r} has no column 'slide_id'; embed its slides first: oncoweave slides embed"
        raise DataError(msg)
    wanted = slides.loc[:, [c for c in ("patient_id", "sample_id", "slide_id") if c in slides]]
    found = vectors.table.drop(columns=["slide_encoder", "fingerprint"])
    table = wanted.merge(found, on="slide_id", how="inner", validate="many_to_one")
    table["sample_id"] = table["slide_id"]
    table = table.drop(columns="slide_id")
    notes = {
        "encoder": vectors.encoder.name,
        "encoder_fingerprint": vectors.encoder.fingerprint,
        "readout": vectors.encoder.readout,
        "slides": modality,
    }
    filled = Cohort(
        name=cohort.name,
        patients=cohort.patients,
        tables={**cohort.tables, name: table},
        modalities={**cohort.modalities, name: ModalitySpec(name=name, kind="embedding", notes=notes)},
        endpoints=cohort.endpoints,
        root=cohort.root,
    )
    listed = {f"slides-{name}.json": {"encoder": vectors.encoder.name, "slides": _listed(vectors)}}
    write_cohort(filled, cohort.root, documents={**read_documents(cohort.root), **listed})
    return filled


def _embed(
    slide_id: str, folder: Path, encoder: SlideEncoder, before: Row | None, *, any_tiles: bool
) -> tuple[VectorResult, Row | None]:
    started = time.monotonic()
    path = folder / "bags" / f"{slide_id}.h5"
    try:
        head = read_head(path)
        bag = None if head.attrs.fingerprint else read_bag(path)  # one that others made is known by its content
        if before is not None and before[0] == embedding_fingerprint(bag or head, encoder=encoder):
            return VectorResult(slide_id=slide_id, status="reused", tiles=head.num_tiles), before
        embedding = embed_bag(bag or path, encoder=encoder, any_tiles=any_tiles)
    except (ConfigError, DataError, OSError) as error:
        spent = round(time.monotonic() - started, 3)
        return VectorResult(slide_id=slide_id, status="failed", reason=str(error), seconds=spent), None
    spent = round(time.monotonic() - started, 3)
    result = VectorResult(slide_id=slide_id, status="done", tiles=len(embedding), seconds=spent)
    return result, (embedding.fingerprint, embedding.vector)


def _so_far(
    folder: Path, encoder: SlideEncoder, results: list[VectorResult], rows: Mapping[str, Row], discarded: int
) -> SlideVectors:
    return SlideVectors(folder=folder, encoder=encoder, results=tuple(results), table=_frame(rows, encoder), discarded=discarded)


def _maker(encoder: SlideEncoder) -> str:
    """Everything but the slide that decides a vector, in one text."""
    layers = f" of layers {', '.join(map(str, encoder.layers))}" if encoder.layers else ""
    return f"{encoder.name}, {encoder.pool}{layers}, {encoder.fingerprint[:16]}"


def _earlier(folder: Path, encoder: SlideEncoder) -> tuple[dict[str, Row], int]:
    """Rows of earlier runs that are of this encoder and readout, and how many are not."""
    sweep_partials(folder)
    if not (folder / TABLE).is_file():
        return {}, 0
    table = read_table(folder / TABLE)
    if tuple(table.columns) != (*SAID, *encoder.columns):
        return {}, len(table)
    own = table[table["slide_encoder"] == _maker(encoder)]
    values = own[list(encoder.columns)].to_numpy(dtype=np.float32)
    rows = {str(i): (str(f), v) for i, f, v in zip(own["slide_id"], own["fingerprint"], values, strict=True)}
    return rows, len(table) - len(own)


def _seconds(folder: Path) -> dict[str, float]:
    if not (folder / RECORD).is_file():
        return {}
    return {s["slide_id"]: s["seconds"] for s in read_json(folder / RECORD)["slides"] if s["seconds"] is not None}


def _frame(rows: Mapping[str, Row], encoder: SlideEncoder) -> pd.DataFrame:
    said = pd.DataFrame(
        {"slide_id": list(rows), "slide_encoder": _maker(encoder), "fingerprint": [mark for mark, _ in rows.values()]},
        dtype=object,
    )
    values = np.array([vector for _, vector in rows.values()], dtype=np.float32).reshape(len(rows), encoder.dim)
    return pd.concat([said, pd.DataFrame(values, columns=list(encoder.columns))], axis=1)


def _listed(vectors: SlideVectors) -> list[dict[str, object]]:
    return [asdict(r) | {"seconds": None if math.isnan(r.seconds) else r.seconds} for r in vectors.results]


def _publish(vectors: SlideVectors) -> None:
    with publish(vectors.folder / TABLE) as partial:
        write_table(partial, vectors.table)
    encoder = vectors.encoder
    content = {
        "schema": SCHEMA,
        "schema_version": VERSION,
        "encoder": {"name": encoder.name, "dim": encoder.dim, "fingerprint": encoder.fingerprint},
        "readout": {"pool": encoder.pool, "layers": list(encoder.layers)},
        "trained": {"recipe": encoder.card.recipe, "data": dict(encoder.card.data)},
        "finished": {status: vectors.count(status) for status in ("done", "reused", "failed")},
        "discarded": vectors.discarded,
        "slides": _listed(vectors),
    }
    write_json(vectors.folder / RECORD, content)
