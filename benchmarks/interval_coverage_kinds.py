"""Classes, grades, labels and measurements: intervals that a run gives, from the prediction table of a model in folds.

The model is given, not fitted, and its probabilities are true ones. Truth: the same metric of 60,000 patients in folds of the
same size, as average precision, Spearman's correlation and the area over all labels depend on it. Calibration errors, which are
slow, are left to ``interval_coverage.py``. Sets and intervals of single patients are calibrated on other patients and asked to
hold what is true of nine in ten.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from interval_coverage_trial import REPLICATES, Draw, Ends, Trial, as_run
from scipy import special, stats

from oncoweave.core.endpoint import Endpoint
from oncoweave.evaluate.acting import reclassification_table
from oncoweave.evaluate.conformal import calibrate_intervals, calibrate_sets, coverage
from oncoweave.evaluate.measure import draw, measure
from oncoweave.evaluate.metrics import Metric, metrics_of
from oncoweave.evaluate.reclassification import integrated_discrimination, reclassification
from oncoweave.evaluate.tables import PredictionTable

MANY = 60_000
SHARES = np.array([0.5, 0.3, 0.2])
"""Of three classes, and of the patients who have each of three labels."""
GRADES = np.array([-0.8, 0.3, 1.4])
"""Borders between four grades."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    endpoint: Endpoint
    sample: Callable[[int, np.random.Generator], dict[str, np.ndarray]]
    """Columns of a prediction table."""
    designs: tuple[tuple[int, int], ...] = ((60, 1), (200, 1))
    """Patients, and repeats of five folds."""


def trials() -> Iterator[Trial]:
    for kind in KINDS:
        for num, repeats in kind.designs:
            name = f"{kind.endpoint.kind}, {repeats} x 5 folds, n = {num}"
            yield Trial(name=name, truth=truths(kind, num // 5), draw=cohort(kind, num, repeats))
    for num in (60, 200):
        yield Trial(name=f"reclassified, n = {num}", truth=true_moves, draw=moved(num))
    for num in (40, 200):
        name = f"conformal, calibrated on {num} (90 % asked)"
        yield Trial(name=name, truth=lambda _: 0.0, draw=conformal(num), data_sets=4000)
    yield Trial(name="coverage of sets, 200 tested", truth=lambda _: 0.9, draw=counted, data_sets=4000)


def cohort(kind: Kind, num: int, repeats: int) -> Draw:
    def drawn(generator: np.random.Generator) -> Ends:
        table = predictions(kind, num, generator, folds=5, repeats=repeats)
        rows, resamples = table.of("m"), draw(table, replicates=REPLICATES, level=0.95, generator=generator)
        statistics = {m.name: m.build(rows) for m in metrics(table)}
        built = [replace(m, build=lambda _, found=statistics[m.name]: found) for m in metrics(table)]
        told: Ends = {}
        for name, found in measure(rows, built, table.endpoint, resamples).items():
            told |= as_run(found, statistics[name], resamples.index_of(rows), resamples)
        return told

    return drawn


def truths(kind: Kind, size: int) -> Callable[[np.random.Generator], Mapping[str, float]]:
    def of(generator: np.random.Generator) -> Mapping[str, float]:
        table = predictions(kind, MANY, generator, folds=MANY // size, repeats=1)
        rows, once = table.of("m"), np.ones((1, MANY), dtype=np.float32)
        return {m.name: float(m.build(rows)(once)[0]) for m in metrics(table)}

    return of


def metrics(table: PredictionTable) -> list[Metric]:
    return [m for m in metrics_of(table, {}) if m.distance is None]


def predictions(kind: Kind, num: int, generator: np.random.Generator, *, folds: int, repeats: int) -> PredictionTable:
    """Folds hold classes alike; every repeat has folds of its own and the same predictions."""
    columns = kind.sample(num, generator)
    classes = np.zeros(num) if kind.endpoint.kind in ("multilabel", "regression") else columns["y"]
    frames = []
    for repeat in range(repeats):
        fold = np.empty(num, dtype=int)
        fold[np.lexsort((generator.random(num), classes))] = np.arange(num) % folds
        keys = {"patient_id": np.arange(num), "site": "s", "model": "m", "repeat": repeat, "fold": fold, "pattern": "all"}
        frames.append(pd.DataFrame(keys | columns))
    frame = pd.concat(frames).sort_values(["repeat", "fold", "patient_id"], ignore_index=True)
    return PredictionTable(endpoint=kind.endpoint, frame=frame)


def two_classes(num: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    y, p = seen(0.3, num, generator)
    return {"y": y, "p": p}


def seen(share: float, num: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A 0/1 outcome and its probability given a normal score that is one standard deviation higher where it is 1."""
    y = (generator.random(num) < share).astype(float)
    return y, special.expit(generator.normal(size=num) + y - 0.5 + special.logit(share))


def three_classes(num: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    y = generator.choice(3, p=SHARES, size=num)
    p = special.softmax(generator.normal(size=(num, 3)) + np.eye(3)[y] + np.log(SHARES), axis=1)
    return {"y": np.array(list("abc"))[y]} | {f"p@{name}": p[:, k] for k, name in enumerate("abc")}


def grades(num: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    known = generator.normal(size=num)
    y = np.digitize(known + 0.8 * generator.normal(size=num), GRADES)
    below = stats.norm.cdf((GRADES - known[:, None]) / 0.8)
    p = np.diff(below, axis=1, prepend=0.0, append=1.0)
    return {"y": np.array(list("abcd"))[y]} | {f"p@{name}": p[:, k] for k, name in enumerate("abcd")}


def three_labels(num: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """A fifth of each label is not known."""
    columns = {}
    for name, share in zip("abc", SHARES.tolist(), strict=True):
        y, p = seen(share, num, generator)
        columns |= {f"y@{name}": np.where(generator.random(num) < 0.2, np.nan, y), f"p@{name}": p}
    return columns


def values(num: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    known = generator.normal(size=num)
    return {"y": known + generator.normal(size=num), "yhat": 0.9 * known + 0.3 * generator.normal(size=num)}


BINARY = Endpoint(name="y", kind="binary", columns=("y",))
CLASSES = Endpoint(name="y", kind="multiclass", columns=("y",), classes=tuple("abc"))
ORDINAL = Endpoint(name="y", kind="ordinal", columns=("y",), classes=tuple("abcd"))
LABELS = Endpoint(name="y", kind="multilabel", columns=tuple("abc"))
VALUES = Endpoint(name="y", kind="regression", columns=("y",))
KINDS = (
    Kind(endpoint=BINARY, sample=two_classes, designs=((60, 1), (200, 1), (200, 3), (600, 1))),
    Kind(endpoint=CLASSES, sample=three_classes),
    Kind(endpoint=ORDINAL, sample=grades),
    Kind(endpoint=LABELS, sample=three_labels),
    Kind(endpoint=VALUES, sample=values),
)


def two_models(num: int, generator: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The old one sees the score of the new one with as much noise again."""
    y = (generator.random(num) < 0.3).astype(float)
    score = generator.normal(size=num) + y
    known = {"new": score - 0.5, "old": (score + generator.normal(size=num) - 0.5) / 2}
    return y, {model: special.expit(logit + special.logit(0.3)) for model, logit in known.items()}


def moved(num: int) -> Draw:
    def drawn(generator: np.random.Generator) -> Ends:
        y, p = two_models(num, generator)
        keys = {"patient_id": np.arange(num), "site": "s", "repeat": 0, "fold": np.arange(num) % 5, "pattern": "all", "y": y}
        frame = pd.concat([pd.DataFrame(keys | {"model": model, "p": p[model]}) for model in p], ignore_index=True)
        table = PredictionTable(endpoint=BINARY, frame=frame)
        resamples = draw(table, replicates=REPLICATES, level=0.95, generator=generator)
        found = reclassification_table(table, resamples, main="new", reference="old", curves={})
        return {f"{row.measure} {row.part}, expanded (run)": (row.low, row.high) for row in found.itertuples()}

    return drawn


def true_moves(generator: np.random.Generator) -> Mapping[str, float]:
    y, p = two_models(MANY, generator)
    told = {"nri": reclassification(y, p["old"], p["new"]), "idi": integrated_discrimination(y, p["old"], p["new"])}
    return {f"{name} {part}": getattr(found, part) for name, found in told.items() for part in ("total", "events", "nonevents")}


def conformal(num: int) -> Draw:
    """Whether the set, and the interval, of one new patient holds the truth (distance 0), calibrated as a run does."""

    def drawn(generator: np.random.Generator) -> Ends:
        columns = three_classes(num + 1, generator)
        y, p = np.searchsorted(list("abc"), columns["y"]), np.column_stack([columns[f"p@{name}"] for name in "abc"])
        kept = calibrate_sets(y[:-1], p[:-1], level=0.9, by_class=True).sets(p[-1:])[0]
        half = kept.sum() / 2
        away = 0.0 if kept[y[-1]] else half + 1.0
        known = values(num + 1, generator)
        low, high = calibrate_intervals(known["y"][:-1], known["yhat"][:-1], level=0.9).intervals(known["yhat"][-1:])
        return {"set": (away - half, away + half), "interval": tuple(float(end[0] - known["y"][-1]) for end in (low, high))}

    return drawn


def counted(generator: np.random.Generator) -> Ends:
    found = coverage(generator.random(200) < 0.9, np.ones(200))["all"]
    return {"Clopper-Pearson (run)": (found.low, found.high)}
