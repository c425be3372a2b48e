"""A study whose films start from a vision transformer of a local file, trained further and frozen."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save_file

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.state import load_state
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import write_cohort
from oncoweave.encoders import vit
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, run_study


def films(folder: Path, rng: np.random.Generator) -> Cohort:
    folder.mkdir()
    ids = pd.Index([f"p{i}" for i in range(16)], dtype=object, name="patient_id")
    for name in ids:
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(folder / f"{name}.png")
    table = pd.DataFrame({"patient_id": ids, "sample_id": ids, "path": [str(folder / f"{name}.png") for name in ids]})
    return Cohort(
        name="c",
        patients=pd.DataFrame({"site": "A", "y": np.arange(16) % 2.0}, index=ids),
        tables={"film": table},
        modalities={"film": ModalitySpec(name="film", kind="film")},
        endpoints={"y": Endpoint(name="y", kind="binary", columns=("y",))},
    )


def test_films_start_from_a_file_in_a_study(tmp_path, rng):
    write_cohort(films(tmp_path / "films", rng), tmp_path / "cohort")
    config = vit.Config(image=96, patch=16, dim=64, depth=1, heads=1, hidden=256, layer_scale=None)
    weights = vit.build(config, generator=torch.Generator().manual_seed(0)).state_dict()
    save_file({f"vit.{key}": value for key, value in weights.items()}, tmp_path / "vit.safetensors")
    start = {"encoders": {"film": "pretrained_vit"}, "weights": {"film": str(tmp_path / "vit.safetensors")}}
    study = Study(
        name="s",
        cohort=str(tmp_path / "cohort"),
        endpoint="y",
        models=(
            ModelSpec(name="tuned", fusion="gated", **start),
            ModelSpec(name="frozen", fusion="gated", frozen=("film",), **start),
        ),
        main="tuned",
        protocol=Protocol(folds=2, repeats=1, inner_folds=2, bootstrap=100, group_by_site=False, permutations=0),
        network=NetworkConfig(epochs=1, members=1, width=8),
    )
    run = run_study(study, tmp_path / "run")
    predictions = pd.read_parquet(run / "predictions.parquet")
    assert np.isfinite(predictions["p"]).all()
    assert {"tuned", "frozen"} <= set(predictions["model"])
    changed = {}
    for name in ("tuned", "frozen"):
        fitted = load_state(run / "models" / f"{name}.safetensors").fitted
        assert fitted.config.modalities["film"].settings["side"] == 6
        kept = fitted.members[0]["encoders.film.lower.pos_embed"]
        changed[name] = float(np.abs(kept - weights["pos_embed"].numpy()).max())
    assert changed["frozen"] == 0
    assert 0 < changed["tuned"] < 0.1
