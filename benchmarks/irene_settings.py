"""Which settings train IRENE's transformer on some hundred patients, asked of another drawn cohort than the tasks' own.

    python benchmarks/irene_settings.py --out OUT [--jobs 2] [--folds 2] [--patients 640]

The image alone and ``mdt`` of the task ``pulmonary_diseases``, tested on the first folds of a cohort drawn from another seed than
that of ``irene_tasks.py``; one network a fold. Writes macro AUROC by setting, fold and model to ``OUT/irene_settings.csv``, and
prints their means; what is done is not done again.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from irene_tasks import DRAWN, draw

from oncoweave.data.cohort import Cohort
from oncoweave.evaluate.discrimination import macro_auroc
from oncoweave.train.dataset import load_dataset
from oncoweave.train.locked import lock
from oncoweave.train.panel import plan
from oncoweave.train.read_as import read_as
from oncoweave.train.scarcity import fold_of, training_rows
from oncoweave.train.splitting import study_splits
from oncoweave.train.study import Study, resolve
from oncoweave.train.task import load_task, study_of

TASK = "pulmonary_diseases"
SEED = 11
"""Of the cohort; that of the tasks is another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What one panel of two models differs by."""

    film: str
    """Encoder of films."""
    depth: int
    """Blocks of the transformer, half of which exchange, one at least."""
    learning_rate: float
    warm_up: int
    report: int = 4
    """Blocks of the encoder of reports."""

    @property
    def name(self) -> str:
        """What stands in the table."""
        named = f"{self.film}, {self.depth} blocks, {self.learning_rate:g}, warm-up {self.warm_up}"
        return named if self.report == 4 else f"{named}, reports {self.report}"


SETTINGS = (
    Setting(film="cnn2d", depth=2, learning_rate=3e-4, warm_up=5),
    Setting(film="cnn2d", depth=2, learning_rate=3e-4, warm_up=5, report=1),
    Setting(film="film_vit", depth=2, learning_rate=3e-4, warm_up=5),
    Setting(film="cnn2d", depth=4, learning_rate=3e-4, warm_up=5),
    Setting(film="cnn2d", depth=2, learning_rate=1e-4, warm_up=5),
    Setting(film="cnn2d", depth=2, learning_rate=1e-4, warm_up=5, report=1),
    Setting(film="cnn2d", depth=1, learning_rate=1e-4, warm_up=5, report=1),
    Setting(film="cnn2d", depth=2, learning_rate=1e-3, warm_up=0),
    Setting(film="film_vit", depth=4, learning_rate=3e-4, warm_up=5),
)
"""What was read first, and what differs from it or from one another in one thing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--patients", type=int, default=640)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    folder, table = draw(given.out, given.patients, seed=SEED), given.out / "irene_settings.csv"
    done = pd.read_csv(table) if table.exists() else pd.DataFrame(columns=["setting", "fold"])
    had = set(zip(done["setting"], done["fold"], strict=True))
    asked = [(setting, fold) for fold in range(given.folds) for setting in SETTINGS if (setting.name, fold) not in had]
    with ProcessPoolExecutor(given.jobs) as pool:
        for rows in pool.map(fitted, [folder] * len(asked), *zip(*asked, strict=True)) if asked else ():
            done = pd.concat([done, rows], ignore_index=True)
            done.to_csv(table, index=False)
            print(rows.to_string(header=False, index=False), flush=True)
    means = done.groupby(["setting", "model"])["macro_auroc"].mean().unstack()
    print(means.sort_values("mdt", ascending=False).round(3).to_string())


def fitted(folder: Path, setting: Setting, number: int) -> pd.DataFrame:
    """Fit the two models of a setting on the training patients of a fold and score those left out."""
    cohort = Cohort.open(folder)
    study = resolve(asked_of(folder, setting), cohort)
    kinds = {name: cohort.modalities[name].kind for name in study.modalities or ()}
    data = load_dataset(cohort, study.endpoint, tuple(kinds), read_as(kinds, study.preparation))
    splits, _ = study_splits(study, data, cohort_ids=cohort.patient_ids)
    train, test = next((train, test) for (_, fold), train, test in training_rows(data.patient_ids, splits) if fold == number)
    left_out, rows = data.take(test), []
    for planned in plan(study, has_sites=True):
        if planned.name not in ("image_only", "mdt"):
            continue
        started = time.time()
        scored = lock(planned, fold_of(study, data.take(train), repeat=0, fold=number), study).frame(left_out)
        probabilities = scored.filter(like="p@").to_numpy()  # in the order of the labels
        area = macro_auroc(left_out.outcome.values, probabilities)
        rows.append({"setting": setting.name, "fold": number, "model": planned.name, "macro_auroc": area})
        rows[-1]["seconds"] = round(time.time() - started)
    return pd.DataFrame(rows)


def asked_of(folder: Path, setting: Setting) -> Study:
    """The task's study with the image alone and the transformer, of one setting."""
    asked = study_of(load_task(TASK), folder)
    models = [model for model in asked.models or () if model.name in ("image_only", "mdt")]
    film = {"film": {"depth": 1}} if setting.film == "film_vit" else {}
    changed = []
    for model in models:
        encoders = model.encoders | {"film": model.encoders["film"].replace("cnn2d", setting.film)}
        update = {"encoders": encoders, "encoder_settings": film}
        if model.fusion == "mdt":
            update["encoder_settings"] = film | {"report": {"depth": setting.report}}
            update["settings"] = {"depth": setting.depth, "mixing": max(1, setting.depth // 2)}
        changed.append(model.model_copy(update=update))
    pace = {"learning_rate": setting.learning_rate, "warm_up": setting.warm_up}
    return asked.model_copy(
        update={
            "models": tuple(changed),
            "main": "image_only",
            "network": asked.network.model_copy(update=pace),
            "protocol": asked.protocol.model_copy(update={"permutations": 0}),
            "preparation": {"film": {"side": DRAWN}},
        }
    )


if __name__ == "__main__":
    main()
