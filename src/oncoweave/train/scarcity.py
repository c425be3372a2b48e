"""Whether the training patients of every fold can be split once more for model selection; asked before anything is fitted."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import InfeasibleSplitError
from oncoweave.data.splits import needed_counts
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold
from oncoweave.train.study import Protocol, Study

_MOST_FOLDS = 20
"""More are not advised."""


def fold_of(study: Study, train: Dataset, *, repeat: int, fold: int, scratch: Path | None = None) -> Fold:
    """Make the training rows of a fold, with its seed."""
    return Fold(
        train=train,
        seed=study.protocol.seed * 1_000_003 + repeat * 1_009 + fold,
        inner_folds=study.protocol.inner_folds,
        group_by_site=bool(study.protocol.group_by_site),
        scratch=scratch,
    )


def refuse_scarce(study: Study, data: Dataset, splits: pd.DataFrame, *, advice: str | None = None) -> None:
    """Refuse splits of a resolved study whose training patients are too few of a class, or have too few events, for inner folds.

    Every model chooses its penalty or its end on inner folds; out-of-fold scores of the models of single modalities, which every
    study fits, split the patients who train in each of them again. ``advice`` stands in place of settings of the study that would
    do, where the splits are not made from them.

    Raises:
        InfeasibleSplitError: an inner split cannot be made; names the class, the fold, and settings that would do.
    """
    scarcest_first = sorted(training_rows(data.patient_ids, splits), key=lambda fold: _least(data.outcome.take(fold[1])))
    for (repeat, fold), rows, _ in scarcest_first:
        train = fold_of(study, data.take(rows), repeat=repeat, fold=fold)
        try:
            _split_twice(train)
        except InfeasibleSplitError as error:
            where = f"when fold {fold} of repeat {repeat} is tested"
            raise InfeasibleSplitError(_refusal(study, data.outcome, train.train.outcome, where, advice)) from error


def _least(target: Target) -> int:
    return min(needed_counts(target).values(), default=len(target))


def _split_twice(fold: Fold) -> list[np.ndarray]:
    """Split into inner folds, and what trains in each of them into inner folds of its own."""
    return [fold.without(fold.inner, k).inner for k in np.unique(fold.inner).tolist()]


def _refusal(study: Study, everyone: Target, trains: Target, where: str, advice: str | None) -> str:
    counts = needed_counts(trains) or {"an outcome": len(trains)}
    name = min(counts, key=counts.__getitem__)
    total, count = needed_counts(everyone).get(name, len(everyone)), counts[name]
    trained = f"{count} train{'s' if count == 1 else ''} {where}"
    found = f"{name} is found in {total} patient{'' if total == 1 else 's'}, of whom {trained}"
    scarce = f"too few for the inner folds (inner_folds: {study.protocol.inner_folds}), on which models are chosen"
    return f"study {study.name!r}: {found}: {scarce}; {advice or _advice(study, total, count, everyone.endpoint.kind)}"


def training_rows(patient_ids: np.ndarray, splits: pd.DataFrame) -> Iterator[tuple[tuple[int, int], np.ndarray, np.ndarray]]:
    """Yield (repeat, fold) and the rows, by place, of those who train and of those who are tested."""
    row_of = {patient: i for i, patient in enumerate(patient_ids)}
    for repeat in splits["repeat"].unique().tolist():
        rows = splits[splits["repeat"] == repeat]
        place = np.array([row_of[p] for p in rows["patient_id"]])
        for fold in sorted(set(rows["fold"][rows["fold"] >= 0])):
            is_tested = rows["fold"].to_numpy() == fold
            yield (repeat, int(fold)), np.sort(place[~is_tested]), place[is_tested]


def _suffice(trains: int, inner_folds: int) -> bool:
    """Whether so many patients of a class can be split by patient, and each part again."""
    left = trains - -(-trains // max(min(inner_folds, trains), 1))
    return trains >= 2 and left >= 2


def _advice(study: Study, everyone: int, trains: int, kind: str) -> str:
    for change in _changes(study.protocol, everyone):
        wanted = study.protocol.model_copy(update=change)
        left = trains if wanted.splits is not None else everyone - -(-everyone // wanted.folds)
        if _suffice(left, wanted.inner_folds):
            return "set " + " and ".join(f"{key}: {str(value).lower()}" for key, value in change.items())
    if kind == "binary":
        return "no number of folds would do: gather more patients of it, or study another endpoint"
    if kind != "survival":
        return "no number of folds would do: merge the class with another, or drop it, or gather more patients of it"
    return "no number of folds would do: gather more patients, or follow them for longer"


def _changes(protocol: Protocol, everyone: int) -> Iterator[dict[str, object]]:
    """Settings to try, the smallest change first; published folds stay as they are."""
    loose: dict[str, object] = {"group_by_site": False} if protocol.group_by_site else {}
    most = min(everyone, _MOST_FOLDS)
    more = range(protocol.inner_folds + 1, most + 1)
    if loose:
        yield loose
    yield from (loose | {"inner_folds": k} for k in more)
    if protocol.splits is None:
        numbers = sorted(range(2, most + 1), key=lambda k: abs(k - protocol.folds))
        yield from (loose | {"folds": k} for k in numbers if k != protocol.folds)
        yield from (loose | {"folds": k, "inner_folds": i} for k in numbers for i in more)
