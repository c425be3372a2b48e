"""Do the phantom's predictions come true, model by model: recalibration slope and calibration in the large.

    python benchmarks/phantom_calibration.py --out RESULTS [--patients 400] [--repeats 2]

Draws a phantom cohort of tables, runs the standard panel on overall survival and on progression within 24 months, and measures
the out-of-fold predictions of every model: the slope by which they must be stretched to come true (1 is right, below 1 is
overfitted) and, with the slope held at 1, the shift (0 is right; survival: log of observed over expected hazard at the horizon,
binary: on the logit). Prints a Markdown table and writes it to ``RESULTS/calibration.md``.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.data.store import write_cohort
from oncoweave.evaluate.calibration import Recalibration, recalibrate, recalibrate_survival
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.train.study import Protocol, Study, run_study

ENDPOINTS = ("overall_survival", "progression_24m")
HORIZON = 36


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=11)
    given = parser.parse_args()
    cohort = given.out / "cohort"
    if not cohort.exists():
        drawn, _, _ = draw_cohort(Config(patients=given.patients, seed=given.seed, without=("slide", "report", "volume", "film")))
        write_cohort(drawn, cohort)
    protocol = Protocol(repeats=given.repeats, bootstrap=100, horizons=None)
    lines = ["| endpoint | model | slope | in the large | ICI |", "|---|---|---|---|---|"]
    for endpoint in ENDPOINTS:
        run = run_study(Study(name=endpoint, cohort=str(cohort), endpoint=endpoint, protocol=protocol), given.out / endpoint)
        roles = pd.read_parquet(run / "metrics.parquet").drop_duplicates("model").set_index("model")["role"]
        predictions = pd.read_parquet(run / "predictions.parquet")
        for model, rows in predictions.groupby("model"):
            if roles[model] in ("ablation", "null") or model == "site_only":
                continue
            found = list(measured(rows, endpoint))
            slope, shift, ici = (np.mean([getattr(r, n) for r in found]) for n in ("slope", "intercept", "ici"))
            lines.append(f"| {endpoint} | {model} | {slope:.2f} | {shift:+.2f} | {ici:.3f} |")
    text = "\n".join(lines)
    (given.out / "calibration.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def measured(rows: pd.DataFrame, endpoint: str) -> Iterator[Recalibration]:
    """Recalibrate each repeat by itself: in one, every patient stands once."""
    for _, once in rows.groupby("repeat"):
        try:
            if endpoint == ENDPOINTS[0]:
                survival = once[f"survival@{HORIZON}"].to_numpy()
                yield recalibrate_survival(once["time"].to_numpy(), once["event"].to_numpy(), survival, horizon=HORIZON)
            else:
                yield recalibrate(once["y"].to_numpy(), once["p"].to_numpy())
        except DataError as error:
            print(f"{endpoint}: {error}")


if __name__ == "__main__":
    main()
