"""Slide-level masked autoencoding on planted arrangements: reconstruction, a task that needs places, and what the choices cost.

    python benchmarks/slide_mae.py --out RESULTS [--part main|ablation|all] [--steps 2500] [--ablation-steps 1200]

Writes two phantom cohorts (1000 unlabelled patients, 600 labelled others), pretrains ``recipes/longnet_tiny_cpu`` on the first,
and measures on the second: patients 1 to 200 train, 201 to 600 are only tested. Runs go on where they were cut off. Tables go to
``RESULTS/*.md``.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from slide_mae_models import NUM_TRAIN, Labelled, labelled, measure_task
from slide_mae_reconstruction import measure_reconstruction

from oncoweave.nn.coordinates import SlideView
from oncoweave.phantom.arrangement import Config, write_arrangement
from oncoweave.recipes import longnet_tiny_cpu
from oncoweave.train.plan import Plan
from oncoweave.train.pretrain import pretrain

GRID = 20
"""Sections are 14 cells a side, so that they are shifted by some six cells."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One pretraining run of the ablation."""

    name: str
    settings: dict


VARIANTS = (
    Variant(name="mask .25", settings={"mask_ratio": 0.25}),
    Variant(name="mask .50", settings={"mask_ratio": 0.5}),
    Variant(name="mask .75", settings={"mask_ratio": 0.75}),
    Variant(name="mask .50, decoder of 2 layers", settings={"decoder_depth": 2}),
    Variant(name="mask .50, decoder of 4 layers", settings={"decoder_depth": 4}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", choices=("main", "ablation", "all"), default="all")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--ablation-steps", type=int, default=1200)
    given = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    unlabelled, patients = cohorts(given.out)
    data = labelled(patients)
    if given.part in ("main", "all"):
        plan, folder = planned(given.steps, {}), given.out / "run"
        print(f"pretraining: {train(plan, folder, unlabelled):.0f} CPU s in this call", flush=True)
        for ratio in (0.25, 0.5, 0.75):
            rebuilt = measure_reconstruction(plan, folder, unlabelled, data.tested, ratio=ratio)
            save(given.out / f"reconstruction_{ratio}.md", rebuilt)
        save(given.out / "task.md", measure_task(plan, folder, data))
    if given.part in ("ablation", "all"):
        rows = []
        for variant in VARIANTS:
            rows.append(ablate(variant, given, unlabelled, data))
            save(given.out / "ablation.md", pd.DataFrame(rows))
    y = data.y[NUM_TRAIN:]
    print(f"tested: {len(y)} patients, {y.sum()} infiltrated; {time.process_time() - started:.0f} CPU s in this call")


def ablate(variant: Variant, given: argparse.Namespace, unlabelled: Path, data: Labelled) -> dict:
    """Pretrain one variant; its reconstruction of single hidden tiles, half of them, and a linear probe on the mean readout."""
    plan = planned(given.ablation_steps, variant.settings)
    folder = given.out / variant.name.replace(" ", "_").replace(",", "")
    seconds = train(plan, folder, unlabelled)
    rebuilt = measure_reconstruction(plan, folder, unlabelled, data.tested, ratio=0.5).set_index("predicted by")
    task = measure_task(plan, folder, data, only="LongNet, MAE, frozen: linear on the mean of tiles").iloc[0]
    row = {"variant": variant.name, "CPU s": round(seconds), "error, half hidden": rebuilt.loc["MAE", "error"]}
    return row | {name: value for name, value in task.items() if name != "model"}


def cohorts(out: Path) -> tuple[Path, Path]:
    """Write both cohorts, unless they stand there."""
    orders = {"unlabelled": Config(patients=0, unlabelled=1000, seed=1), "labelled": Config(patients=600, unlabelled=0, seed=2)}
    for name, config in orders.items():
        if not (out / name).is_dir():
            write_arrangement(config, out / name)
    return out / "unlabelled", out / "labelled"


def planned(steps: int, settings: dict) -> Plan:
    """The recipe with a grid for small sections, and without the branch that sections under 1024 tiles have no need of."""
    plan = longnet_tiny_cpu.plan(steps=steps)
    return replace(
        plan,
        encoder_settings={**plan.encoder_settings, "segments": (1024,), "dilations": (1,)},
        objective_settings={**plan.objective_settings, "views": SlideView(grid=GRID), **settings},
        watch_every=0,
    )


def train(plan: Plan, folder: Path, data: Path) -> float:
    started = time.process_time()
    pretrain(plan, folder, data=[data])
    return time.process_time() - started


def save(path: Path, table: pd.DataFrame) -> None:
    header = [list(map(str, table.columns)), ["---"] * len(table.columns)]
    lines = [*header, *table.astype(str).to_numpy().tolist()]
    text = "\n".join(["| " + " | ".join(line) + " |" for line in lines]) + "\n"
    path.write_text(text, encoding="utf-8")
    print(f"{path.stem}\n\n{text}", flush=True)


if __name__ == "__main__":
    main()
