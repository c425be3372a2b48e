"""Slides to bags of tile features, and a look at them."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from oncoweave.cli.parts.slide_vectors import (
    ANY_TILES,
    READOUT,
    SLIDE_ENCODER,
    SLIDE_WEIGHTS,
    heatmap,
    load_pair,
    require_pair,
    vectors_of,
)

if TYPE_CHECKING:
    from oncoweave.data.cohort import Cohort
    from oncoweave.train.embed import EmbedOptions
    from oncoweave.train.slide_encoder import SlideEncoder
    from oncoweave.train.slide_record import SlideRecord
    from oncoweave.train.tile_encoder import TileEncoder
    from oncoweave.wsi.files import Found, SlideFile
    from oncoweave.wsi.tiling import Stain, TileRecipe

slides_app = typer.Typer(help="Slides to bags of tile features, and a look at them.", no_args_is_help=True)

_SLIDES = typer.Argument(help="Slides, folders of slides, or a CSV table with columns path[, slide_id][, mpp].")
_MPP = typer.Option(0.5, "--mpp", help="Resolution of the tiles, um/px; slides of any resolution are resampled to it.")
_TILE = typer.Option(256, help="Side of a tile in its own pixels.")
_OVERLAP = typer.Option(0.0, help="Share of a tile's side that neighbours have in common.")
_MIN_TISSUE = typer.Option(0.25, help="Share of a tile that must be tissue.")
_SLIDE_MPP = typer.Option(None, help="Level-0 um/px of slides that state none.")
_READER = typer.Option("auto", help="Slide reader: auto, openslide, tifffile or wsidicom.")
_PEN = typer.Option(True, "--pen/--no-pen", help="Take pen out of the tissue, and drop tiles with much of it.")
_BLOOD = typer.Option(True, "--blood/--no-blood", help="Drop tiles of blood.")
_FOLD = typer.Option(True, "--fold/--no-fold", help="Drop tiles of folded tissue.")
_BLUR = typer.Option(True, "--blur/--no-blur", help="Drop tiles out of focus.")


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    slides_app.command()(heatmap)
    app.add_typer(slides_app, name="slides")


@slides_app.command()
def embed(
    slides: list[Path] = typer.Argument(help="Slides, folders of slides, a CSV table of slides, or one cohort folder."),
    out: Path | None = typer.Option(None, help="Folder for bags, previews and the record; a cohort's default is COHORT.slides."),
    encoder: str | None = typer.Option(
        None,
        help="Tile encoder: colour, vit/tiny, ... (see: list encoders/vit); by default the slide encoder's, or colour.",
    ),
    weights: Path | None = typer.Option(
        None, help="Weights of the encoder: safetensors, a torch checkpoint of tensors, or builtin."
    ),
    precision: str = typer.Option("fp32", help="Arithmetic of the encoder: fp32, bf16, or fp16 (GPU only)."),
    mpp: float | None = typer.Option(None, help="Resolution of the tiles, um/px; the encoder's own, if not given (mostly 0.5)."),
    tile: int | None = typer.Option(None, help="Side of a tile in its own pixels; the encoder's own, if not given."),
    overlap: float = _OVERLAP,
    min_tissue: float = _MIN_TISSUE,
    slide_mpp: float | None = _SLIDE_MPP,
    stain: Literal["none", "macenko", "reinhard"] = typer.Option("none", help="Stain normalisation."),
    reader: str = _READER,
    pen: bool = _PEN,
    blood: bool = _BLOOD,
    fold: bool = _FOLD,
    blur: bool = _BLUR,
    batch: int = typer.Option(32, min=1, help="Tiles encoded at once."),
    readers: int = typer.Option(2, min=1, help="Threads that read while the encoder works."),
    device: str = typer.Option("cpu", help="Where the encoder works: cpu, cuda, ..."),
    previews: bool = typer.Option(True, "--previews/--no-previews", help="Write a picture of the tiles of each slide."),
    slide_encoder: str | None = SLIDE_ENCODER,
    slide_weights: str = SLIDE_WEIGHTS,
    readout: str = READOUT,
    any_tiles: bool = ANY_TILES,
    modality: str | None = typer.Option(None, help="Cohort: which slide modality."),
    drop_failed: bool = typer.Option(False, "--drop-failed", help="Cohort: remove the rows of slides that fail."),
) -> None:
    """Embed slides: one bag a slide, a preview each, and a record of what became of every slide.

    A run that was killed goes on where it stood. Slides that cannot be embedded are listed with their reason; the command fails
    when all of them do. With a slide encoder, one vector a slide too; of a cohort, as its modality MODALITY_embedding.
    """
    from oncoweave.train.tile_encoder import tile_settings

    declared = _declared(slide_mpp)
    tile_encoder, whole = load_pair((encoder, weights, precision), (slide_encoder, slide_weights, readout), device=device)
    side, resolution = tile_settings(tile_encoder, tile=tile, mpp=mpp)
    recipe = _recipe(resolution, side, overlap, min_tissue, stain, (pen, blood, fold, blur))
    require_pair(tile_encoder, whole, mpp=resolution, any_tiles=any_tiles)
    options = _options(batch, readers, reader, previews=previews)
    if len(slides) == 1 and _is_cohort(slides[0]):
        from oncoweave.data.store import read_cohort
        from oncoweave.train.embed_cohort import cohort_slides, lay_bags, slide_modality

        cohort = read_cohort(slides[0])
        name = slide_modality(cohort, name=modality)
        folder = out or slides[0].absolute().with_name(f"{slides[0].absolute().name}.slides") / name
        record = _run(cohort_slides(cohort, name, mpp=declared), folder, tile_encoder, recipe, options)
        if record.count("failed") < len(record.slides):
            filled = lay_bags(cohort, name, record, drop_failed=drop_failed)
            typer.echo(f"cohort: {slides[0]}, column path of modality {name} is filled")
    else:
        if out is None:
            raise typer.BadParameter("name the folder for the bags", param_hint="--out")
        record, filled, name = _run(find(slides, declared).slides, out, tile_encoder, recipe, options), None, ""
    if record.count("failed") == len(record.slides):
        raise typer.Exit(1)
    if whole is not None:
        _embed_whole(record, whole, filled, name, any_tiles=any_tiles)


@slides_app.command()
def info(slides: list[Path] = _SLIDES, reader: str = _READER) -> None:
    """Show what slides state of themselves: reader, size, levels, resolution."""
    from rich.console import Console
    from rich.table import Table

    from oncoweave.core.errors import SlideError
    from oncoweave.wsi.geometry import magnification
    from oncoweave.wsi.readers import open_slide

    table = Table("slide", "reader", "width x height", "levels (downsample)", "um/px")
    refused: list[str] = []
    notes: list[str] = []
    found = find(slides, None)
    for slide in found.slides:
        try:
            with closing(open_slide(slide.path, reader=reader)) as source:
                if source.mpp is None:
                    notes.append(f"{source.path.name}: no usable resolution: {source.mpp_note}")
                resolution = "none" if source.mpp is None else f"{source.mpp:g} ({magnification(source.mpp):.3g}x)"
                levels = ", ".join(f"{d:.4g}" for d in source.downsamples)
                table.add_row(slide.slide_id, source.reader, "{} x {}".format(*source.dimensions), levels, resolution)
        except SlideError as error:
            refused.append(str(error))
    Console(width=max(Console().width, 120), markup=False, emoji=False).print(table)
    for note in notes:
        typer.echo(note)
    echo_failures(refused)
    if len(refused) == len(found.slides):
        raise typer.Exit(1)


@slides_app.command()
def preview(
    slides: list[Path] = _SLIDES,
    out: Path = typer.Option(..., help="Folder for the pictures."),
    mpp: float = _MPP,
    tile: int = _TILE,
    overlap: float = _OVERLAP,
    min_tissue: float = _MIN_TISSUE,
    slide_mpp: float | None = _SLIDE_MPP,
    reader: str = _READER,
    pen: bool = _PEN,
    blood: bool = _BLOOD,
    fold: bool = _FOLD,
) -> None:
    """Draw tissue, grid and artefacts of each slide, without reading or encoding its tiles."""
    from oncoweave.core.errors import SlideError
    from oncoweave.wsi.preview import write_preview
    from oncoweave.wsi.readers import open_slide, require_mpp
    from oncoweave.wsi.tiling import lay_tiles

    recipe = _recipe(mpp, tile, overlap, min_tissue, "none", (pen, blood, fold, False))
    refused = []
    found = find(slides, _declared(slide_mpp))
    for slide in found.slides:
        try:
            with closing(open_slide(slide.path, reader=reader)) as source:
                tiling = lay_tiles(source, level0=require_mpp(source, declared=slide.mpp), recipe=recipe)
            target = out / f"{slide.slide_id}.png"
            write_preview(target, tiling)
            typer.echo(f"{target}: {len(tiling.coords)} tiles{f' ({tiling.reason})' if tiling.reason else ''}")
        except SlideError as error:
            refused.append(str(error))
    echo_failures(refused)
    if len(refused) == len(found.slides):
        raise typer.Exit(1)


def _recipe(
    mpp: float, tile: int, overlap: float, min_tissue: float, stain: "Stain", looked_for: tuple[bool, bool, bool, bool]
) -> "TileRecipe":
    from oncoweave.wsi.quality import QualityRecipe
    from oncoweave.wsi.tiling import TileRecipe

    pen, blood, fold, blur = looked_for
    quality = QualityRecipe(pen=pen, blood=blood, fold=fold, blur=blur)
    return TileRecipe(mpp=mpp, tile=tile, overlap=overlap, min_tissue=min_tissue, stain=stain, quality=quality)


def _options(batch: int, readers: int, reader: str, *, previews: bool) -> "EmbedOptions":
    from oncoweave.train.embed import EmbedOptions

    return EmbedOptions(batch=batch, readers=readers, reader=reader, previews=previews)


def _declared(slide_mpp: float | None) -> float | None:
    from oncoweave.wsi.geometry import check_mpp

    return None if slide_mpp is None else check_mpp(slide_mpp, what="resolution of the slides (--slide-mpp)")


def _is_cohort(path: Path) -> bool:
    from oncoweave.core.files import read_json

    manifest = path / "manifest.json"
    return manifest.is_file() and read_json(manifest).get("schema") == "oncoweave.cohort"


def find(paths: list[Path], mpp: float | None) -> "Found":
    """List slides, and say what was passed over."""
    from oncoweave.core.errors import DataError
    from oncoweave.wsi.files import SUFFIXES, find_slides

    found = find_slides(paths, mpp=mpp)
    if found.repeated:
        typer.echo(f"passed over: {len(found.repeated)} path(s) of slides listed already, first {found.repeated[0]}", err=True)
    if found.other:
        typer.echo(f"passed over: {len(found.other)} file(s) that are not slides by name, first {found.other[0]}", err=True)
    if not found.slides:
        msg = f"no slides found in {', '.join(map(str, paths))}; endings looked for: {' '.join(SUFFIXES)}"
        raise DataError(msg)
    return found


def _run(
    slides: "tuple[SlideFile, ...]", folder: Path, encoder: "TileEncoder", recipe: "TileRecipe", options: "EmbedOptions"
) -> "SlideRecord":
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from oncoweave.train.embed import embed_slides

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        overall = bars.add_task("slides", total=len(slides))
        tiles = bars.add_task("tiles", total=None)
        order = {slide.slide_id: i for i, slide in enumerate(slides)}

        def show(slide_id: str, done: int, total: int) -> None:
            # never the id: it may hold that of a patient
            bars.update(overall, completed=order[slide_id])
            bars.update(tiles, completed=done, total=total, description=f"tiles of slide {order[slide_id] + 1} of {len(slides)}")

        record = embed_slides(slides, folder, encoder=encoder, recipe=recipe, options=replace(options, progress=show))
    _echo_summary(record)
    return record


def _embed_whole(
    record: "SlideRecord", encoder: "SlideEncoder", cohort: "Cohort | None", modality: str, *, any_tiles: bool
) -> None:
    vectors = vectors_of(record, encoder, any_tiles=any_tiles)
    if vectors.count("failed") == len(vectors.results):
        raise typer.Exit(1)
    if cohort is not None:
        from oncoweave.train.slide_vectors import lay_vectors

        lay_vectors(cohort, modality, vectors)
        typer.echo(f"cohort: {cohort.root}, modality {modality}_embedding holds the vectors")


def _echo_summary(record: "SlideRecord") -> None:
    results = list(record.results.values())
    tiles = sum(r.tiles for r in results)
    typer.echo(
        f"{len(results)} slides: {record.count('done')} embedded, {record.count('reused')} kept from an earlier run,"
        f" {record.count('failed')} failed; {tiles:,} tiles of {record.encoder.name} ({record.encoder.dim} wide)"
    )
    from oncoweave.train.slide_record import ARTEFACTS

    dropped = {name: sum(getattr(r, f"{name}_tiles") for r in results) for name in ARTEFACTS}
    if any(dropped.values()):
        typer.echo("dropped tiles: " + ", ".join(f"{count:,} {name}" for name, count in dropped.items() if count))
    declared = sum(r.mpp_declared for r in results)
    if declared:
        typer.echo(f"resolution declared, not stated by the file: {declared} slide(s)")
    enlarged = [r for r in results if r.enlarged > 1.01]
    if enlarged:
        most = max(r.enlarged for r in enlarged)
        typer.echo(f"enlarged up to {most:.3g} times, as the slide is coarser than --mpp: {len(enlarged)} slide(s)")
    echo_failures([f"{r.slide_id}: {r.reason}" for r in results if r.status == "failed"])
    typer.echo(f"bags: {record.folder / 'bags'}\nrecord: {record.folder / 'slides.parquet'}")


def echo_failures(reasons: list[str]) -> None:
    """Say what failed, on standard error."""
    for reason in reasons:
        typer.secho(f"failed: {reason}", err=True, fg=typer.colors.RED)
