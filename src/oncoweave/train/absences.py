"""Modalities that the training patients of some folds cannot teach: counted before anything is fitted, and said."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.train.dataset import Dataset
from oncoweave.train.learnable import enough
from oncoweave.train.panel import ALONE
from oncoweave.train.scarcity import fold_of, training_rows
from oncoweave.train.study import Study


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fold:
    reasons: dict[str, str]
    """Why each modality cannot be learned; empty where it can."""
    tested: np.ndarray
    """``Int[t]``: rows of the tested patients."""

    @property
    def absent(self) -> set[str]:
        return {m for m, why in self.reasons.items() if why}


def absences(study: Study, data: Dataset, splits: pd.DataFrame) -> list[str]:
    """Say which modalities count as absent for everybody in some folds of a resolved study, why, and for how many patients.

    Raises:
        DataError: outcomes do not differ, a modality can be learned in no fold, a fold can teach none, or the main model or the
            reference would predict nobody.
    """
    if not enough(data.outcome):
        msg = (
            f"endpoint {study.endpoint!r}: the {int(data.outcome.known.sum())} patients whose outcome is known do not differ in"
            " it, or none has the event, so nothing can be learned; correct its columns, or ask of more patients"
        )
        raise DataError(msg)
    folds = [_fold(study, data, rows, tested, where) for where, rows, tested in training_rows(data.patient_ids, splits)]
    for modality in data.modalities:
        if all(modality in fold.absent for fold in folds):
            why = _counted([fold.reasons[modality] for fold in folds])
            msg = (
                f"modality {modality!r} can be learned in none of {len(folds)} folds ({why}); leave it out of the study's"
                " modalities, or split otherwise (protocol: group_by_site, folds)"
            )
            raise DataError(msg)
    main = next(m for m in study.models or () if m.name == study.main)
    _refuse_silent(f"the main model {study.main!r}", main.modalities or (), folds, data)
    _refuse_silent(f"the reference {study.reference!r}", (str(study.reference),), folds, data)
    return [said for m in data.modalities if (said := _said(m, folds, data))] + _unmeasured(study, folds, data)


def _fold(study: Study, data: Dataset, rows: np.ndarray, tested: np.ndarray, where: tuple[int, int]) -> _Fold:
    fold = fold_of(study, data.take(rows), repeat=where[0], fold=where[1])
    found = _Fold(reasons={m: fold.absent(m) for m in data.modalities}, tested=tested)
    if len(found.absent) == len(data.modalities):
        msg = (
            f"when fold {where[1]} of repeat {where[0]} is tested, the {len(rows)} training patients can teach no modality"
            f" ({'; '.join(f'{m}: {why}' for m, why in found.reasons.items())}); split otherwise (protocol: group_by_site, folds)"
        )
        raise DataError(msg)
    return found


def _refuse_silent(who: str, modalities: Collection[str], folds: list[_Fold], data: Dataset) -> None:
    """Refuse a model that everything is measured by where it would predict no tested patient."""
    if _predicts(modalities, folds, data):
        return
    msg = (
        f"{who} would predict nobody: whoever has {' or '.join(repr(m) for m in modalities)} is tested in folds whose training"
        " patients cannot teach it; name another, or split otherwise (protocol: group_by_site, folds)"
    )
    raise DataError(msg)


def _predicts(modalities: Collection[str], folds: list[_Fold], data: Dataset) -> bool:
    """Whether anybody is tested who has one of the modalities where it can be learned."""
    learned = [[m in modalities and m not in fold.absent for m in data.modalities] for fold in folds]
    return any(data.availability[fold.tested][:, here].any() for fold, here in zip(folds, learned, strict=True))


def _unmeasured(study: Study, folds: list[_Fold], data: Dataset) -> list[str]:
    """Name the models that are stored without a figure."""
    read = {ALONE + m: (m,) for m in data.modalities} | {m.name: m.modalities or () for m in study.models or ()}
    silent = [name for name, modalities in read.items() if not _predicts(modalities, folds, data)]
    if not silent:
        return []
    return [
        f"No tested patient is predicted by {', '.join(map(repr, silent))}: whoever has what is read there is tested in folds"
        " whose training patients cannot teach it. No table has a figure of it, and what is stored by that name is not measured."
    ]


def _said(modality: str, folds: list[_Fold], data: Dataset) -> str:
    lacking = [fold for fold in folds if modality in fold.absent]
    if not lacking:
        return ""
    has = data.availability
    place = data.modalities.index(modality)
    passed = sum(int(has[fold.tested, place].sum()) for fold in lacking)
    left = sum(_without_more(has[fold.tested], place, [m not in fold.absent for m in data.modalities]) for fold in lacking)
    nothing = f"; {left} of these, who have nothing else that can be learned, get no prediction there" if left else ""
    why = _counted([fold.reasons[modality] for fold in lacking])
    return (
        f"Modality {modality!r} counts as absent for everybody in {len(lacking)} of {len(folds)} folds, where it cannot be"
        f" learned ({why}). There is no model of it alone there, and all others"
        f" do without it: {passed} tested patient{'' if passed == 1 else 's'} who have it (counted once a repeat){nothing}."
    )


def _without_more(has: np.ndarray, place: int, learned: list[bool]) -> int:
    """Count those who have the modality at a place and none of those learned."""
    return int((has[:, place] & ~has[:, learned].any(axis=1)).sum())


def _counted(reasons: list[str]) -> str:
    return "; ".join(f"{why}: {count}" for why, count in Counter(reasons).items())
