"""What the tables of a run say on the questions of the verdict, as numbers and states; verdict.py puts words to them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from oncoweave.evaluate.permuted import Null, null_of
from oncoweave.evaluate.summary import COMPLETE, EVERY, SOME
from oncoweave.serve import wording
from oncoweave.serve.run_folder import RunFolder

SMALL_N = 20
"""Groups of fewer patients are shown greyed and are not interpreted."""
SMALL_EVENTS = 10
"""So are groups with fewer events."""
ALPHA = 0.05
Reading = Literal["better", "worse", "not distinguishable", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A model's value of the main measure."""

    model: str
    value: float
    low: float
    high: float
    num: int
    """Patients it was measured on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A paired difference, turned so that more is better, and what may be concluded from it."""

    difference: float
    low: float
    high: float
    p: float | None
    reading: Reading
    doubts: tuple[tuple[str, float], ...]
    """Where the reading is better or worse: other methods, with their p, that do not confirm it."""


def measured(run: RunFolder, model: str) -> Measured | None:
    """Look up a model's value of the main measure; None where it was not measured."""
    if run.metric is None:
        return None
    table = run.measured(run.metric)
    rows = table[table["model"] == model]
    if rows.empty or not wording.known(float(rows["value"].iloc[0])):
        return None
    return _of_row(model, rows.iloc[0])


def _of_row(model: str, row: pd.Series) -> Measured:
    return Measured(model=model, value=float(row["value"]), low=float(row["low"]), high=float(row["high"]), num=int(row["n"]))


def higher_is_better(run: RunFolder, metric: str) -> bool:
    """Say whether more of a measure is better."""
    if run.metrics is None:
        return True
    rows = run.metrics.loc[run.metrics["metric"] == metric, "higher_is_better"]
    return bool(rows.iloc[0]) if len(rows) else True


def reading(row: pd.Series, *, better_up: bool, primary: bool) -> Reading:
    """Read one row of comparisons: a difference counts when its interval leaves out zero and its p is below .05.

    The primary comparison, main model against reference, was named before the analysis and is read by its own p; it is one
    question, asked once. All others are read by the adjusted p.
    """
    low, high = row["low"], row["high"]
    p = row["p"] if primary or not wording.known(row["p_adjusted"]) else row["p_adjusted"]
    if not (wording.known(low) and wording.known(high)):
        return "not distinguishable" if wording.known(p) and p >= ALPHA else "unknown"
    if low <= 0 <= high or (wording.known(p) and p >= ALPHA):
        return "not distinguishable"
    return "better" if (low > 0) == better_up else "worse"


def against_reference(run: RunFolder) -> Compared | None:
    """Compare the main model with the reference on the main measure; None where that pair was not compared."""
    if run.comparisons is None or run.metric is None:
        return None
    table = run.comparisons
    rows = table[(table["model"] == run.main) & (table["reference"] == run.reference) & (table["metric"] == run.metric)]
    if rows.empty:
        return None
    row = rows.iloc[0]
    better_up = higher_is_better(run, run.metric)
    turn = 1.0 if better_up else -1.0
    low, high = sorted((turn * float(row["low"]), turn * float(row["high"])))
    verdict = reading(row, better_up=better_up, primary=True)
    others = rows.iloc[1:] if verdict in ("better", "worse") else rows.iloc[:0]
    return Compared(
        doubts=tuple((str(o["method"]), float(o["p"])) for _, o in others.iterrows() if o["p"] >= ALPHA),
        difference=turn * float(row["difference"]),
        low=low,
        high=high,
        p=float(row["p"]) if wording.known(row["p"]) else None,
        reading=verdict,
    )


def ranked(run: RunFolder) -> list[Measured]:
    """List all models but the permuted ones by the main measure, best first; baselines and single modalities are among them."""
    if run.metric is None:
        return []
    table = run.measured(run.metric)
    table = table[(table["role"] != "null") & table["value"].notna()]
    names = table.sort_values("value", ascending=not higher_is_better(run, run.metric), kind="stable")["model"]
    return [found for found in (measured(run, str(name)) for name in names) if found is not None]


def on_the_same_patients(run: RunFolder, model: str) -> bool:
    """Say whether a model predicted for the main model's patients, no more and no fewer: only such scores can be ranked."""
    return _tested(run, model) == _tested(run, run.main)


def _tested(run: RunFolder, model: str) -> set[tuple[object, object]]:
    rows = run.predictions[run.predictions["model"] == model]
    return set(zip(rows["patient_id"], rows["repeat"], strict=True))


def nulls(run: RunFolder) -> list[Measured]:
    """List the models trained on permuted outcomes."""
    if run.metric is None:
        return []
    table = run.measured(run.metric)
    names = table.loc[table["role"] == "null", "model"]
    return [found for found in (measured(run, str(name)) for name in names) if found is not None]


def null_spread(run: RunFolder) -> Null | None:
    """Pool the models trained on permuted outcomes, with an interval that holds the luck of the permutation."""
    found = nulls(run)
    if not found or run.metrics is None:
        return None
    of_first = run.predictions[run.predictions["model"] == found[0].model]
    return null_of(run.metrics, str(run.metric), num_folds=len(of_first[["repeat", "fold"]].drop_duplicates()))


@dataclass(frozen=True, kw_only=True, slots=True)
class PatternFinding:
    """The main model in one pattern of missing modalities."""

    lacks: tuple[str, ...]
    value: float
    low: float
    high: float
    num: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """How many patients lack a modality, and how the main model does with and without."""

    num: int
    num_lacking: int
    """Of those analysed, as ``missingness.parquet`` counts them."""
    num_untaught: int
    """Those who have every modality, but one that the training patients of their fold could not teach."""
    num_unpredicted: int
    judged: tuple[PatternFinding, ...]
    """Patterns large enough to be judged, the complete one first where there is one."""
    complete: Measured | None
    """The main model in all patients who have every modality, by whatever table holds it; None where too few to judge."""
    lacking: Measured | None
    """The main model in all patients who lack something, pooled; None where too few, or not measured."""


def missing_modalities(run: RunFolder) -> Missing:
    """Count the patients who lack a modality, and collect the patterns, as the models saw them, that can be judged."""
    predictions = run.predictions
    everyone = predictions.drop_duplicates("patient_id")
    every = every_modality(everyone["pattern"].unique())
    partial = predictions["pattern"].map(lambda p: len(wording.modalities_of(p)) < len(every)).astype(bool)
    seen_lacking = predictions.loc[partial, "patient_id"].nunique()
    analysed, lacking = len(everyone), seen_lacking
    if run.missingness is not None:
        held = run.missingness["pattern"].map(lambda p: len(wording.modalities_of(p)))
        analysed = int(run.missingness["n"].sum())
        lacking = int(run.missingness.loc[held < len(every_modality(run.missingness["pattern"])), "n"].sum())
    main = set(predictions.loc[predictions["model"] == run.main, "patient_id"])
    rows = _group_rows(run, "pattern")
    judged = []
    for _, row in rows.iterrows():
        if is_small(row["n"], row["events"]) or not wording.known(row["value"]):
            continue
        present = wording.modalities_of(row["group"])
        lacks = tuple(modality for modality in every if modality not in present)
        value, low, high = (float(row[c]) for c in ("value", "low", "high"))
        judged.append(PatternFinding(lacks=lacks, value=value, low=low, high=high, num=int(row["n"])))
    judged.sort(key=lambda f: (len(f.lacks), -f.num))
    return Missing(
        num=analysed,
        num_lacking=lacking,
        num_untaught=max(seen_lacking - lacking, 0) if len(everyone) == analysed else 0,
        num_unpredicted=len(everyone) - len(main),
        judged=tuple(judged),
        complete=_pooled(run, EVERY),
        lacking=_pooled(run, SOME),
    )


def every_modality(patterns: Iterable[object]) -> list[str]:
    """List the modalities that any pattern holds, as first met from the longest pattern on."""
    parts = sorted((wording.modalities_of(p) for p in patterns), key=len, reverse=True)
    return list(dict.fromkeys(modality for part in parts for modality in part))


def is_small(num: float, events: float | None) -> bool:
    """Say whether a group is too small to be judged."""
    return bool(num < SMALL_N or (wording.known(events) and float(events) < SMALL_EVENTS))


def _pooled(run: RunFolder, group: str) -> Measured | None:
    rows = _group_rows(run, COMPLETE)
    rows = rows[rows["group"] == group]
    if rows.empty:
        return None
    row = rows.iloc[0]
    if is_small(row["n"], row["events"]) or not wording.known(float(row["value"])):
        return None
    return _of_row(run.main, row)


def _group_rows(run: RunFolder, grouping: str) -> pd.DataFrame:
    if run.groups is None or run.metric is None:
        return pd.DataFrame(columns=["group", "value", "low", "high", "n", "events"])
    table = run.groups
    return table[(table["model"] == run.main) & (table["grouping"] == grouping) & (table["metric"] == run.metric)]
