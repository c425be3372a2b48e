"""Who is tested in which fold: by patient, grouped by hospital, stratified by outcome, stored with a hash.

A table of splits has the columns ``patient_id, repeat, fold``: in each repeat a patient is tested in one fold and trains in the
others. Fold -1 (``TRAIN_ONLY``) marks patients of a published split who are never tested in that repeat. A patient whose hospital
is not known is a group of his own.
"""

from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError, InfeasibleSplitError
from oncoweave.core.files import publish
from oncoweave.data.balance import assign, deal, grouping

Sites = Sequence[object] | np.ndarray | pd.Series | None
"""The hospital of each patient; None where the cohort names none at all."""

COLUMNS = ("patient_id", "repeat", "fold")
TRAIN_ONLY = -1
UNKNOWN_SITE = "unknown"
"""A site of this name, an empty one and a missing one all mean that the hospital is not known."""

_HASH = b"oncoweave_splits_sha256"
_SMALL = 0.5


def make_splits(
    patient_ids: Sequence[str] | np.ndarray,
    target: Target,
    site: Sites,
    *,
    folds: int,
    repeats: int,
    group_by_site: bool,
    seed: int,
) -> pd.DataFrame:
    """Split patients into folds, as many times as there are repeats, row by row of ``target`` and ``site``.

    Folds are balanced in patients, in events x follow-up quartile (survival), in classes, labels or value quintiles. With
    ``group_by_site`` no hospital is on two sides, which balances less well; ``describe_splits`` counts what came out. Repeats
    merge hospitals into folds differently where that is possible; where it is not, later ones equal earlier ones, which
    :func:`distinct_repeats` leaves out.

    Raises:
        DataError: a patient twice, or one whose outcome is not known.
        InfeasibleSplitError: fewer patients or hospitals than folds, a class with fewer patients (or hospitals) than folds, or
            no way found to give every fold an event.
    """
    ids = _patients(patient_ids, target)
    groups = _groups(site, len(ids)) if group_by_site else np.arange(len(ids))
    frames, taken = [], set[bytes]()
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        fold = _one_split(target, groups, folds=folds, grouped=group_by_site, rng=rng, avoid=taken)
        taken.add(grouping(fold))
        frames.append(pd.DataFrame({"patient_id": ids, "repeat": repeat, "fold": fold}))
    if not frames:
        msg = f"splits: wanted one repeat or more, got {repeats}"
        raise InfeasibleSplitError(msg)
    return canonical(pd.concat(frames, ignore_index=True))


def distinct_repeats(splits: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Leave out repeats that part the patients as an earlier one does, whatever its folds are called; also counts them."""
    seen, kept = set[tuple[bytes, ...]](), []
    for repeat, rows in splits.groupby("repeat"):
        ordered = rows.sort_values("patient_id")
        fold, patients = ordered["fold"].to_numpy(), "\n".join(ordered["patient_id"]).encode()
        key = (patients, grouping(fold), (fold == TRAIN_ONLY).tobytes())
        kept += [] if key in seen else [repeat]
        seen.add(key)
    return splits[splits["repeat"].isin(kept)].reset_index(drop=True), splits["repeat"].nunique() - len(kept)


def inner_splits(target: Target, site: Sites, *, folds: int, group_by_site: bool, seed: int) -> np.ndarray:
    """Split training patients for model selection, ``Int[n]`` row by row of ``target``.

    What is selected here is judged on the outer fold, so a coarser inner split costs precision and not honesty: where the
    training patients do not allow the split asked for, it has fewer folds (two at least), and if their hospitals do not allow
    even that, it goes by patient.

    Raises:
        InfeasibleSplitError: not even two folds of patients are possible.
    """
    grouped = [(num_folds, True) for num_folds in range(folds, 1, -1)] if group_by_site else []
    plans = grouped + [(num_folds, False) for num_folds in range(folds, 1, -1)]
    reason: InfeasibleSplitError | None = None
    for num_folds, by_site in plans:
        groups = _groups(site, len(target)) if by_site else np.arange(len(target))
        try:
            return _one_split(target, groups, folds=num_folds, grouped=by_site, rng=np.random.default_rng(seed))
        except InfeasibleSplitError as error:
            reason = error
    raise reason or InfeasibleSplitError(f"inner split: wanted two folds or more, got {folds}")


def check_splits(
    splits: pd.DataFrame,
    patient_ids: Sequence[str] | np.ndarray,
    site: Sites = None,
    *,
    group_by_site: bool = False,
) -> None:
    """Refuse splits in which anything is on two sides.

    Raises:
        DataError: a column is missing, a patient is unknown, or in two folds of a repeat; with ``group_by_site``, a hospital is.
    """
    _check_columns(splits)
    strange = ~splits["patient_id"].isin(set(patient_ids)).to_numpy()
    if strange.any():
        count = splits.loc[strange, "patient_id"].nunique()
        msg = f"splits: {count} patient(s) are not in the cohort, first in row {strange.argmax() + 1}; remove their rows"
        raise DataError(msg)
    twice = splits.duplicated(["repeat", "patient_id"]).to_numpy()
    if twice.any():
        msg = f"splits: {twice.sum()} patient(s) are in two folds of a repeat, first again in row {twice.argmax() + 1}"
        raise DataError(msg)
    if not group_by_site:
        return
    group = pd.Series(_groups(site, len(patient_ids)), index=np.asarray(patient_ids, dtype=object))
    crossing = splits.assign(group=splits["patient_id"].map(group)).groupby(["repeat", "group"])["fold"].nunique()
    crossing = crossing[crossing > 1]
    if len(crossing):
        repeat, group_index = crossing.index[0]
        name = pd.Series(site).iloc[int(np.flatnonzero(group.to_numpy() == group_index)[0])]
        msg = (
            f"splits: {crossing.index.get_level_values('group').nunique()} of {group.nunique()} site(s) are on two sides, first"
            f" {name!r} in repeat {repeat}; use splits that keep each site on one side, or set group_by_site to false and report"
            " the overlap"
        )
        raise DataError(msg)


def describe_splits(
    splits: pd.DataFrame,
    patient_ids: Sequence[str] | np.ndarray,
    target: Target,
    site: Sites,
) -> pd.DataFrame:
    """Count what each fold tests.

    Columns: ``repeat, fold, patients, events`` (survival and binary, else missing), ``sites``, ``without_site`` (patients whose
    hospital is not known), ``site_overlap`` (share of the tested patients whose hospital also trains; missing without sites).
    """
    named = site_names(site, len(patient_ids))
    facts = pd.DataFrame({"patient_id": np.asarray(patient_ids, dtype=object), "site": named, "event": _events(target)})
    rows = splits.merge(facts, on="patient_id", how="left", validate="many_to_one")
    described = []
    for (repeat, fold), tested in rows[rows["fold"] >= 0].groupby(["repeat", "fold"]):
        trained = rows[(rows["repeat"] == repeat) & (rows["fold"] != fold)]
        known = tested["site"].dropna()
        described.append(
            {
                "repeat": repeat,
                "fold": fold,
                "patients": len(tested),
                "events": tested["event"].sum(min_count=1),
                "sites": known.nunique(),
                "without_site": len(tested) - len(known),
                "site_overlap": known.isin(trained["site"]).mean() if len(known) else float("nan"),
            }
        )
    return pd.DataFrame(described).astype({"events": "Int64"})


def splits_hash(splits: pd.DataFrame) -> str:
    """SHA-256 of the content, whatever the order of rows and the types of the columns."""
    lines = [f"{row.repeat},{row.fold},{row.patient_id}\n" for row in canonical(splits).itertuples(index=False)]
    return sha256("".join(lines).encode()).hexdigest()


def write_splits(path: Path, splits: pd.DataFrame) -> str:
    """Write splits as parquet with the hash of their content in its metadata; returns the hash."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = canonical(splits)
    digest = splits_hash(content)
    table = pa.Table.from_pandas(content, preserve_index=False)
    with publish(Path(path)) as partial:
        pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), _HASH: digest.encode()}), partial)
    return digest


def read_splits(path: Path) -> pd.DataFrame:
    """Read splits from parquet, or from a CSV with the same columns.

    Raises:
        DataError: a column is missing, or the content is not what was hashed when the file was written.
    """
    path = Path(path)
    if path.suffix == ".csv":
        return canonical(pd.read_csv(path, dtype={"patient_id": str}))
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    splits = canonical(table.to_pandas())
    stored = (table.schema.metadata or {}).get(_HASH)
    if stored is not None and stored.decode() != splits_hash(splits):
        found = splits_hash(splits)
        msg = f"{path}: the splits were changed after they were written (SHA-256 {found[:12]}, stored {stored.decode()[:12]})"
        raise DataError(msg)
    return splits


def _one_split(
    target: Target,
    groups: np.ndarray,
    *,
    folds: int,
    grouped: bool,
    rng: np.random.Generator,
    avoid: Collection[bytes] = (),
) -> np.ndarray:
    strata = outcome_strata(target)
    _refuse_infeasible(target, groups, folds=folds, grouped=grouped)
    if not grouped and strata.ndim == 1:
        return deal(strata, folds=folds, rng=rng)
    member = np.eye(int(strata.max()) + 1)[strata.astype(int)] if strata.ndim == 1 else strata
    needed = _needed(target)
    fold = assign(member, groups, needed=needed, folds=folds, rng=rng, avoid=avoid)
    holds = np.eye(folds)[fold].T @ needed > 0
    if not holds.all():
        empty, column = np.argwhere(~holds)[0]
        what = _needed_names(target)[column]
        msg = (
            f"split: no assignment of {len(np.unique(groups))} groups to {folds} folds was found in which every fold holds {what}"
            f" (fold {empty} does not); use fewer folds, or do not group by site"
        )
        raise InfeasibleSplitError(msg)
    return fold


def _refuse_infeasible(target: Target, groups: np.ndarray, *, folds: int, grouped: bool) -> None:
    num_groups = len(np.unique(groups))
    if folds < 2 or num_groups < folds:
        advice = _fewer(num_groups, grouped=grouped)
        msg = f"split: wanted {folds} folds, two at least, of {_units(num_groups, grouped=grouped)}; {advice}"
        raise InfeasibleSplitError(msg)
    for name, holds in zip(_needed_names(target), _needed(target).T, strict=True):
        have = len(np.unique(groups[holds > _SMALL]))
        if have < folds:
            advice = _fewer(have, grouped=grouped) + (", or merge or drop the class" if len(_needed_names(target)) > 2 else "")
            msg = f"split: {name} is found in {_units(have, grouped=grouped)} only, wanted {folds}, one a fold; {advice}"
            raise InfeasibleSplitError(msg)


def _units(count: int, *, grouped: bool) -> str:
    unit = f"{count} {'site' if grouped else 'patient'}{'' if count == 1 else 's'}"
    return f"{unit} (a patient whose site is not known counts as one)" if grouped else unit


def _fewer(most: int, *, grouped: bool) -> str:
    """Advise what can be done where only so many sites or patients can be dealt to folds."""
    ways = [f"use at most {most} folds"] if most >= 2 else []
    ways += ["do not group by site"] if grouped else []
    return " or ".join(ways) or "gather more patients"


def needed_counts(target: Target) -> dict[str, int]:
    """Count what every fold must hold at least once: an event, or each class."""
    return dict(zip(_needed_names(target), _needed(target).sum(axis=0).astype(int).tolist(), strict=True))


def _needed(target: Target) -> np.ndarray:
    """``Float[n, need]``: what every fold must hold at least once: an event, each class."""
    if target.endpoint.kind == "survival":
        return target.event[:, None].astype(float)
    if target.endpoint.kind in ("binary", "multiclass", "ordinal"):
        return (target.values[:, None] == np.unique(target.values)).astype(float)
    return np.empty((len(target), 0))


def _needed_names(target: Target) -> list[str]:
    if target.endpoint.kind == "survival":
        return ["an event"]
    if target.endpoint.kind not in ("binary", "multiclass", "ordinal"):
        return []
    classes = target.endpoint.classes or ("0", "1")
    return [f"class {classes[int(value)]!r}" for value in np.unique(target.values)]


def outcome_strata(target: Target) -> np.ndarray:
    """``Int[n]``: stratum of each patient; multilabel ``Float[n, column]``: each label known positive, and known at all."""
    if target.endpoint.kind == "survival":
        return _quantile_of(target.time, 4, within=target.event) + 4 * target.event
    if target.endpoint.kind == "regression":
        return _quantile_of(target.values, 5, within=np.zeros(len(target), dtype=bool))
    if target.endpoint.kind == "multilabel":
        return np.column_stack([np.nan_to_num(target.values), ~np.isnan(target.values)]).astype(float)
    return np.unique(target.values, return_inverse=True)[1]


def _quantile_of(values: np.ndarray, parts: int, *, within: np.ndarray) -> np.ndarray:
    result = np.zeros(len(values), dtype=int)
    for side in np.unique(within):
        rows = np.flatnonzero(within == side)
        order = np.argsort(values[rows], kind="stable")
        result[rows[order]] = np.arange(len(rows)) * parts // len(rows)
    return result


def _patients(patient_ids: Sequence[str] | np.ndarray, target: Target) -> np.ndarray:
    ids = np.asarray(patient_ids, dtype=object)
    if len(ids) != len(target) or len(set(ids)) != len(ids):
        msg = (
            f"splits: wanted {len(target)} different patients, one a row of the target, got {len(ids)}, {len(set(ids))} different"
        )
        raise DataError(msg)
    if not target.known.all():
        unknown = ~target.known
        place = f"first in row {unknown.argmax() + 1}"
        msg = f"splits: the outcome of {unknown.sum()} patient(s) is not known, {place}; leave them out and count them"
        raise DataError(msg)
    return ids


def site_names(site: Sites, length: int) -> pd.Series:
    """Text of each site, missing where the hospital is not known; spellings that differ by case or spaces are one."""
    if site is None:
        return pd.Series(pd.NA, index=range(length), dtype="string")
    names = pd.Series(np.asarray(site, dtype=object)).astype("string")
    if len(names) != length:
        msg = f"splits: wanted {length} sites, one a patient, got {len(names)}"
        raise DataError(msg)
    names = names.str.split().str.join(" ").str.casefold()
    return names.mask(names.isin(["", UNKNOWN_SITE]))


def _groups(site: Sites, length: int) -> np.ndarray:
    names = site_names(site, length)
    if names.isna().all():
        msg = f"split: wanted groups by site, but none of {length} patients has one; set group_by_site to false"
        raise InfeasibleSplitError(msg)
    code = pd.factorize(names)[0]
    alone = np.flatnonzero(code < 0)
    code[alone] = code.max() + 1 + np.arange(len(alone))
    return code


def _events(target: Target) -> np.ndarray:
    if target.endpoint.kind == "survival":
        return target.values[:, 1]
    return target.values if target.endpoint.kind == "binary" else np.full(len(target), np.nan)


def _check_columns(splits: pd.DataFrame) -> None:
    missing = [column for column in COLUMNS if column not in splits.columns]
    if missing:
        msg = f"splits: the table lacks the column(s) {missing}; it has {list(splits.columns)}"
        raise DataError(msg)


def canonical(splits: pd.DataFrame) -> pd.DataFrame:
    """Keep the columns of splits, in their types, and order the rows."""
    _check_columns(splits)
    typed = splits[list(COLUMNS)].astype({"patient_id": str, "repeat": "int64", "fold": "int64"})
    return typed.sort_values(["repeat", "fold", "patient_id"], kind="stable", ignore_index=True)
