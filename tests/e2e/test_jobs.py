"""A study fitted by two processes: the same figures, errors as from one, and a run that was stopped goes on with any number."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from oncoweave.core.errors import ConfigError
from oncoweave.core.state import load_state
from oncoweave.data.cohort import Cohort
from oncoweave.data.store import write_cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.train import fitting
from oncoweave.train.dataset import load_dataset
from oncoweave.train.fitting import Fitting, fit_all
from oncoweave.train.ledger import discard_changed, recorded
from oncoweave.train.splitting import study_splits
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, resolve, run_study

MODELS = (ModelSpec(name="network", fusion="mean"), ModelSpec(name="late", fusion="average"))
QUICK = Protocol(folds=2, repeats=1, inner_folds=2, bootstrap=100, group_by_site=False, permutations=0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    drawn, _, _ = draw_cohort(Config(patients=60, seed=3, without=("slide", "report", "volume", "film", "variants")))
    return write_cohort(drawn, tmp_path_factory.mktemp("phantom") / "cohort")


def study(cohort: Path, *models: ModelSpec) -> Study:
    return Study(
        name="s",
        cohort=str(cohort),
        endpoint="progression_24m",
        models=models or MODELS,
        main="late" if not models else models[0].name,
        protocol=QUICK,
        network=NetworkConfig(epochs=2, members=1),
    )


@pytest.fixture(autouse=True)
def equal_threads(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))


def fitted(cohort: Path, out: Path) -> Fitting:
    out.mkdir()
    opened = Cohort.open(cohort)
    asked = resolve(study(cohort), opened)
    data = load_dataset(opened, asked.endpoint, asked.modalities)
    data = data.take(data.outcome.known & data.availability.any(axis=1))
    return Fitting(out=out, study=asked, data=data, splits=study_splits(asked, data)[0])


def test_two_processes_that_were_stopped_end_with_the_bits_of_one(cohort, tmp_path, monkeypatch):
    alone, together = fitted(cohort, tmp_path / "alone"), fitted(cohort, tmp_path / "together")
    kept = fitting.record

    def stop(out: Path, *paths: Path) -> None:
        kept(out, *paths)
        if sum(name.startswith("parts/") for name in recorded(out)) == len(together.folds()):
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "record", stop)
    with pytest.raises(KeyboardInterrupt):
        fit_all(together, jobs=2)
    monkeypatch.setattr(fitting, "record", kept)
    discard_changed(together.out)  # as a run begins: a process may have written a file that nobody came to record
    parts = [together.part(*fold) for fold in together.folds()]
    written = [part.stat().st_mtime_ns for part in parts]
    pd.testing.assert_frame_equal(fit_all(alone, jobs=1), fit_all(together, jobs=1), check_exact=True)
    assert [part.stat().st_mtime_ns for part in parts] == written
    assert recorded(alone.out).keys() == recorded(together.out).keys()
    assert not together.checkpoints.exists()
    members = [load_state(given.locked("network")).fitted.members[0] for given in (alone, together)]
    assert all((members[0][key] == value).all() for key, value in members[1].items())


def test_what_cannot_be_fitted_is_told_as_by_one_process(cohort, tmp_path):
    save_file({"weight": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    wrong = ModelSpec(
        name="wrong", fusion="mean", encoders={"record": "snn"}, weights={"record": str(tmp_path / "other.safetensors")}
    )
    with pytest.raises(ConfigError, match="weights do not fit") as caught:
        run_study(study(cohort, wrong), tmp_path / "run", jobs=2)
    assert caught.value.__notes__ == ["while fitting model 'wrong' on 27 training patients"]
