"""What every task on the shelf promises; names are read from disk."""

import math

import pytest

from oncoweave.core import shelf
from oncoweave.evaluate.metrics import CHANCE
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import ENDPOINTS, draw_cohort
from oncoweave.train.study import Study, resolve
from oncoweave.train.task import Task, endpoint_of, load_task, modalities_of

of_tasks = pytest.mark.parametrize("name", shelf.names("tasks"))
KNOWN_METRICS = {"macro_auroc", "macro_auprc", "auroc", "auprc", "c_index", *CHANCE}


@of_tasks
def test_a_task_is_named_after_its_file_and_says_what_it_asks(name):
    task = load_task(name)
    assert isinstance(task, Task)
    assert task.name == name
    assert task.question.endswith("?")
    assert shelf.catalogue("tasks")[shelf.names("tasks").index(name)].summary


@of_tasks
def test_roles_are_of_kinds_that_can_be_read_and_each_is_some_models(name):
    task = load_task(name)
    assert {kind for kinds in task.roles.values() for kind in kinds} <= set(shelf.names("modalities"))
    assert task.required
    assert set(task.required) <= set(task.roles)
    assert all(set(m.modalities or ()) <= set(task.roles) for m in task.models)


@of_tasks
def test_the_panel_has_the_main_model_and_a_baseline_that_sees_what_is_required(name):
    task = load_task(name)
    names = [m.name for m in task.models]
    assert task.main in names
    assert len(set(names)) == len(names)
    assert any(m.modalities and set(m.modalities) <= set(task.required) for m in task.models)
    assert {"early", "intermediate", "late"} & {m.stage for m in task.models} >= {"intermediate", "late"}
    for model in task.models:
        shelf.configure("fusion", model.fusion, model.settings)
        for kind, encoder in model.encoders.items():
            shelf.variant("encoders", encoder)
            assert kind in shelf.load("encoders", encoder).KINDS


@of_tasks
def test_published_figures_are_cited_and_of_every_model_or_say_so(name):
    task = load_task(name)
    figures = task.published.figures
    assert task.published.citation
    assert task.published.source
    assert {m.name for m in task.models} <= {f.model for f in figures}
    assert {f.label for f in figures} == {"", *task.labels}
    for figure in figures:
        assert 0 <= figure.value <= 1
        assert math.isnan(figure.low) or figure.low < figure.value < figure.high
    for model in {f.model for f in figures}:
        own = {f.label: f.value for f in figures if f.model == model}
        assert len(own) == 1 + len(task.labels)
        # means are printed with three digits and so are their terms
        assert own[""] == pytest.approx(sum(own[label] for label in task.labels) / len(task.labels), abs=1.1e-3)


@of_tasks
def test_metrics_are_those_of_the_endpoints_kinds(name):
    task = load_task(name)
    assert set(task.metrics.values()) <= KNOWN_METRICS
    stand_in = {e.name: e.kind for e in ENDPOINTS}[task.stand_in.endpoint]
    assert stand_in in task.metrics
    assert task.stand_in.endpoint not in task.endpoints
    assert len(task.stand_in.reason) > 40


@of_tasks
def test_a_phantom_plays_the_tasks_part(name):
    task = load_task(name)
    cohort, _, _ = draw_cohort(Config(patients=12, without=("slide", "volume")))
    assert endpoint_of(task, cohort) == (task.stand_in.endpoint, True)
    played = modalities_of(task, cohort)
    assert {cohort.modalities[m].kind for m in played.values()} <= {kind for kinds in task.roles.values() for kind in kinds}
    models = tuple(
        m.model_copy(update={"modalities": tuple(played[r] for r in m.modalities or played), "encoders": {}}) for m in task.models
    )
    study = Study(name="s", cohort="c", endpoint=task.stand_in.endpoint, models=models, main=task.main)
    assert resolve(study, cohort).main == task.main
