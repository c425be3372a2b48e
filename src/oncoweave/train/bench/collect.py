"""What finished tasks show together: every model's figure and cost, the main model against the best simple one, the ranks."""

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.core.files import read_json
from oncoweave.data.cohort import Cohort
from oncoweave.evaluate.compare import benjamini_hochberg, holm
from oncoweave.evaluate.metrics import ALL_PAIRS
from oncoweave.evaluate.ranking import Ranking, rank_models
from oncoweave.evaluate.versus import Versus, versus
from oncoweave.train.bench.asked import Asked
from oncoweave.train.results import trained
from oncoweave.train.rows import TRAINING

SIMPLE = ("baseline", "single")
"""Roles of the models that need no network and no fusion: the hospital, and a linear model of one modality."""
REFERENCE = "clinical baseline"
"""Name, over tasks, of the linear model of the record that each task's study is held against, where it has one."""
ALPHA = 0.05

SCORES = (
    "task", "level", "same_as", "stand_in", "endpoint", "metric", "higher_is_better", "model", "name", "role", "encoder", "start",
    "main", "value", "low", "high", "n", "events", "sides", "stratum", "all_pairs", "all_pairs_low", "all_pairs_high", "seconds",
    "parameters", "run",
)  # fmt: skip
"""Columns of the table of figures. ``model`` is the run's name, ``name`` the one that is the same over tasks; ``encoder`` is
that of a model of one modality and ``start`` what became of its first weights (``random``, ``tuned``, ``frozen``); ``seconds``
is the mean time that fitting and predicting took a fold. ``sides`` says of tiles whether they are as many as were released (see
``tiles``). ``stratum`` is the column within whose values patients are ranked (empty where all are); the figure over all pairs,
such as papers give, stands in ``all_pairs`` with its interval."""


DUELS = (
    "task", "question", "first", "second", "metric", "difference", "low", "high", "p", "p_folds", "detectable", "n",
    "events", "note",
)  # fmt: skip
"""Columns of :func:`duels_between`."""


def scores_of(asked: Asked) -> pd.DataFrame:
    """Read each model's figure of the deciding metric and its cost from a finished run; see :data:`SCORES`.

    Raises:
        DataError: the run has no such metric.
    """
    metrics = pd.read_parquet(asked.run / "metrics.parquet")
    rows = metrics[(metrics["metric"] == asked.metric) & (metrics["role"] != "ablation")]
    if rows.empty:
        msg = f"task {asked.entry.key!r}: {asked.run} has no metric {asked.metric!r}; it has {sorted(metrics['metric'].unique())}"
        raise DataError(msg)
    alone = [m for m in asked.study.models or () if len(m.modalities or ()) == 1 and m.encoders]
    encoders = {m.name: next(iter(m.encoders.values())) for m in alone}
    starts = {m.name: "frozen" if m.frozen else "tuned" if m.weights else "random" for m in alone}
    names = _reference_name(asked)
    pooled = metrics[metrics["metric"] == asked.metric + ALL_PAIRS].set_index("model").reindex(rows["model"])
    frame = rows.merge(_cost(asked.run), on="model", how="left").assign(
        sides="",
        stratum=asked.study.stratum or "",
        all_pairs=pooled["value"].to_numpy(dtype=float),
        all_pairs_low=pooled["low"].to_numpy(dtype=float),
        all_pairs_high=pooled["high"].to_numpy(dtype=float),
        task=asked.entry.key,
        level="patients",
        same_as=asked.same_as,
        stand_in=asked.stand_in,
        endpoint=asked.endpoint.name,
        name=rows["model"].replace(names).to_numpy(),
        encoder=rows["model"].map(encoders).fillna("").to_numpy(),
        start=rows["model"].map(starts).fillna("").to_numpy(),
        main=(rows["model"] == asked.study.main).to_numpy(),
        run=f"tasks/{asked.run.name}",
    )
    return frame[list(SCORES)].reset_index(drop=True)


GROUPS = ("task", "model", "grouping", "group", "metric", "value", "low", "high", "n", "events", "stratum", "note")
"""Columns of :func:`groups_of_task`."""


def groups_of_task(asked: Asked) -> pd.DataFrame:
    """Read the main model's figures in each of the groups that the task tells apart, with those over all pairs of a group.

    Patients that nothing was trained on come first, where there are such, then the task's own groups. Columns: :data:`GROUPS`.
    """
    table = pd.read_parquet(asked.run / "groups.parquet")
    wanted = (TRAINING, *asked.study.groups)
    chosen = table[(table["model"] == asked.study.main) & table["grouping"].isin(wanted)]
    chosen = chosen[chosen["metric"].isin([asked.metric, asked.metric + ALL_PAIRS])]
    ordered = chosen.sort_values("grouping", key=lambda names: names.map(wanted.index), kind="stable")
    return ordered.assign(task=asked.entry.key, stratum=asked.study.stratum or "").reindex(columns=list(GROUPS))


def _reference_name(asked: Asked) -> dict[str, str]:
    """Call the reference the same on all tasks, where it is of a record."""
    model = str(read_json(asked.run / "manifest.json")["reference_model"])
    modality = Cohort.open(asked.study.cohort).modalities.get(model.removeprefix("only_"))
    return {model: REFERENCE} if modality is not None and modality.kind == "record" else {}


def _cost(run: Path) -> pd.DataFrame:
    """Mean seconds a fold and parameters of each model; unknown for runs that were made before they were measured."""
    if not (run / "cost.parquet").exists():
        return pd.DataFrame(columns=["model", "seconds", "parameters"])
    return pd.read_parquet(run / "cost.parquet").groupby("model", as_index=False)[["seconds", "parameters"]].mean()


def of_everyone(scores: pd.DataFrame) -> pd.Series:
    """Say which figures are of all patients of their task; others, of a modality that some lack, are of other patients."""
    return scores["n"] == scores.groupby("task")["n"].transform("max")


def duels_of(asked: Asked, scores: pd.DataFrame) -> pd.DataFrame:
    """Hold models of a finished run against each other; see :func:`duels_between`."""
    predictions, endpoint = pd.read_parquet(asked.run / "predictions.parquet"), asked.endpoint
    counts = trained(pd.read_parquet(asked.run / "splits.parquet"))

    def fight(first: str, second: str) -> Versus:
        return versus(
            predictions,
            endpoint,
            first=first,
            second=second,
            metric=asked.metric,
            generator=np.random.default_rng([asked.study.protocol.seed, 6]),
            replicates=asked.study.protocol.bootstrap,
            trained=counts,
        )

    return duels_between(scores, fight)


def duels_between(scores: pd.DataFrame, fight: Callable[[str, str], Versus]) -> pd.DataFrame:
    """Ask two questions of a task: main model against the best simple one, and the best model of all against the next.

    Columns are :data:`DUELS`: ``question`` is ``main`` or ``best``, ``difference`` is turned so that more is better, ``p`` is of
    a paired bootstrap over patients (of tiles, over slides, as the note says), ``p_folds`` of the corrected resampled t over
    folds, ``detectable`` what the comparison could have seen. The best simple model is the one over which the main model gains
    least on the patients that both have a figure of; that it is found on these same patients favours it. The best of all and
    the next are among those with a figure of everyone.

    Args:
        scores: of one task; see :data:`SCORES`.
        fight: compares two models by name, first minus second.
    """
    shown = scores[~scores["role"].isin(["null"]) & scores["value"].notna()]
    task, metric, up = (scores[c].iloc[0] for c in ("task", "metric", "higher_is_better"))
    ordered = shown.sort_values("value", ascending=not up, kind="stable")
    whole, sign = ordered[of_everyone(ordered)], 1.0 if up else -1.0
    fought: list[tuple[str, str, str, Versus]] = []
    if len(main := shown.loc[shown["main"], "model"]):
        fights = [("main", main.iloc[0], name, fight(main.iloc[0], name)) for name in _rivals(ordered) if name != main.iloc[0]]
        fought += sorted(fights, key=lambda f: np.nan_to_num(sign * f[3].difference, nan=np.inf))[:1]
    if len(whole) > 1:
        fought.append(("best", *whole["model"].iloc[:2], fight(*whole["model"].iloc[:2])))
    rows = []
    for question, first, second, found in fought:
        ends = sorted((sign * found.low, sign * found.high))
        rows.append(
            {
                "task": task,
                "question": question,
                "first": first,
                "second": second,
                "metric": metric,
                "difference": sign * found.difference,
                "low": ends[0],
                "high": ends[1],
                "p": found.p,
                "p_folds": found.p_folds,
                "detectable": found.detectable,
                "n": found.n,
                "events": found.events,
                "note": found.note,
            }
        )
    return pd.DataFrame(rows, columns=list(DUELS))


def _rivals(ordered: pd.DataFrame) -> list[str]:
    """Name the simple models that could be the best: of those with a figure of everyone the first, and all with one of fewer."""
    simple, whole = ordered["role"].isin(SIMPLE), of_everyone(ordered)
    return [*ordered.loc[simple & whole, "model"].iloc[:1], *ordered.loc[simple & ~whole, "model"]]


def corrected(duels: pd.DataFrame) -> pd.DataFrame:
    """Add ``p_adjusted`` (Holm), ``q`` (Benjamini and Hochberg) and ``differs``: across tasks, each question a family of its own.

    ``differs`` is Holm's: that any of the differences is none is unlikely. Of those with q below .05 one in twenty may be none.
    """
    families = duels.groupby("question")["p"]
    adjusted = families.transform(lambda p: holm(p.to_numpy(dtype=float)))
    share = families.transform(lambda p: benjamini_hochberg(p.to_numpy(dtype=float)))
    clear = (duels["low"] > 0) | (duels["high"] < 0)
    return duels.assign(p_adjusted=adjusted, q=share, differs=clear & (adjusted < ALPHA))


def independent(scores: pd.DataFrame) -> pd.DataFrame:
    """Leave out tasks that ask the same of the same patients as another, nulls, and figures of fewer patients than others."""
    told = (scores["same_as"] == "") & (scores["role"] != "null") & scores["value"].notna()
    return scores[told & of_everyone(scores)]


def ranking_of(scores: pd.DataFrame) -> tuple[Ranking | None, tuple[str, ...]]:
    """Rank models over tasks; returns the tasks that were left out as well.

    Every model needs a figure on every task, so the models and tasks with the most figures between them are taken; None where
    there are not two of both. Tasks whose metric falls are turned round.
    """
    usable = independent(scores).drop_duplicates(["task", "name"])
    signed = usable.assign(signed=np.where(usable["higher_is_better"], usable["value"], -usable["value"]))
    wide = signed.pivot(index="task", columns="name", values="signed")
    chosen = _fullest(wide.notna())
    left_out = tuple(task for task in wide.index if task not in chosen.index)
    if min(chosen.shape, default=0) < 2:
        return None, tuple(wide.index)
    return rank_models(wide.loc[chosen.index, chosen.columns].to_numpy(), tuple(chosen.columns)), left_out


def _fullest(held: pd.DataFrame) -> pd.DataFrame:
    """Choose the models that two tasks share, and all tasks that have them, with the most figures."""
    has, best = held.to_numpy(dtype=bool), held.iloc[:0, :0]
    for one, other in combinations_with_replacement(range(len(has)), 2):
        models = np.flatnonzero(has[one] & has[other])
        tasks = np.flatnonzero(has[:, models].all(axis=1))
        if min(len(models), len(tasks)) >= 2 and len(models) * len(tasks) > best.size:
            best = held.iloc[tasks, models]
    return best


def with_ranks(scores: pd.DataFrame, duels: pd.DataFrame) -> pd.DataFrame:
    """Add ``rank`` (1 is best; nulls and figures of fewer patients have none) and ``best_differs``: is it told from the next."""
    signed = scores["value"].where(scores["higher_is_better"], -scores["value"])
    signed = signed.mask((scores["role"] == "null") | ~of_everyone(scores))
    rank = signed.groupby(scores["task"]).rank(ascending=False, method="average")
    sure = set(duels.loc[(duels["question"] == "best") & duels["differs"], "task"]) if len(duels) else set()
    return scores.assign(rank=rank, best_differs=(rank == 1) & scores["task"].isin(sure))


def joined(frames: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Put tables of tasks below each other; an empty one has the columns all the same."""
    filled = [frame.dropna(axis=1, how="all") for frame in frames if len(frame)]  # empty columns have no say on types
    return pd.concat(filled, ignore_index=True).reindex(columns=list(columns)) if filled else pd.DataFrame(columns=list(columns))
