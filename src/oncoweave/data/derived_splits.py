"""Splits made of other splits: one tested fold a repeat (Monte Carlo), and fewer training patients (few labels)."""

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import InfeasibleSplitError
from oncoweave.data.splits import TRAIN_ONLY, outcome_strata


def monte_carlo(splits: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Test one fold of each repeat, drawn at random, and train on its others: k folds give random splits of k - 1 to 1.

    A fold whose patients an earlier repeat tests already is drawn only where all are such.

    Repeats overlap in whom they test, as those of repeated hold-out do, so figures over them need a test that knows it
    (``evaluate.compare.corrected_resampled_t``).
    """
    frames, taken = [], set[frozenset[str]]()
    for repeat in splits["repeat"].unique().tolist():
        rows = splits[splits["repeat"] == repeat]
        order = np.random.default_rng([seed, 31, repeat]).permutation(np.unique(rows.loc[rows["fold"] >= 0, "fold"]))
        sets = {int(fold): frozenset(rows.loc[rows["fold"] == fold, "patient_id"]) for fold in order}
        chosen = next((fold for fold, patients in sets.items() if patients not in taken), int(order[0]))
        taken.add(sets[chosen])
        frames.append(rows.assign(fold=np.where(rows["fold"] == chosen, 0, TRAIN_ONLY)))
    return pd.concat(frames, ignore_index=True)


def fewer_labels(
    splits: pd.DataFrame, patient_ids: np.ndarray, target: Target, *, labels: float | int, seed: int
) -> pd.DataFrame:
    """Keep the labels of some training patients of each fold; who is tested stays the same.

    Every fold becomes a repeat of its own, in which it is fold 0, the patients kept are :data:`TRAIN_ONLY` and the others have no
    row. They are drawn evenly from the strata of the outcome, and the patients of a smaller number are among those of a larger
    one, so that a curve over numbers of labels shows labels and not the luck of the draw.

    Args:
        splits: columns patient_id, repeat, fold.
        patient_ids: of the rows of ``target``.
        target: known for every patient.
        labels: a share of each fold's training patients below 1, or their number.
        seed: of the draw.

    Raises:
        InfeasibleSplitError: a fold has fewer training patients than labels are asked for.
    """
    strata = outcome_strata(target)
    codes = strata if strata.ndim == 1 else np.unique(strata, axis=0, return_inverse=True)[1].reshape(-1)
    stratum = pd.Series(codes, index=patient_ids)
    folds = splits.loc[splits["fold"] >= 0, ["repeat", "fold"]].drop_duplicates().sort_values(["repeat", "fold"])
    frames = []
    for index, (repeat, fold) in enumerate(folds.to_numpy().tolist()):
        rows = splits[splits["repeat"] == repeat]
        tested = rows.loc[rows["fold"] == fold, "patient_id"]
        trains = np.sort(rows.loc[rows["fold"] != fold, "patient_id"].to_numpy(dtype=object))
        count = labels if isinstance(labels, int) else max(round(labels * len(trains)), 1)
        if count > len(trains):
            msg = (
                f"labels: {count} training patients are asked for, repeat {repeat} has {len(trains)} when fold {fold} is tested;"
                " ask for fewer, or leave labels out for all"
            )
            raise InfeasibleSplitError(msg)
        order = _evenly(stratum[trains].to_numpy(), np.random.default_rng([seed, 37, repeat, fold]))
        kept = trains[order[:count]]
        frames.append(pd.DataFrame({"patient_id": tested, "repeat": index, "fold": 0}))
        frames.append(pd.DataFrame({"patient_id": kept, "repeat": index, "fold": TRAIN_ONLY}))
    return pd.concat(frames, ignore_index=True)


def _evenly(strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Order rows at random so that every beginning holds each stratum as often as all rows do, to within one."""
    place = np.empty(len(strata))
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.lexsort((rng.random(len(strata)), place))
