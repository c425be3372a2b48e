"""The models that a bench tries on a task: each encoder alone, and each fusion with each choice of encoders."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from oncoweave.core.errors import ConfigError, unknown_name
from oncoweave.data.cohort import Cohort
from oncoweave.train.bench.spec import Aggregator, Bench, Entry, overrides
from oncoweave.train.study import ModelSpec, Study
from oncoweave.train.task import Task, study_of


def bench_study(bench: Bench, entry: Entry, task: Task, cohort: Path, *, splits: str | None) -> Study:
    """Turn a task into the study that a bench runs of it: the task's question and protocol, the bench's models.

    A task of one modality that no encoder of the bench reads keeps the models it names itself, and the one it is about.

    Raises:
        ConfigError: the cohort cannot answer the task, or no model is left that the bench is about.
    """
    study = study_of(task, cohort, splits=splits, person=entry.place.person)
    held = Cohort.open(cohort)
    kinds = {name: held.modalities[name].kind for name in study.modalities or ()}
    tried = grid(bench, kinds)
    own = study.models or ()
    keeps = bench.task_models if bench.task_models is not None else not bench.has_grid
    models = (*(own if keeps or not tried else ()), *tried)
    protocol = {name: value for name, value in overrides(bench.protocol).items() if name != "splits"}
    return study.model_copy(
        update={
            "models": models,
            "main": _main(bench, entry, study.main, [m.name for m in models], panel_is_own=bench.has_grid and not tried),
            "protocol": study.protocol.model_copy(update=protocol),
            "network": study.network.model_copy(update=overrides(bench.network)),
        }
    )


def grid(bench: Bench, kinds: Mapping[str, str]) -> tuple[ModelSpec, ...]:
    """List the bench's models of modalities (name to kind): encoders alone, then fusions.

    A fusion is called by its name alone where there is no choice of encoders, otherwise with those chosen, as ``gated+abmil``.
    Encoders that a fusion names itself stay, and nothing else is tried in their place. Early fusions read columns and take none.
    """
    by_kind = {kind: tried for kind, tried in bench.by_kind.items() if kind in kinds.values()}
    of_kind = Counter(kinds.values())
    alone = [
        _with_encoders(
            ModelSpec(name=a.name if of_kind[kind] == 1 else f"{a.name}-{m}", fusion="mean", modalities=(m,)), {kind: a}
        )
        for m, kind in kinds.items()
        for a in by_kind.get(kind, ())
    ]
    if len(kinds) < 2:
        return tuple(alone)
    fused: list[ModelSpec] = []
    for fusion in bench.fused:
        whole = fusion.model_copy(update={"modalities": tuple(kinds)})
        if fusion.stage == "early":
            fused.append(whole)
            continue
        encoders, settings = (
            {name: value for name, value in given.items() if name in kinds or name in kinds.values()}
            for given in (whole.encoders, whole.encoder_settings)
        )
        whole = whole.model_copy(update={"encoders": encoders, "encoder_settings": settings})
        open_kinds = {kind: tried for kind, tried in by_kind.items() if kind not in encoders}
        for chosen in product(*open_kinds.values()):
            named = [a.name for a, tried in zip(chosen, open_kinds.values(), strict=True) if len(tried) > 1]
            renamed = whole.model_copy(update={"name": "+".join([fusion.name, *named])})
            fused.append(_with_encoders(renamed, dict(zip(open_kinds, chosen, strict=True))))
    return (*alone, *fused)


def _with_encoders(model: ModelSpec, chosen: Mapping[str, Aggregator]) -> ModelSpec:
    return model.model_copy(
        update={
            "encoders": {**model.encoders, **{kind: a.encoder for kind, a in chosen.items()}},
            "encoder_settings": {**model.encoder_settings, **{kind: a.settings for kind, a in chosen.items() if a.settings}},
            "weights": {kind: a.file for kind, a in chosen.items() if a.file is not None},
            "frozen": tuple(kind for kind, a in chosen.items() if a.frozen),
        }
    )


def _main(bench: Bench, entry: Entry, own: str, names: Sequence[str], *, panel_is_own: bool) -> str:
    wanted = (*bench.main, own) if panel_is_own else bench.main or (own,)
    found = next((name for name in wanted if name in names), None)
    if found is not None:
        return found
    if bench.main:
        raise unknown_name(f"model (main) of task {entry.key!r}", bench.main[0], names)
    msg = f"bench {bench.name!r}: say which of its models task {entry.key!r} is about (main); it has {', '.join(names)}"
    raise ConfigError(msg)
