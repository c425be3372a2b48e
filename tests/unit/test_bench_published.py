"""Published figures are comparable only where the split is the one that was released."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.data.splits import splits_hash, write_splits
from oncoweave.serve.bench.published import published_section
from oncoweave.serve.bench.results import Results
from oncoweave.train.bench.asked import Asked
from oncoweave.train.bench.spec import Bench, Entry, Place
from oncoweave.train.study import Study
from oncoweave.train.task import Split, load_task

RELEASED = pd.DataFrame({"patient_id": [f"P{i}" for i in range(20)], "repeat": 0, "fold": np.arange(20) % 5})
OTHER = RELEASED.assign(fold=np.arange(20) % 4)


def said(name: str, folder: Path, *, given: pd.DataFrame | None, used: pd.DataFrame, released: bool) -> str:
    """What the page says of the best published figure."""
    task = load_task(name)
    split = Split(rule="r", released="a table", known={"c": splits_hash(RELEASED)}) if released else task.split
    task = replace(task, split=split)
    if given is not None:
        write_splits(folder / "given.parquet", given)
    write_splits(folder / "splits.parquet", used)
    place = Place(cohort="c", splits=None if given is None else str(folder / "given.parquet"))
    made = str(folder / "given.parquet" if given is not None else folder / "made_by_the_bench.parquet")
    study = Study(name="s", cohort="c", endpoint="e", protocol={"splits": made})
    endpoint, metric = Endpoint(name="e", kind="binary", columns=("e",)), next(iter(task.metrics.values()))
    asked = Asked(
        entry=Entry(key=name, task=name, place=place), task=task, study=study, endpoint=endpoint, stand_in=False, metric=metric,
        run=folder, same_as="",
    )  # fmt: skip
    row = {"task": name, "model": "m", "name": "m", "role": "fusion", "main": True, "metric": metric, "value": 0.6, "low": 0.5}
    scores = pd.DataFrame(
        [
            {
                **row,
                "high": 0.7,
                "rank": 1.0,
                "stratum": "",
                "all_pairs": np.nan,
                "same_as": "",
                "stand_in": False,
                "level": "patients",
            }
        ]
    )
    results = Results(
        bench=Bench(name="b", tasks={name: "c"}), asked=(asked,), scores=scores, duels=pd.DataFrame(columns=["task", "question"]),
        groups=pd.DataFrame(), curves=pd.DataFrame(), audits=pd.DataFrame(), failures={}, pages={}, seconds=1.0,
    )  # fmt: skip
    return published_section(results).blocks[0].rows[0].cells[3]


@pytest.mark.parametrize(
    ("given", "used", "released", "wanted"),
    [
        (RELEASED, RELEASED, True, "yes\nthe released split"),
        (RELEASED.sample(frac=1, random_state=0), RELEASED, True, "yes\nthe released split"),
        (RELEASED, RELEASED.iloc[2:], True, "nearly\nthe released split less 2 patients"),
        (OTHER, OTHER, True, "context\nanother split"),
        (None, RELEASED, True, "context\nanother split"),
        (None, RELEASED, False, "context\nsplit of our own"),
        (RELEASED, RELEASED, False, "context\nsplits given, none released"),
    ],
)
def test_only_the_released_split_is_the_same_split(tmp_path, given, used, released, wanted):
    name = "pancancer_survival" if released else "detection_pancancer"
    assert said(name, tmp_path, given=given, used=used, released=released) == wanted
