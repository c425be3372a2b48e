"""A benchmark task: who takes part, what is predicted, by which models, how it is split and judged, and what was published.

A file on the tasks shelf holds one as ``TASK``, or a family that differs in a label as ``TASKS``, with the names of its members
in ``KEYS``. :func:`study_of` asks a task of a cohort: its roles (slide, text, values) are given to the cohort's modalities by
name or kind, and the endpoint is the task's own where the cohort has it, otherwise its stand-in on phantom cohorts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oncoweave.core import shelf
from oncoweave.core.endpoint import EndpointKind
from oncoweave.core.errors import ConfigError, unknown_name
from oncoweave.data.cohort import Cohort
from oncoweave.data.published_splits import read_published
from oncoweave.data.store import read_documents, write_cohort
from oncoweave.data.unseen_groups import Unseen, check_unseen, lacking_groups
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study

PHANTOM = "phantom"
"""Name of every phantom cohort: on these a task is always its stand-in, even where an endpoint has the same name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One published number."""

    model: str
    """As the panel names it, where it has that model."""
    metric: str
    value: float
    label: str = ""
    """Empty for all labels, or where there is only one question."""
    group: str = ""
    """What it is about where that is not the whole task: a cohort, the rare cancers, the mean over a family of tasks."""
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """Figures of a paper, and what has to be known to read them."""

    citation: str
    source: str
    """The table, figure or file."""
    notes: str
    figures: tuple[Figure, ...] = ()
    """Only those that were checked; none where the paper's are not in reach, which the notes then say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The cohort a task is published on."""

    name: str
    obtain: str
    """Where a user gets it."""
    cohorts: tuple[str, ...] = ()
    """Names of the cohort folders, where the repository builds them; several where the task is asked of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Who is tested on whom; always by patient."""

    rule: str
    released: str = ""
    """Splits that were released, and what reads them; empty where there are none and the protocol makes its own."""
    known: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of released splits (``data.splits.splits_hash``), by name of the cohort; no other split counts as theirs."""
    unseen: Unseen | None = None
    """Groups of patients that are tested and never trained on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StandIn:
    """What plays the task's part on phantom cohorts, so that it can be run by anyone."""

    endpoint: str
    reason: str
    """Why it is only a stand-in: figures on it are never held against the published ones."""
    unseen: Unseen | None = None
    """Groups of the phantom that play those unseen in training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task; every model sees the same patients, folds and seeds."""

    name: str
    question: str
    source: Source
    roles: Mapping[str, tuple[str, ...]]
    """What a modality is to the task, and the kinds that can be it, the preferred one first. A modality that is called like a
    role plays it; the others are given to roles by kind, in order."""
    required: tuple[str, ...]
    """Roles that every patient has to have, so that models that see nothing else are judged on the same patients."""
    optional: tuple[str, ...] = ()
    """Roles that a cohort may lack altogether; models that name one are then left out."""
    endpoints: tuple[str, ...]
    """Names of the endpoint in cohorts, the preferred one first."""
    labels: tuple[str, ...] = ()
    """What is told apart, in the paper's order; empty for survival, and where the endpoint's own are taken."""
    metrics: Mapping[EndpointKind, str]
    """The metric that decides, by kind of endpoint."""
    groups: tuple[str, ...] = ()
    """Columns of the patient table by which performance is told apart where a cohort has them, such as the type of cancer."""
    strata: tuple[str, ...] = ()
    """Columns of the patient table, the first that a cohort has, within whose values patients are ranked (``Study.stratum``)."""
    models: tuple[ModelSpec, ...]
    """Modalities are named by role, encoders by kind."""
    main: str
    published: Published
    floor: tuple[Figure, ...] = ()
    """What simple models reach on the same split, measured with this project's code or data."""
    stand_in: StandIn
    split: Split
    specimens: bool = False
    """Whether a row is a specimen, of which a person may have several: who it is of has to be said (``study_of(person=...)``)."""
    protocol: Protocol = field(default_factory=Protocol)
    network: NetworkConfig = field(default_factory=NetworkConfig)


def task_names(level: str = "patient") -> list[str]:
    """List all tasks of patients (or of tiles), members of families as ``file/key``; nothing is imported."""
    entries = (e for e in shelf.catalogue("tasks") if e.constants.get("LEVEL", "patient") == level)
    return [name for entry in entries for name in entry.members]


def load_task(name: str) -> Task:
    """Look a task up on its shelf; a family's bare name means its first member.

    Raises:
        UnknownNameError: no such file, or no such member of the family.
        ConfigError: a task about tiles, which have no patients to be asked of.
    """
    task = member_of(name)
    if not isinstance(task, Task):
        msg = f"task {name!r} is about tiles: load it with train.tile_task.load_tile_task; tasks of patients: task_names()"
        raise ConfigError(msg)
    return task


def member_of(name: str) -> Any:  # noqa: ANN401  (tasks of patients and of tiles share the shelf)
    """Look up what a file of the tasks shelf holds under a name."""
    module, (stem, _, key) = shelf.load("tasks", name), name.partition("/")
    if not hasattr(module, "TASKS"):
        if key:
            raise unknown_name("task", name, [stem])
        return module.TASK
    tasks: dict[str, object] = module.TASKS
    if key and key not in tasks:
        raise unknown_name(f"task of the family {stem!r}", key, tasks)
    return tasks[key or next(iter(tasks))]


def endpoint_of(task: Task, cohort: Cohort) -> tuple[str, bool]:
    """Find what a task predicts in a cohort, and whether it is only the stand-in.

    Raises:
        ConfigError: the cohort has neither, or an endpoint of that name of another kind.
    """
    own = () if cohort.name == PHANTOM else task.endpoints
    for name in (*own, task.stand_in.endpoint):
        if name not in cohort.endpoints:
            continue
        kind = cohort.endpoints[name].kind
        if kind not in task.metrics:
            msg = f"task {task.name!r}: endpoint {name!r} of cohort {cohort.name!r} is {kind}; wanted {' or '.join(task.metrics)}"
            raise ConfigError(msg)
        return name, name not in own
    wanted = ", ".join((*task.endpoints, task.stand_in.endpoint))
    msg = f"task {task.name!r} predicts one of: {wanted}; cohort {cohort.name!r} has {', '.join(cohort.endpoints) or 'none'}"
    raise ConfigError(msg)


def modalities_of(task: Task, cohort: Cohort) -> dict[str, str]:
    """Find the modality that plays each role: the one of that name, otherwise the only one of its kind that is left.

    Raises:
        ConfigError: a role that is not optional has no modality, or a role two of the same kind.
    """
    held = {m: spec.kind for m, spec in cohort.modalities.items()}
    found = {role: role for role, kinds in task.roles.items() if held.get(role) in kinds}
    for role, kinds in task.roles.items():
        if role in found:
            continue
        left = {kind: [m for m in held if held[m] == kind and m not in found.values()] for kind in kinds}
        names: list[str] = next((names for names in left.values() if names), [])
        if len(names) > 1 or (not names and role not in task.optional):
            msg = f"task {task.name!r} wants one {' or '.join(kinds)} as {role}; cohort {cohort.name!r} has {held}"
            raise ConfigError(msg + (f"; call the one to take {role!r}" if names else ""))
        if names:
            found[role] = names[0]
    if not found:
        msg = f"task {task.name!r} wants any of {', '.join(task.roles)}; cohort {cohort.name!r} has {held}"
        raise ConfigError(msg)
    return {role: found[role] for role in task.roles if role in found}


def unseen_of(task: Task, cohort: Cohort) -> Unseen | None:
    """Give the groups that must not be trained on, the stand-in's on phantom cohorts."""
    return task.stand_in.unseen if cohort.name == PHANTOM else task.split.unseen


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


def study_of(task: Task, cohort: Path | str, *, splits: Path | str | None = None, person: str | None = None) -> Study:
    """Turn a task into a study of a cohort folder: its panel, its protocol, its endpoint.

    The study's name says what it is not: a stand-in, a split of our own where one was released, roles that the cohort lacks.

    Args:
        task: from the shelf.
        cohort: a cohort folder of patients who can take part; see :func:`admit`.
        splits: a released split (see ``data.released_splits``), or one with unseen groups (see ``train.task_groups``).
        person: the column of the patient table that says whose a row is, where a row is a specimen.

    Raises:
        ConfigError: the cohort lacks a role or an endpoint of the task, or holds patients without a required role; a task with
            groups that are unseen in training is given no splits.
        DataError: in the splits given, such a group is trained on.
    """
    opened = Cohort.open(cohort)
    endpoint, stands_in = endpoint_of(task, opened)
    played = modalities_of(task, opened)
    if lacking := {role: count for role, count in _lacking(task, opened).items() if count}:
        msg = f"task {task.name!r}: patients without {lacking} of {len(opened)}; leave them out with train.task.admit first"
        raise ConfigError(msg)
    _refuse_seen(task, opened, splits)
    kinds = {m: spec.kind for m, spec in opened.modalities.items()}
    protocol = task.protocol
    if splits is not None:
        protocol = protocol.model_copy(update={"splits": str(Path(splits).resolve()), "group_by_site": False})
    notes = [f"stand-in: {endpoint}"] if stands_in else ["own split"] if task.split.released and splits is None else []
    if task.specimens and person is None and not stands_in:
        notes.append("every row taken for a person of its own")
    stratum = None if opened.name == PHANTOM else next((c for c in task.strata if c in opened.patients), None)
    if task.strata and stratum is None and not stands_in:
        notes.append(f"all pairs, as there is no column {' or '.join(task.strata)}")
    unseen = unseen_of(task, opened)
    if unseen is not None and (lacking_names := lacking_groups(opened.patients, unseen)):
        held = len(unseen.groups) - len(lacking_names)
        notes.append(f"{held} of {len(unseen.groups)} unseen groups, without {', '.join(lacking_names)}")
    if absent := [role for role in task.roles if role not in played]:
        notes.append(f"without {', '.join(absent)}")
    return Study(
        name=f"{task.name} ({'; '.join(notes)})" if notes else task.name,
        cohort=str(Path(cohort).resolve()),
        endpoint=endpoint,
        modalities=tuple(played.values()),
        models=tuple(_played(model, played, kinds) for model in task.models if set(model.modalities or ()) <= played.keys()),
        main=task.main,
        person=person,
        stratum=stratum,
        groups=groups_in(task, opened),
        protocol=protocol,
        network=task.network,
    )


def groups_in(task: Task, cohort: Cohort) -> tuple[str, ...]:
    """List the columns by which performance on a task is told apart; on phantom cohorts the one of those that play the unseen."""
    unseen = unseen_of(task, cohort)
    wanted = dict.fromkeys((*(() if unseen is None else (unseen.column,)), *(() if cohort.name == PHANTOM else task.groups)))
    return tuple(name for name in wanted if name in cohort.patients)


def _refuse_seen(task: Task, cohort: Cohort, splits: Path | str | None) -> None:
    unseen = unseen_of(task, cohort)
    if unseen is None:
        return
    if splits is None:
        msg = (
            f"task {task.name!r} tests {unseen.column} {', '.join(unseen.groups)} that nothing is trained on: make such splits"
            " with train.task_groups.make_task_splits and give them"
        )
        raise ConfigError(msg)
    check_unseen(read_published(Path(splits)), cohort.patients, unseen)


def _lacking(task: Task, cohort: Cohort) -> dict[str, int]:
    played, availability = modalities_of(task, cohort), cohort.availability()
    return {role: int((~availability[played[role]]).sum()) for role in task.required}


def _played(model: ModelSpec, played: Mapping[str, str], kinds: Mapping[str, str]) -> ModelSpec:
    """Put modalities in place of roles, and leave out encoders, and their settings, of kinds that the model does not see."""
    chosen = tuple(played[role] for role in model.modalities or tuple(played))
    seen = {kinds[m] for m in chosen}
    encoders = {kind: encoder for kind, encoder in model.encoders.items() if kind in seen}
    settings = {kind: given for kind, given in model.encoder_settings.items() if kind in seen}
    return model.model_copy(update={"modalities": chosen, "encoders": encoders, "encoder_settings": settings})
