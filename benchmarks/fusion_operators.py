"""Every operator of the fusion shelf on one cohort, on the same folds, beside the baselines that every study has.

    python benchmarks/fusion_operators.py COHORT ENDPOINT --out OUT [--modalities a,b,c] [--splits SPLITS] [--jobs 1]
        [--encoders film=film_vit/tiny,...] [--duels experts:gated,mmp:gated] [--rate 1e-3] [--warm-up 0] [--batch 64]

Operators run with their defaults, networks as one network a fold; of more than twelve modalities ``kronecker`` is allowed twice
its usual terms. An interrupted run goes on where it was, and a finished one is read. The table is printed as Markdown and written
to ``OUT/operators.md``; ``oncoweave report`` makes a page of the run folder ``OUT/run``. ``--duels`` adds paired differences.
"""

import argparse
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core import shelf
from oncoweave.core.endpoint import Endpoint
from oncoweave.data.cohort import Cohort
from oncoweave.evaluate.metrics import MAIN
from oncoweave.evaluate.versus import versus
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, run_study

DEFAULT = "stacking"
STAGES = ("early", "intermediate", "hybrid", "late")
NETWORKS = ("intermediate", "hybrid")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("endpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--modalities", default="")
    parser.add_argument("--splits")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rate", type=float, default=1e-3, help="of the networks' learning")
    parser.add_argument("--warm-up", type=int, default=0, help="epochs")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--without", default="", help="operators to leave out, by comma")
    parser.add_argument("--encoders", default="", help="of networks, KIND=VARIANT by comma; the shelf's defaults for other kinds")
    parser.add_argument("--only", default="", help="operators to run beside stacking, by comma; all where left out")
    parser.add_argument("--duels", default="", help="pairs of models, FIRST:SECOND by comma")
    parser.add_argument("--jobs", type=int, default=1, help="processes that fit folds at a time")
    given = parser.parse_args()
    kind = Cohort.open(given.cohort).endpoint(given.endpoint).kind
    operators = offered(kind, without=set(filter(None, given.without.split(","))))
    if given.only:
        operators = {name: stage for name, stage in operators.items() if name in {*given.only.split(","), DEFAULT}}
    encoders = dict(pair.split("=", maxsplit=1) for pair in given.encoders.split(",") if pair)
    pace = {"learning_rate": given.rate, "warm_up": given.warm_up, "batch_size": given.batch}
    study = Study(
        name=f"every fusion: {given.endpoint}",
        cohort=str(given.cohort.resolve()),
        endpoint=given.endpoint,
        modalities=tuple(given.modalities.split(",")) if given.modalities else None,
        models=tuple(
            ModelSpec(
                name=name, fusion=name, encoders=encoders if stage in NETWORKS else {}, settings=allowed(name, given.cohort)
            )
            for name, stage in operators.items()
        ),
        main=DEFAULT,
        protocol=Protocol(folds=given.folds, repeats=given.repeats, splits=given.splits, permutations=1),
        network=NetworkConfig(epochs=given.epochs, patience=8, members=given.members, **pace),
    )
    run = run_study(study, given.out / "run", jobs=given.jobs)
    text = (
        table(run, operators)
        + duels(run, Cohort.open(given.cohort).endpoint(given.endpoint), given.duels)
        + f"\n{sum(os.times()[:4]):.0f} s of processor time in this call.\n"
    )
    (given.out / "operators.md").write_text(text, encoding="utf-8")
    print(text)


def duels(run: Path, endpoint: Endpoint, pairs: str) -> str:
    """Lay out paired differences of the main metric, with p of the bootstrap and of the t test over folds."""
    predictions, metric = pd.read_parquet(run / "predictions.parquet"), MAIN[endpoint.kind][0]
    lines = []
    for first, second in (pair.split(":") for pair in pairs.split(",") if pair):
        found = versus(predictions, endpoint, first=first, second=second, metric=metric, generator=np.random.default_rng(0))
        told = shown(found.difference, found.low, found.high, sign="+")
        lines.append(f"{first} less {second}: {told}, p {found.p:.3f}, over folds {found.p_folds:.3f}\n")
    return "\n" + "\n".join(lines) if lines else ""


def offered(kind: str, *, without: set[str]) -> dict[str, str]:
    """List the operators that serve a kind of endpoint, with their stages."""
    entries = {e.name: e.constants for e in shelf.catalogue("fusion")}
    served = {name: str(c["STAGE"]) for name, c in entries.items() if kind in c.get("KINDS", (kind,)) and name not in without}
    return dict(sorted(served.items(), key=lambda item: (STAGES.index(item[1]), item[0])))


def allowed(name: str, cohort: Path) -> dict[str, int]:
    """Twice the usual terms for the tensor of more than twelve modalities, which has two a modality at least."""
    return {"max_terms": 8192} if name == "kronecker" and len(Cohort.open(cohort).modalities) > 12 else {}


def table(run: Path, operators: dict[str, str]) -> str:
    """Lay out each model's main metric and its paired differences to the default and to the best baseline."""
    metrics, pairs = pd.read_parquet(run / "metrics.parquet"), pd.read_parquet(run / "comparisons.parquet")
    first = metrics["metric"].iloc[0]
    metrics = metrics[(metrics["metric"] == first) & (metrics["role"] != "ablation")]
    pairs = pairs[pairs["metric"] == first]
    lines = [f"| model | stage | {first} | n | events | against {DEFAULT} |", "| --- | --- | --- | --- | --- | --- |"]
    for row in metrics.sort_values("value", ascending=False).itertuples():
        found = pairs[(pairs["model"] == row.model) & (pairs["reference"] == DEFAULT)]
        turned = pairs[(pairs["model"] == DEFAULT) & (pairs["reference"] == row.model)]
        difference = ""
        if len(found):
            difference = shown(found["difference"].iloc[0], found["low"].iloc[0], found["high"].iloc[0], sign="+")
        elif len(turned):
            difference = shown(-turned["difference"].iloc[0], -turned["high"].iloc[0], -turned["low"].iloc[0], sign="+")
        cells = [row.model, operators.get(row.model, row.role), shown(row.value, row.low, row.high), f"{row.n:.0f}"]
        lines.append(f"| {' | '.join([*cells, f'{row.events:.0f}', difference])} |")
    return "\n".join(lines) + "\n"


def shown(value: float, low: float, high: float, *, sign: str = "") -> str:
    interval = f" ({low:{sign}.3f} to {high:{sign}.3f})" if math.isfinite(low) else ""
    return f"{value:{sign}.3f}{interval}"


if __name__ == "__main__":
    main()
