"""How the patients of a run were split, counted from its splits as they are, and the words for it.

Whatever a run says of its splits (report, model card, checklist, audits, warnings) is said from these counts and never from the
settings that asked for them: a published split is what it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from oncoweave.data.splits import Sites, site_names


@dataclass(frozen=True, kw_only=True, slots=True)
class HowSplit:
    """Counts of a run's splits; stored in its manifest."""

    patients: int
    repeats: int
    fewest_folds: int
    """Tested in a repeat."""
    most_folds: int
    fewest_tested: int
    """Patients, in a repeat."""
    most_tested: int
    tested: int
    """Patients who are tested in any repeat; the others only train."""
    sites: int
    """Hospitals that are known; spellings that differ by case or spaces are one."""
    crossing: int
    """Of these, how many stand on both sides in any repeat."""
    overlap: float | None
    """Share of the tested patients of known hospital whose hospital also trains; None where no hospital is known."""
    without_site: int
    """Patients whose hospital is not known."""

    @property
    def apart(self) -> bool:
        """Whether no hospital that is known stands on both sides; False where none is known."""
        return self.sites > 0 and self.crossing == 0

    @property
    def unseen(self) -> bool:
        """Whether every tested patient comes from a hospital that is known not to train."""
        return self.apart and self.without_site == 0


def how_split(splits: pd.DataFrame, patient_ids: Sequence[str] | np.ndarray, site: Sites) -> HowSplit:
    """Count how splits (columns patient_id, repeat, fold) part patients and their hospitals, row by row of ``patient_ids``."""
    names = pd.Series(site_names(site, len(patient_ids)).to_numpy(dtype=object), index=np.asarray(patient_ids, dtype=object))
    rows = splits.assign(site=splits["patient_id"].map(names))
    sides = rows.dropna(subset="site").groupby(["repeat", "site"])["fold"].nunique()
    both = sides.index[sides > 1]
    is_tested = rows["fold"] >= 0
    known = rows[is_tested].dropna(subset="site")
    crosses = pd.MultiIndex.from_frame(known[["repeat", "site"]]).isin(both)
    of_repeat = rows[is_tested].groupby("repeat")
    folds, tested = (of_repeat[column].nunique().to_numpy() for column in ("fold", "patient_id"))
    return HowSplit(
        patients=len(names),
        repeats=len(folds),
        fewest_folds=int(folds.min(initial=len(rows))),
        most_folds=int(folds.max(initial=0)),
        fewest_tested=int(tested.min(initial=len(rows))),
        most_tested=int(tested.max(initial=0)),
        tested=int(rows.loc[is_tested, "patient_id"].nunique()),
        sites=int(names.nunique()),
        crossing=int(both.get_level_values("site").nunique()),
        overlap=float(crosses.mean()) if len(known) else None,
        without_site=int(names.isna().sum()),
    )


def scheme_words(how: HowSplit) -> str:
    """Name the scheme: cross-validation, hold-out or repeated splits, with how many patients it tests."""
    if how.most_folds > 1:
        told = f"{_range(how.fewest_folds, how.most_folds)}-fold cross-validation"
        told += f", repeated {how.repeats} times with other splits" if how.repeats > 1 else ""
        return told + (
            f", of {how.tested:,} patients; {how.patients - how.tested:,} more only train" if _some_only_train(how) else ""
        )
    tested = f"{_range(how.fewest_tested, how.most_tested)} of {how.patients:,} patients"
    if how.repeats == 1:
        return f"one hold-out of {tested}"
    told = f"{how.repeats} splits, each of which tests {tested}"
    return told + (f" ({how.tested:,} are tested at least once)" if _some_only_train(how) else "")


def hospital_words(how: HowSplit) -> str:
    """Say on which sides the patients of a hospital stand, and for which hospitals the figures therefore hold."""
    if how.sites == 0:
        return "no hospital is recorded, so patients of one hospital may stand on both sides"
    if how.sites == 1:
        rest = f" and that of {how.without_site:,} patients is not known" if how.without_site else ""
        return f"one hospital is recorded{rest}, so the figures say nothing of others"
    unknown = f"; the hospital of {how.without_site:,} patients is not known" if how.without_site else ""
    if how.unseen:
        return "all patients of a hospital stand on one side, so every figure is for hospitals the model had not seen"
    if how.apart:
        return f"all patients of a known hospital stand on one side{unknown}, and for these a figure may be of a hospital seen"
    return (
        f"{how.crossing:,} of {how.sites:,} hospitals stand on both sides ({how.overlap or 0.0:.0%} of the tested patients come"
        f" from a hospital that also trains{unknown}), so the figures hold for the hospitals studied, not for new ones"
    )


def _some_only_train(how: HowSplit) -> bool:
    return how.tested < how.patients


def _range(fewest: int, most: int) -> str:
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
