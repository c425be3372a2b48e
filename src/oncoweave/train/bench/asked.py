"""A task of a bench in its place: the patients who can take part, the splits, the study, and the run folder."""

from dataclasses import dataclass
from hashlib import sha256 as hash_of
from pathlib import Path

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.files import read_json, sha256, write_json
from oncoweave.data.cohort import Cohort
from oncoweave.data.published_splits import read_published
from oncoweave.data.splits import read_splits, splits_hash
from oncoweave.data.unseen_groups import lacking_groups
from oncoweave.train.bench.panel import bench_study
from oncoweave.train.bench.spec import Bench, Entry, overrides
from oncoweave.train.study import Study
from oncoweave.train.task import Task, admit, endpoint_of, load_task, modalities_of, unseen_of
from oncoweave.train.task_groups import make_task_splits


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A task as it is run."""

    entry: Entry
    task: Task
    study: Study
    endpoint: Endpoint
    stand_in: bool
    """Whether the cohort only plays the task's part, so that no figure may be held against the published ones."""
    metric: str
    """The one that decides."""
    run: Path
    """The run folder."""
    lacking: tuple[str, ...] = ()
    """Groups that the task tests and never trains on of which the cohort has no patient."""
    same_as: str
    """Key of an earlier task that asks the same of the same patients, whose run this is; empty for a run of its own."""


SAME, LESS, OTHER, GIVEN, OWN = "the released split", "part of it", "another split", "splits given", "splits of our own"
"""What the split of a run may be to that of a paper."""


def whose_split(asked: Asked, cohort: str) -> tuple[str, int]:
    """Say what the split of a finished run is to the one released for a cohort, and how many of its patients the run lacks.

    ``SAME`` where exactly who was released to be tested in each fold is, ``LESS`` where some of them are left out, otherwise
    ``OTHER`` (one was released), ``GIVEN`` or ``OWN`` (none was).
    """
    path, split = asked.entry.place.splits, asked.task.split
    if not split.released:
        return (OWN if path is None else GIVEN), 0
    known = split.known.get(cohort) if cohort else next(iter(split.known.values()), None)
    given = None if path is None else read_published(Path(path))
    if given is None or known is None or splits_hash(given) != known:
        return OTHER, 0
    lacking = given["patient_id"].nunique() - read_splits(asked.run / "splits.parquet")["patient_id"].nunique()
    return (LESS if lacking else SAME), lacking


def ask(bench: Bench, entry: Entry, out: Path, *, earlier: list[Asked]) -> Asked:
    """Prepare a task of patients: who takes part, the splits, the study.

    Raises:
        OncoweaveError: the cohort cannot answer the task.
    """
    task = load_task(entry.task)
    assert entry.place.cohort is not None, "a task of patients has a cohort"
    cohort = _admitted(task, Path(entry.place.cohort), out / "cohorts")
    opened = Cohort.open(cohort)
    endpoint, stands_in = endpoint_of(task, opened)
    splits, unseen = entry.place.splits, unseen_of(task, opened)
    if splits is None and unseen is not None:
        path = out / "splits" / f"{entry.folder}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        protocol = task.protocol.model_copy(update=overrides(bench.protocol))
        make_task_splits(task, cohort, path, person=entry.place.person, protocol=protocol)
        splits = str(path)
    study = bench_study(bench, entry, task, cohort, splits=splits)
    same = next((e for e in earlier if _question(e.study) == _question(study)), None)
    return Asked(
        entry=entry,
        task=task,
        study=study,
        endpoint=opened.endpoint(endpoint),
        stand_in=stands_in,
        metric=task.metrics[opened.endpoint(endpoint).kind],
        lacking=() if unseen is None else lacking_groups(opened.patients, unseen),
        run=out / "tasks" / entry.folder if same is None else same.run,
        same_as="" if same is None else same.entry.key,
    )


def _question(study: Study) -> dict[str, object]:
    """What a study asks, whatever it is called."""
    return study.model_dump(exclude={"name"})


def _admitted(task: Task, source: Path, folder: Path) -> Path:
    """Give the cohort of those who have every required role: the source itself where nobody lacks one."""
    opened = Cohort.open(source)
    played = modalities_of(task, opened)
    required = [played[role] for role in task.required]
    if opened.availability()[required].all(axis=None):
        return source.resolve()
    place = hash_of(str(source.resolve()).encode()).hexdigest()[:8]
    admitted = folder / f"{source.name}-{place}-with-{'-'.join(sorted(required))}"
    told, digest = admitted.with_name(f"{admitted.name}.source.json"), sha256(source / "manifest.json")
    if not told.exists() or read_json(told)["cohort_sha256"] != digest:
        admit(task, source, admitted)
        write_json(told, {"cohort_sha256": digest})
    return admitted.resolve()
