"""Pretrain encoders of tiles and of slides, and probe what tile encoders learnt."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from oncoweave.train.pretrain import Probe

pretrain_app = typer.Typer(
    no_args_is_help=True, help="Pretrain encoders by recipes, and probe them; recipes are listed by: oncoweave list recipes."
)

_RECIPE = typer.Argument(help="A recipe; see: oncoweave list recipes.")
_OUT = typer.Option(..., help="Run folder; a run that was stopped there goes on.")
_STEPS = typer.Option(None, min=1, help="Length of the run, instead of the recipe's.")
_DEVICE = typer.Option("auto", help="Accelerator: auto, cpu, cuda, ...")
_DEVICES = typer.Option(1, min=1, help="Devices on each machine.")
_NODES = typer.Option(1, min=1, help="Machines.")
_STRATEGY = typer.Option("auto", help="Several devices: ddp_find_unused_parameters_true, sharded, or any of Fabric's.")
_TEACHER = typer.Option(None, help="Weights of the teacher, for recipes that distil.")


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.add_typer(pretrain_app, name="pretrain")


@pretrain_app.command()
def tile(
    recipe: str = _RECIPE,
    data: list[Path] = typer.Option(..., help="Slides, cohorts, folders of tiles, or shards (.tar, .h5, .npz); repeat for more."),
    out: Path = _OUT,
    steps: int | None = _STEPS,
    probe_train: Path | None = typer.Option(None, help="Labelled tiles that the probe is fitted on."),
    probe_test: Path | None = typer.Option(None, help="Labelled tiles that the probe is tested on."),
    teacher: Path | None = _TEACHER,
    device: str = _DEVICE,
    devices: int = _DEVICES,
    nodes: int = _NODES,
    strategy: str = _STRATEGY,
) -> None:
    """Pretrain a tile encoder; its weights, OUT/encoder.safetensors, are what oncoweave slides embed takes."""
    _run("tile", recipe, data, out, steps, (probe_train, probe_test), teacher, (device, devices, nodes, strategy))


@pretrain_app.command()
def slide(
    recipe: str = _RECIPE,
    data: list[Path] = typer.Option(..., help="Cohorts, or folders of bags; repeat for more."),
    out: Path = _OUT,
    steps: int | None = _STEPS,
    teacher: Path | None = _TEACHER,
    device: str = _DEVICE,
    devices: int = _DEVICES,
    nodes: int = _NODES,
    strategy: str = _STRATEGY,
) -> None:
    """Pretrain a slide encoder on bags of tile embeddings."""
    _run("slide", recipe, data, out, steps, (None, None), teacher, (device, devices, nodes, strategy))


@pretrain_app.command()
def probe(
    train: Path = typer.Option(..., help="Labelled tiles to fit on: a folder with one subfolder a class, or a shard."),
    test: Path = typer.Option(..., help="Labelled tiles to test on."),
    encoder: str = typer.Option("vit/tiny", help="Tile encoder."),
    weights: Path | None = typer.Option(None, help="Its weights; the same encoder with random ones is shown beside."),
    side: int = typer.Option(224, min=16, help="Side that tiles are resized to, in pixels."),
    device: str = typer.Option("cpu", help="Where the encoder works."),
) -> None:
    """Probe a tile encoder on labelled tiles: k-NN and a linear classifier, beside random weights and colour statistics."""
    from rich.console import Console
    from rich.table import Table

    from oncoweave.train.probe import compare, load_probe

    data = load_probe(train, test, side=side)
    table = Table("encoder", "width", "k-NN", "class means", "linear", "cost")
    for found in compare(data, [(encoder, weights)], device=device):
        shown = (
            f"{i.value:.3f} ({'no interval' if math.isnan(i.low) else f'{i.low:.3f} to {i.high:.3f}'})"
            for i in (found.neighbours, found.means, found.linear)
        )
        table.add_row(found.encoder, str(found.dim), *shown, f"{found.cost:g}")
    Console(width=max(Console().width, 130), markup=False, emoji=False).print(table)
    count = f"{len(data.train.label)} training and {len(data.test.label)} test tiles, {len(data.classes)} classes"
    typer.echo(f"balanced accuracy with 95 % bootstrap interval; {count}, {side} px")


def _run(
    kind: str,
    recipe: str,
    data: list[Path],
    out: Path,
    steps: int | None,
    probed: tuple[Path | None, Path | None],
    teacher: Path | None,
    machine: tuple[str, int, int, str],
) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from oncoweave.core import shelf

    module = shelf.load("recipes", recipe)
    plan = module.plan() if steps is None else module.plan(steps=steps)
    trains = str({e.name: e.constants.get("PRETRAINS") for e in shelf.catalogue("objectives")}[plan.objective])
    if trains != kind:
        msg = f"recipe {recipe!r} pretrains a {trains} encoder; give: oncoweave pretrain {trains} {recipe}"
        raise typer.BadParameter(msg, param_hint="RECIPE")
    probe = _probe(probed, side=getattr(plan.data, "side", 0))
    from oncoweave.train.pretrain import Machine, pretrain

    accelerator, devices, nodes, strategy = machine
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("", total=plan.steps)
        result = pretrain(
            plan,
            out,
            data=data,
            teacher=teacher,
            machine=Machine(accelerator=accelerator, devices=devices, nodes=nodes, strategy=strategy),
            probe=probe,
            progress=lambda done, total, row: bars.update(bar, completed=done, description=f"loss {row['loss']:.4f}"),
        )
    for row in result.log:
        if "embedding_rank" in row:
            seen = ", ".join(f"{k.replace('_', ' ')} {row[k]:.3f}" for k in row if k.startswith(("embedding_", "probe_")))
            typer.echo(f"step {row['step'] + 1:.0f}: loss {row['loss']:.4f}, {seen}{'  COLLAPSED' if 'collapsed' in row else ''}")
    typer.echo(f"weights: {result.weights}  (--encoder {plan.encoder})")
    typer.echo(f"log: {out / 'log.jsonl'}\ncurves: {out / 'curves.svg'}\ncard: {out / 'card.json'}")


def _probe(paths: tuple[Path | None, Path | None], *, side: int) -> "Probe | None":
    train, test = paths
    if train is None and test is None:
        return None
    if train is None or test is None:
        raise typer.BadParameter("give both --probe-train and --probe-test", param_hint="--probe-train")
    from oncoweave.train.probe import in_training, load_probe

    return in_training(load_probe(train, test, side=side))
