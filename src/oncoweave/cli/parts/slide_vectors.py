"""Slide encoders on the command line: options of ``slides embed``, and the verb ``slides heatmap``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from oncoweave.train.slide_encoder import SlideEncoder
    from oncoweave.train.slide_record import SlideRecord
    from oncoweave.train.slide_vectors import SlideVectors
    from oncoweave.train.tile_encoder import TileEncoder
    from oncoweave.wsi.files import SlideFile

SLIDE_ENCODER = typer.Option(None, help="Slide encoder, as longnet/tiny: one vector a slide too, in slide_embeddings.parquet.")
SLIDE_WEIGHTS = typer.Option("builtin", help="Its weights: safetensors with a card, GigaPath's slide_encoder.pth, or builtin.")
READOUT = typer.Option("mean", help="What is read out of it: mean, cls, or layers (the mean of each, side by side).")
ANY_TILES = typer.Option(False, "--any-tiles", help="Encode tiles that the slide encoder was not trained on.")


def heatmap(
    slides: list[Path] = typer.Argument(help="Slides, folders of slides, or a CSV table with columns path[, slide_id][, mpp]."),
    bags: Path = typer.Option(help="Folder that 'slides embed' made of them, or a folder of bags called after them."),
    out: Path = typer.Option(help="Folder for the pictures, SLIDE-SHOW.png."),
    show: str = typer.Option("share", help="share: in the slide's vector; context or tiles: principal components of tiles, in"
                             " their context or by themselves; values: of --values."),
    values: Path | None = typer.Option(None, help="CSV or parquet: slide_id, x, y (level-0 corner of a tile), value."),
    column: str = typer.Option("value", help="Which column of --values."),
    slide_encoder: str = typer.Option("longnet/tiny", help="Slide encoder of share and context."),
    slide_weights: str = SLIDE_WEIGHTS,
    readout: str = READOUT,
    any_tiles: bool = ANY_TILES,
    reader: str = typer.Option("auto", help="Slide reader: auto, openslide, tifffile or wsidicom."),
    device: str = typer.Option("cpu", help="Where the encoder works: cpu, cuda, ..."),
) -> None:  # fmt: skip
    """Draw values of tiles over their slide, with a colour bar."""
    from oncoweave.cli.slides import echo_failures, find
    from oncoweave.core.errors import ConfigError, DataError, SlideError
    from oncoweave.train.slide_encoder import load_slide_encoder
    from oncoweave.train.slide_heatmap import draw_slide, draw_table, read_values
    from oncoweave.wsi.heatmap import write_png

    if (show == "values") != (values is not None):
        raise typer.BadParameter("--show values and --values FILE go together", param_hint="--show")
    table = None if values is None else read_values(values, column=column)
    encoder = None
    if show in ("share", "context"):
        encoder = load_slide_encoder(slide_encoder, weights=slide_weights, readout=readout, device=device)
    refused: list[str] = []
    found = find(slides, None)
    for slide in found.slides:
        try:
            bag = _bag(bags, slide)
            if table is None:
                image = draw_slide(slide, bag, show=show, encoder=encoder, any_tiles=any_tiles, reader=reader)
            else:
                image = draw_table(slide, bag, table, column=column, reader=reader)
            target = out / f"{slide.slide_id}-{show}.png"
            write_png(target, image)
            typer.echo(f"{target}")
        except (ConfigError, DataError, SlideError) as error:
            refused.append(f"{slide.slide_id}: {error}")
    echo_failures(refused)
    if len(refused) == len(found.slides):
        raise typer.Exit(1)


def load_pair(
    tile: tuple[str | None, Path | None, str], slide: tuple[str | None, str, str], *, device: str
) -> "tuple[TileEncoder, SlideEncoder | None]":
    """Load the tile encoder (name, weights, precision) and, where one is named, the slide encoder (name, weights, readout).

    Beside a slide encoder the tile encoder is, unless another is named, the one it learnt with, and never has random weights. By
    itself it has those of the package where there are any, and else random ones, loudly.
    """
    from oncoweave.train.builtin_weights import BUILTIN, has_builtin
    from oncoweave.train.slide_embedding import load_trained_tile_encoder
    from oncoweave.train.slide_encoder import load_slide_encoder
    from oncoweave.train.tile_encoder import load_tile_encoder

    name, weights, precision = tile
    if weights is None and name is not None and has_builtin(name):
        weights = Path(BUILTIN)
    if slide[0] is None and str(weights) != BUILTIN:
        return load_tile_encoder(name or "colour", weights=weights, device=device, precision=precision), None
    slide_encoder = None
    if slide[0] is not None:
        slide_encoder = load_slide_encoder(slide[0], weights=slide[1], readout=slide[2], device=device)
        learnt = slide_encoder.card.tiles
        name = name or (None if learnt is None else learnt.encoder)
    chosen = load_trained_tile_encoder(
        name or "colour",
        weights=BUILTIN if weights is None else weights,
        device=device,
        precision=precision,
    )
    return chosen, slide_encoder


def vectors_of(record: "SlideRecord", encoder: "SlideEncoder", *, any_tiles: bool) -> "SlideVectors":
    """Embed the slides of a record of bags, and say what became of them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from oncoweave.cli.slides import echo_failures
    from oncoweave.train.slide_vectors import TABLE, embed_bags

    failed = {r.slide_id: r.reason for r in record.results.values() if r.status == "failed"}
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("slide vectors", total=len(record.slides))
        progress: Callable[[int], object] = lambda done: bars.update(task, completed=done)  # noqa: E731
        vectors = embed_bags(
            record.slides, record.folder, encoder=encoder, any_tiles=any_tiles, missing=failed, progress=progress
        )
    typer.echo(
        f"{len(record.slides)} slide vectors of {encoder.name} ({encoder.dim} wide, readout {encoder.readout}):"
        f" {vectors.count('done')} made, {vectors.count('reused')} kept from an earlier run, {vectors.count('failed')} failed"
    )
    if vectors.discarded:
        typer.echo(f"taken out: {vectors.discarded} vector(s) of another slide encoder, its weights or readout")
    echo_failures([f"{r.slide_id}: {r.reason}" for r in vectors.results if r.status == "failed" and r.slide_id not in failed])
    typer.echo(f"vectors: {record.folder / TABLE}")
    return vectors


def require_pair(tile_encoder: "TileEncoder", slide_encoder: "SlideEncoder | None", *, mpp: float, any_tiles: bool) -> None:
    """Refuse, before any tile is read, tiles that the slide encoder was not trained on."""
    if slide_encoder is None or any_tiles:
        return
    from oncoweave.core.encoder_card import TileSource
    from oncoweave.train.slide_encoder import require_tiles

    source = TileSource(encoder=tile_encoder.name, fingerprint=tile_encoder.fingerprint, mpp=mpp)
    require_tiles(slide_encoder, source, what="the tiles to be made")


def _bag(folder: Path, slide: "SlideFile") -> Path:
    below = folder / "bags" / f"{slide.slide_id}.h5"
    return below if below.is_file() else folder / f"{slide.slide_id}.h5"
