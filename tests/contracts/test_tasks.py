"""What every task on the shelf promises; names are read from disk."""

import math
from dataclasses import replace

import pytest

from drawn_cohort import write_drawn
from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError, UnknownNameError
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import write_cohort
from oncoweave.evaluate.metrics import CHANCE, MAIN
from oncoweave.phantom.biology import SUBTYPES
from oncoweave.train.study import resolve
from oncoweave.train.task import (
    PHANTOM,
    Published,
    Source,
    Split,
    StandIn,
    Task,
    endpoint_of,
    load_task,
    member_of,
    modalities_of,
    study_of,
    task_names,
    unseen_of,
)
from oncoweave.train.task_groups import make_task_splits
from oncoweave.train.tile_task import TileTask, load_tile_task

PATIENT, TILE = task_names(), task_names("tile")
of_tasks = pytest.mark.parametrize("name", PATIENT)
of_tile_tasks = pytest.mark.parametrize("name", TILE)
of_all = pytest.mark.parametrize("name", PATIENT + TILE)
FILES = {e.name: e for e in shelf.catalogue("tasks")}
KNOWN_METRICS = {"macro_auroc", "macro_auprc", "auroc", "auprc", "c_index", *CHANCE}
TILE_METRICS = {"balanced accuracy"}
"""What every tile-level protocol measures."""
OTHER_METRICS = {"accuracy", "balanced_accuracy"}
"""Of published figures that no task is decided by."""
UNTOLD = "not|no figure|none|nobody"
"""What the notes say where there are no figures."""


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A phantom cohort with everything but volumes; slides are drawn bags, and everybody has everything."""
    folder = tmp_path_factory.mktemp("tasks") / "phantom"
    write_drawn(folder, patients=40)
    return folder


@pytest.fixture(scope="session")
def phantom(drawn):
    """The same, opened."""
    return Cohort.open(drawn)


def benchmark(name: str) -> str:
    return str(FILES[name.partition("/")[0]].constants["BENCHMARK"])


def test_the_benchmarks_are_whole():
    counted = [benchmark(n) for n in PATIENT]
    assert counted.count("GigaPath, subtyping") == 9
    assert counted.count("GigaPath, pathomics") == 17
    assert counted.count("IRENE") == 2
    assert counted.count("review") == 2
    detection = shelf.load("tasks", "detection_pancancer")
    assert (len(detection.COMMON), len(detection.RARE)) == (9, 7)
    assert len(set(detection.COMMON + detection.RARE)) == 16
    assert detection.TASK.split.unseen.groups == detection.RARE
    assert len([n for n in PATIENT if n.startswith("biomarkers_virchow/")]) == 9
    assert "Virchow, tiles" in {benchmark(n) for n in TILE}


def test_the_real_tasks_have_the_names_and_endpoints_that_their_cohorts_have():
    assert load_task("hancock_overall_survival").endpoints == ("overall_survival",)
    assert load_task("tcga_survival").source.cohorts == ("tcga_blca", "tcga_brca", "tcga_gbmlgg", "tcga_luad", "tcga_ucec")
    assert load_task("pancancer_survival").source.cohorts == ("pancancer_song",)
    assert [load_task(f"report_mutation/{k}").endpoints for k in ("driver_mutations", "msi_high", "tmb_high")] == [
        ("driver_mutations",),
        ("msi_high",),
        ("tmb_high",),
    ]
    assert load_task("report_mutation").name == "report_mutation/driver_mutations"
    assert {"hancock_recurrence", "report_cancer_type", "report_stage", "colon_bags"} <= set(PATIENT)
    assert {"crc_tiles", "luad_lusc_tiles"} <= set(TILE)


@of_tasks
def test_a_task_of_many_cancers_ranks_within_each_and_tells_them_apart(name):
    task = member_of(name)
    if "pancancer" in name or any(words in task.question for words in ("of any type", "any of 32 cancers", "whichever type")):
        assert task.strata, "most pairs would be of two cancers, which whoever knows the organ tells apart"
    assert bool(task.groups) == bool(task.strata) and set(task.groups) <= set(task.strata)


@of_all
def test_a_task_is_named_after_its_file_and_says_what_it_asks(name):
    task = member_of(name)
    assert isinstance(task, TileTask if name in TILE else Task)
    assert task.name == name
    assert task.question.endswith("?")
    assert FILES[name.partition("/")[0]].summary
    assert benchmark(name)
    assert len(task.source.name) > 3
    assert len(task.source.obtain) > 30


@pytest.mark.parametrize("file", FILES)
def test_a_family_lists_its_members_for_those_who_do_not_import_it(file):
    module = shelf.load("tasks", file)
    if hasattr(module, "TASKS"):
        assert tuple(module.TASKS) == module.KEYS
        assert not hasattr(module, "TASK")
        questions = [t.question for t in module.TASKS.values()]
        assert len(set(questions)) == len(questions)
    else:
        assert "KEYS" not in FILES[file].constants
    assert FILES[file].constants.get("LEVEL", "patient") in ("patient", "tile")


@of_tasks
def test_roles_are_of_kinds_that_can_be_read_and_each_is_some_models(name):
    task = load_task(name)
    assert {kind for kinds in task.roles.values() for kind in kinds} <= set(shelf.names("modalities"))
    assert task.required
    assert set(task.required) <= set(task.roles)
    assert set(task.optional) <= set(task.roles) - set(task.required)
    assert all(set(m.modalities or ()) <= set(task.roles) for m in task.models)
    named = {role for m in task.models for role in m.modalities or task.roles}
    assert named == set(task.roles)


@of_tasks
def test_the_panel_has_the_main_model_and_simple_ones(name):
    task = load_task(name)
    names = [m.name for m in task.models]
    assert task.main in names
    assert len(set(names)) == len(names)
    stages = {m.stage for m in task.models}
    assert {"early", "intermediate"} & stages
    if len(task.roles) > 1:
        assert "late" in stages
    for model in task.models:
        shelf.configure("fusion", model.fusion, model.settings)
        for kind, encoder in model.encoders.items():
            shelf.variant("encoders", encoder)
            assert kind in shelf.load("encoders", encoder).KINDS


@of_all
def test_figures_are_cited_within_the_range_of_their_metric_or_their_absence_is_explained(name):
    task = member_of(name)
    published = task.published
    assert published.citation
    assert published.source
    assert published.notes or published.figures
    if not published.figures:
        assert any(word in published.notes.casefold() for word in UNTOLD.split("|"))
    for figure in (*published.figures, *task.floor):
        assert figure.model
        assert figure.metric in KNOWN_METRICS | TILE_METRICS | OTHER_METRICS
        assert (-1 if "kappa" in figure.metric else 0) <= figure.value <= 1
        assert math.isnan(figure.low) == math.isnan(figure.high)
        assert math.isnan(figure.low) or figure.low < figure.value < figure.high
        assert not task.labels or figure.label in ("", *task.labels)
    said = [(f.model, f.metric, f.label, f.group) for f in published.figures]
    assert len(set(said)) == len(said)


@pytest.mark.parametrize("name", ["pulmonary_diseases", "adverse_outcome"])
def test_means_of_a_whole_table_are_those_of_its_labels(name):
    task = load_task(name)
    figures = task.published.figures
    assert {m.name for m in task.models} - {f.model for f in figures} == {"late_linear", "stacking"}  # ours
    for model in {f.model for f in figures}:
        own = {f.label: f.value for f in figures if f.model == model}
        assert set(own) == {"", *task.labels}
        # means are printed with three digits and so are their terms
        assert own[""] == pytest.approx(sum(own[label] for label in task.labels) / len(task.labels), abs=1.1e-3)


@of_tasks
def test_figures_of_groups_are_of_the_tasks_own(name):
    task = load_task(name)
    if len(task.source.cohorts) > 1:
        assert {f.group for f in (*task.published.figures, *task.floor)} == set(task.source.cohorts)


@of_tasks
def test_labels_and_metrics_are_those_of_the_endpoints_kinds(name):
    task = load_task(name)
    for kind, metric in task.metrics.items():
        assert metric in KNOWN_METRICS
        assert metric in MAIN[kind] or metric.startswith("macro_")
    if "binary" in task.metrics and "multiclass" not in task.metrics and "multilabel" not in task.metrics:
        assert len(task.labels) == 2
    if set(task.metrics) == {"survival"}:
        assert not task.labels
    assert len(set(task.labels)) == len(task.labels) != 1


@of_tasks
def test_the_split_says_whom_it_keeps_apart(name):
    task = load_task(name)
    assert len(task.split.rule) > 20
    assert "patient" in task.split.rule.casefold()
    assert task.protocol.splits is None
    assert (task.split.unseen is None) == (task.stand_in.unseen is None)


@of_tasks
def test_a_phantom_plays_the_tasks_part_as_a_study_that_resolves(name, drawn, phantom, tmp_path):
    task, cohort = load_task(name), phantom
    assert endpoint_of(task, cohort) == (task.stand_in.endpoint, True)
    assert cohort.endpoints[task.stand_in.endpoint].kind in task.metrics
    assert len(task.stand_in.reason) > 40
    played = modalities_of(task, cohort)
    assert all(cohort.modalities[m].kind in task.roles[role] for role, m in played.items())
    assert len(set(played.values())) == len(played)
    splits = None
    if unseen_of(task, cohort) is not None:
        with pytest.raises(ConfigError, match="nothing is trained on: make such splits"):
            study_of(task, drawn)
        splits = tmp_path / "splits.parquet"
        make_task_splits(task, drawn, splits)
    study = study_of(task, drawn, splits=splits)
    assert f"stand-in: {task.stand_in.endpoint}" in study.name
    resolved = resolve(study, cohort)
    assert resolved.main == task.main
    assert set(resolved.modalities) == set(played.values())
    for model in resolved.models:
        assert set(model.encoders) <= {cohort.modalities[m].kind for m in model.modalities}


@of_tasks
def test_a_cohort_that_lacks_a_role_is_refused(name, phantom):
    task, cohort = load_task(name), phantom
    role = task.required[0]
    kinds = task.roles[role]
    left = [m for m, spec in cohort.modalities.items() if spec.kind not in kinds]
    poor = replace(
        cohort, tables={m: cohort.tables[m] for m in left}, modalities={m: cohort.modalities[m] for m in left}, root=None
    )
    with pytest.raises(ConfigError, match=f"wants one {' or '.join(kinds)} as {role}; cohort 'phantom' has"):
        modalities_of(task, poor)


@of_tile_tasks
def test_tile_tasks_say_where_each_label_lies(name):
    task = load_tile_task(name)
    assert set(task.layout.folders) == set(task.labels)
    assert len(set(task.layout.folders.values())) == len(task.labels) >= 2
    assert task.layout.train != task.layout.test
    assert task.metrics
    assert set(task.metrics) <= TILE_METRICS
    assert task.tile_px > 0
    assert task.mpp is None or 0.1 < task.mpp < 2
    assert len(task.split) > 10


@of_tile_tasks
def test_tissues_of_the_phantom_play_the_tiles(name):
    stand_in = load_tile_task(name).stand_in
    tissues = {f"tumour, {s}" for s in SUBTYPES} | {"stroma", "necrosis", "fat"}
    used = [tissue for made_of in stand_in.classes.values() for tissue in made_of]
    assert set(used) <= tissues
    assert len(set(used)) == len(used)
    assert len(stand_in.classes) >= 2
    assert len(stand_in.reason) > 40


def toy(**changes: object) -> Task:
    """A task of a record and, where there is one, an embedding."""
    facts = {
        "name": "toy",
        "question": "Which?",
        "source": Source(name="toy", obtain="nowhere"),
        "roles": {"clinical": ("record",), "blood": ("record",), "picture": ("embedding", "slide")},
        "required": ("clinical",),
        "optional": ("blood", "picture"),
        "endpoints": ("subtype",),
        "metrics": {"multiclass": "macro_auroc"},
        "models": load_task("tcga_survival").models,
        "main": "stacking",
        "published": Published(citation="none", source="none", notes="none"),
        "stand_in": StandIn(endpoint="subtype", reason="a toy"),
        "split": Split(rule="by patient"),
    }
    return Task(**(facts | changes))


def test_roles_are_played_by_name_first_and_each_modality_plays_one(phantom):
    assert modalities_of(toy(), phantom) == {"clinical": "record", "picture": "slide"}
    named = replace(
        phantom,
        tables={"blood": phantom.tables["record"], "other": phantom.tables["record"]},
        modalities={m: ModalitySpec(name=m, kind="record") for m in ("blood", "other")},
    )
    assert modalities_of(toy(), named) == {"clinical": "other", "blood": "blood"}
    twice = replace(named, tables={**named.tables, "third": phantom.tables["record"]},
                    modalities={**named.modalities, "third": ModalitySpec(name="third", kind="record")})  # fmt: skip
    with pytest.raises(ConfigError, match=r"wants one record as clinical.*; call the one to take 'clinical'"):
        modalities_of(toy(), twice)


def test_a_cohort_that_is_no_phantom_answers_with_its_own_endpoint_and_splits(drawn, phantom, tmp_path):
    own = replace(phantom, name="hospital", tables={"record": phantom.tables["record"]},
                  modalities={"record": phantom.modalities["record"]})  # fmt: skip
    write_cohort(own, tmp_path / "hospital")
    task = toy(split=Split(rule="by patient", released="somewhere"))
    assert phantom.name == PHANTOM
    assert study_of(task, drawn).name == "toy (stand-in: subtype; without blood)"
    study = study_of(task, tmp_path / "hospital")
    assert study.name == "toy (own split; without blood, picture)"
    assert study.protocol.group_by_site == "auto"
    (tmp_path / "s.csv").write_text("patient_id,repeat,fold\n")
    released = study_of(task, tmp_path / "hospital", splits=tmp_path / "s.csv")
    assert released.name == "toy (without blood, picture)"
    assert released.protocol.group_by_site is False


def test_models_that_name_an_absent_role_are_left_out(drawn, phantom, tmp_path):
    task = load_task("hancock_overall_survival")
    whole = {m.name for m in study_of(task, drawn).models}
    assert "clinical_pathology_blood_early" in whole
    write_cohort(replace(phantom, tables={"record": phantom.tables["record"]},
                         modalities={"record": phantom.modalities["record"]}), tmp_path / "poor")  # fmt: skip
    left = {m.name for m in study_of(task, tmp_path / "poor").models}
    assert whole - left == {"clinical_pathology_blood_early", "clinical_pathology_blood_late"}


def test_wrong_names_are_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="mutation_luad_tcga"):
        load_task("mutation_luad_tgca")
    with pytest.raises(UnknownNameError, match="EGFR"):
        load_task("mutation_luad_tcga/EGFP")
    with pytest.raises(UnknownNameError, match="colon_bags"):
        load_task("colon_bags/one")
    with pytest.raises(ConfigError, match="is about tiles"):
        load_task("crc_tiles")
    with pytest.raises(ConfigError, match="is not about tiles"):
        load_tile_task("colon_bags")
