"""A benchmark task: who takes part, what is predicted, by which models, how it is split and judged, and what was published.

A file on the tasks shelf holds one as ``TASK``. :func:`study_of` asks it of a cohort: the roles of the task (image, text, values)
are given to the cohort's modalities by their kind, and the endpoint is the task's own where the cohort has it, otherwise its
stand-in on phantom cohorts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oncoweave.core import shelf
from oncoweave.core.endpoint import EndpointKind
from oncoweave.core.errors import ConfigError
from oncoweave.data.cohort import Cohort
from oncoweave.data.store import read_documents, write_cohort
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One published number."""

    model: str
    """As the panel names it, where it has that model."""
    metric: str
    label: str
    """Empty for the mean over labels."""
    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """Figures of a paper, and what has to be known to read them."""

    citation: str
    source: str
    """The table."""
    figures: tuple[Figure, ...]
    notes: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StandIn:
    """What plays the task's part on phantom cohorts, so that it can be run by anyone."""

    endpoint: str
    reason: str
    """Why it is only a stand-in: figures on it are never held against the published ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task; every model sees the same patients, folds and seeds."""

    name: str
    question: str
    roles: Mapping[str, tuple[str, ...]]
    """What a modality is to the task, and the kinds that can be it, the preferred one first."""
    required: tuple[str, ...]
    """Roles that every patient has to have, so that models that see nothing else are judged on the same patients."""
    endpoints: tuple[str, ...]
    """Names of the endpoint in cohorts, the preferred one first."""
    labels: tuple[str, ...]
    """What is told apart, in the paper's order."""
    metrics: Mapping[EndpointKind, str]
    """The metric that decides, by kind of endpoint."""
    models: tuple[ModelSpec, ...]
    """Modalities are named by role, encoders by kind."""
    main: str
    published: Published
    stand_in: StandIn
    protocol: Protocol = field(default_factory=Protocol)
    network: NetworkConfig = field(default_factory=NetworkConfig)


def load_task(name: str) -> Task:
    """Look a task up on its shelf."""
    task: Task = shelf.load("tasks", name).TASK
    return task


def endpoint_of(task: Task, cohort: Cohort) -> tuple[str, bool]:
    """Find what a task predicts in a cohort, and whether it is only the stand-in.

    Raises:
        ConfigError: the cohort has neither, or an endpoint of that name of another kind.
    """
    for name in (*task.endpoints, task.stand_in.endpoint):
        if name not in cohort.endpoints:
            continue
        kind = cohort.endpoints[name].kind
        if kind not in task.metrics:
            msg = f"task {task.name!r}: endpoint {name!r} of cohort {cohort.name!r} is {kind}; wanted {' or '.join(task.metrics)}"
            raise ConfigError(msg)
        return name, name not in task.endpoints
    wanted = ", ".join((*task.endpoints, task.stand_in.endpoint))
    msg = f"task {task.name!r} predicts one of: {wanted}; cohort {cohort.name!r} has {', '.join(cohort.endpoints) or 'none'}"
    raise ConfigError(msg)


def modalities_of(task: Task, cohort: Cohort) -> dict[str, str]:
    """Find the modality that plays each role, by its kind.

    Raises:
        ConfigError: a role has no modality, or two of the same kind.
    """
    found: dict[str, str] = {}
    for role, kinds in task.roles.items():
        fitting = {kind: [m for m, spec in cohort.modalities.items() if spec.kind == kind] for kind in kinds}
        names = next((names for names in fitting.values() if names), [])
        if len(names) != 1:
            held = {m: spec.kind for m, spec in cohort.modalities.items()}
            msg = f"task {task.name!r} wants one {' or '.join(kinds)} as {role}; cohort {cohort.name!r} has {held}"
            raise ConfigError(msg)
        found[role] = names[0]
    return found


def admit(task: Task, cohort: Path | str, out: Path | str) -> dict[str, int]:
    """Write the cohort of those who can take part to another folder; returns how many lack each required role.

    Whether an outcome is known is left to the study, which counts the patients it leaves out. Figures are in ``task.json``.

    Raises:
        ConfigError: a role has no modality, or nobody is left.
        DataError: the place is taken.
    """
    opened = Cohort.open(cohort)
    lacking = _lacking(task, opened)
    has = opened.availability()[[modalities_of(task, opened)[role] for role in task.required]].all(axis=1)
    if not has.any():
        msg = f"task {task.name!r}: no patient of cohort {opened.name!r} has {' and '.join(task.required)}"
        raise ConfigError(msg)
    documents = read_documents(Path(cohort)) | {"task.json": {"task": task.name, "patients": int(has.sum()), "lacking": lacking}}
    write_cohort(opened.take(opened.patient_ids[has.to_numpy()]), out, documents=documents)
    return lacking


def study_of(task: Task, cohort: Path | str) -> Study:
    """Turn a task into a study of a cohort folder: its panel, its protocol, its endpoint.

    Raises:
        ConfigError: the cohort lacks a role or an endpoint of the task, or holds patients without a required role.
    """
    opened = Cohort.open(cohort)
    endpoint, stands_in = endpoint_of(task, opened)
    played = modalities_of(task, opened)
    if lacking := {role: count for role, count in _lacking(task, opened).items() if count}:
        msg = f"task {task.name!r}: patients without {lacking} of {len(opened)}; leave them out with train.task.admit first"
        raise ConfigError(msg)
    kinds = {opened.modalities[m].kind for m in played.values()}
    return Study(
        name=f"{task.name} (stand-in: {endpoint})" if stands_in else task.name,
        cohort=str(Path(cohort).resolve()),
        endpoint=endpoint,
        modalities=tuple(played.values()),
        models=tuple(_played(model, played, kinds=kinds, held=opened) for model in task.models),
        main=task.main,
        protocol=task.protocol,
        network=task.network,
    )


def _lacking(task: Task, cohort: Cohort) -> dict[str, int]:
    played, availability = modalities_of(task, cohort), cohort.availability()
    return {role: int((~availability[played[role]]).sum()) for role in task.required}


def _played(model: ModelSpec, played: Mapping[str, str], *, kinds: set[str], held: Cohort) -> ModelSpec:
    """Put modalities in place of roles, and leave out encoders of kinds that the model does not see."""
    chosen = tuple(played[role] for role in model.modalities or tuple(played))
    seen = kinds & {held.modalities[m].kind for m in chosen}
    encoders = {kind: encoder for kind, encoder in model.encoders.items() if kind in seen}
    return model.model_copy(update={"modalities": chosen, "encoders": encoders})
