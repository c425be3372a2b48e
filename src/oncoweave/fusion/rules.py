"""A decision list: if-then rules, the override of one named modality, k of n positive decisions, and then everybody else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import ConfigError, unknown_name
from oncoweave.core.ranges import Count, Rate
from oncoweave.core.settings import ranged
from oncoweave.evaluate.hypotheses import Hypotheses, decision_cutoffs, fit_hypotheses
from oncoweave.nn.availability import present_scores

STAGE = "late"
NEEDS = ("names",)


@ranged
class Config:
    """The list, from its last line to its first."""

    k: Count = 1
    """Positive decisions wanted, of all modalities; of those a patient has, the same share, rounded up. 1: any."""
    override: str = ""
    """Modality that can decide alone, such as the clinical one; empty: none can. Left out, it never decides."""
    override_above: Rate = 0.9
    """Share of the training patients whom the override calls lower."""
    rules: str = ""
    """Tried first, the first that holds decides: ``clinical above 0.8 and slide below 0.2 then high; rna below 0.1 then low``.

    A number is the share of training patients whom the modality calls lower; one that a patient lacks is neither above nor below.
    """

    def __post_init__(self) -> None:
        """Refuse rules that cannot be read."""
        _read(self.rules)


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A rule as it is written."""

    conditions: tuple[tuple[str, bool, float], ...]
    """Modality, whether above (else below), and share of the training patients."""
    high: bool

    def __str__(self) -> str:
        """Say the rule in the words of ``Config.rules``."""
        told = (f"{name} {'above' if above else 'below'} {share:g}" for name, above, share in self.conditions)
        return f"{' and '.join(told)} then {'high' if self.high else 'low'}"


_CONDITION = re.compile(r"(?P<name>\S+) +(?P<side>above|below) +(?P<share>0?\.\d+|0|1(\.0+)?)")
_LINE = re.compile(r"(?:if +)?(?P<conditions>.+?) +then +(?P<answer>high|low)")


def _read(rules: str) -> tuple[Written, ...]:
    return tuple(_read_line(" ".join(line.split())) for line in rules.split(";") if line.strip())


def _read_line(line: str) -> Written:
    read = _LINE.fullmatch(line)
    parts = re.split(" and ", read["conditions"]) if read else []
    found = [_CONDITION.fullmatch(part) for part in parts]
    if read is None or not all(found):
        wrong = next((part for part, condition in zip(parts, found, strict=True) if condition is None), line)
        msg = f"rules: wanted such as 'clinical above 0.8 and slide below 0.2 then high', shares from 0 to 1, got {wrong!r}"
        raise ValueError(msg)
    conditions = tuple((c["name"], c["side"] == "above", float(c["share"])) for c in found if c is not None)
    return Written(conditions=conditions, high=read["answer"] == "high")


def check(config: Config, modalities: Sequence[str]) -> None:
    """Refuse what a study's modalities do not give: an override, rules about them, a cut-off of no override, too many votes."""
    for name in (condition[0] for rule in _read(config.rules) for condition in rule.conditions):
        if name not in modalities:
            raise unknown_name("modality (rules of rules)", name, modalities)
    if config.override and config.override not in modalities:
        raise unknown_name("modality (override of rules)", config.override, modalities)
    if not config.override and config.override_above != Config().override_above:
        msg = f"override_above {config.override_above:g} of rules and no override; name the modality (override: {modalities[0]})"
        raise ConfigError(msg)
    if config.k > len(modalities):
        msg = f"k {config.k} of rules, wanted at most the {len(modalities)} modalities of the model: {', '.join(modalities)}"
        raise ConfigError(msg)


def statements(config: Config, modalities: Sequence[str]) -> tuple[str, ...]:
    """List the lines of a model of such modalities in words, from the first that is tried to the last."""
    rules = [str(rule) for rule in _read(config.rules) if all(name in modalities for name, _, _ in rule.conditions)]
    override = [_overriding(config)] if config.override in modalities else []
    return (*rules, *override, _K_POSITIVE, _NONE_HELD)


def shares(config: Config) -> dict[str, float]:
    """Give the share of patients for whom each line with cut-offs decides at most, if it keeps to what it asks."""
    asked = {str(rule): min(1 - share if above else share for _, above, share in rule.conditions) for rule in _read(config.rules)}
    return asked | ({_overriding(config): 1 - config.override_above} if config.override else {})


def _overriding(config: Config) -> str:
    return f"override: {config.override} above {config.override_above:g} then high"


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Rule:
    """An if-then line: all conditions hold, of modalities that the patient has."""

    places: tuple[int, ...]
    """Of the modalities."""
    above: tuple[bool, ...]
    cutoffs: np.ndarray
    """``[condition, c]``, of their probabilities."""
    high: bool
    written: str = ""
    """In words."""

    def holds(self, columns: np.ndarray) -> np.ndarray:
        """Say of ``[n, m, c]`` for whom the rule holds, ``Bool[n, c]``; what is absent (NaN) is neither above nor below."""
        each = [
            columns[:, place] > cutoff if above else columns[:, place] < cutoff
            for place, above, cutoff in zip(self.places, self.above, self.cutoffs, strict=True)
        ]
        return np.logical_and.reduce(each)


_K_POSITIVE, _NONE_HELD = "k of n positive", "none of these"
_NEITHER, _K_OF_N, _HIGH, _LOW = range(4)
"""Lines by what they come to, as ``levels`` holds them."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """The first rule that holds: high or low; else if override is far up: high; else if k of n are positive; else neither.

    A modality is positive above the cut-off at which it would have called as many training patients positive as were; of classes,
    each class is decided apart. A line's score is how often its training patients had the outcome, with one more patient of
    average outcome; low never scores above neither, that above k of n, nor that above high (isotonic regression). Patients of one
    line tie. Survival asks for an event by the median time of the training events, regression for a value above the training
    median.
    """

    hypotheses: Hypotheses
    cutoffs: np.ndarray
    """``[m, c]``, of probabilities."""
    share: float
    """k over the number of modalities."""
    override: int
    """Place of the modality; -1 for none."""
    override_cutoff: np.ndarray
    """``[c]``, of its probabilities."""
    levels: np.ndarray
    """``[4, c]``: score of neither, k of n, high and low, as a probability."""
    rules: tuple[Rule, ...] = ()
    """Those whose modalities are all there, in order."""
    overriding: str = ""
    """The override in words."""

    def decisions(self, scores: np.ndarray) -> list[str]:
        """Say in words which line decides for each patient of ``[n, m, c]``; of several classes, of each in turn."""
        lines = self.deciding(scores)
        told = np.array([*(rule.written for rule in self.rules), self.overriding, _K_POSITIVE, _NONE_HELD], dtype=object)
        return ["; ".join(row) for row in told[lines].tolist()]

    def deciding(self, scores: np.ndarray) -> np.ndarray:
        """Say which line decides for each patient and column, ``Int[n, c]``: a rule by its place, then override, k of n, none."""
        present, first = present_scores(scores, self.cutoffs.shape), len(self.rules)
        columns = self.hypotheses.columns(self.hypotheses.probabilities(scores))
        positive = (columns > self.cutoffs).sum(axis=1)
        # less a little, so that k of n is k of n whatever k / n rounds to
        wanted = np.maximum(np.ceil(self.share * present.sum(axis=1) - 1e-9), 1.0)
        line = np.where(positive >= wanted[:, None], first + 1, first + 2)
        if self.override >= 0:
            line = np.where(columns[:, self.override] > self.override_cutoff, first, line)
        for place, rule in reversed(list(enumerate(self.rules))):  # the first that holds has the last word
            line = np.where(rule.holds(columns), place, line)
        return line

    def lines(self, scores: np.ndarray) -> np.ndarray:
        """Say what the deciding line comes to, ``Int[n, c]``: 3 low, 2 high or override, 1 k of n, 0 neither."""
        comes_to = np.array([*(_HIGH if rule.high else _LOW for rule in self.rules), _HIGH, _K_OF_N, _NEITHER])
        return comes_to[self.deciding(scores)]

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Apply the list to ``[n, m, c]``, ``[n, c]``; NaN is an absent modality."""
        level = np.take_along_axis(self.levels, self.lines(scores), axis=0)
        return self.hypotheses.scores(self.hypotheses.answers(level))


def fit(scores: np.ndarray, target: Target, config: Config, names: Sequence[str] = ()) -> Fitted:
    """Take cut-offs and scores of the lines from out-of-fold scores ``[n, m, c]`` of the training patients.

    They spread less than scores of models fitted on all training patients, which are what is combined, so that a line asked for a
    tenth decides for somewhat more; ``shares`` tells what was asked.
    """
    present = present_scores(scores)
    hypotheses = fit_hypotheses(scores, target)
    columns, prior = hypotheses.columns(hypotheses.probabilities(scores)), hypotheses.columns(hypotheses.prior)
    known = max(int(present.any(axis=0).sum()), 1)
    override = list(names).index(config.override) if config.override in names else -1
    if override >= 0 and not present[:, override].any():
        override = -1
    cutoff = np.ones(len(prior))
    if override >= 0:
        cutoff = np.quantile(columns[present[:, override], override], config.override_above, axis=0)
    unscored = Fitted(
        hypotheses=hypotheses,
        cutoffs=decision_cutoffs(columns, prior),
        share=min(config.k, known) / known,
        override=override,
        override_cutoff=cutoff,
        levels=np.zeros((4, len(prior))),
        rules=tuple(found for r in _read(config.rules) if (found := _fit_rule(r, columns, present, names)) is not None),
        overriding=_overriding(config),
    )
    unscored.levels[:] = _levels(unscored, unscored.lines(scores), target)
    return unscored


def _fit_rule(rule: Written, columns: np.ndarray, present: np.ndarray, names: Sequence[str]) -> Rule | None:
    """Take cut-offs from the training patients who have the modality; None where one is left out, so that it never holds."""
    places = tuple(list(names).index(name) if name in names else -1 for name, _, _ in rule.conditions)
    if any(place < 0 or not present[:, place].any() for place in places):
        return None
    cutoffs = [
        np.quantile(columns[present[:, place], place], share, axis=0)
        for place, (_, _, share) in zip(places, rule.conditions, strict=True)
    ]
    above = tuple(above for _, above, _ in rule.conditions)
    return Rule(places=places, above=above, cutoffs=np.stack(cutoffs), high=rule.high, written=str(rule))


def _levels(fitted: Fitted, lines: np.ndarray, target: Target) -> np.ndarray:
    hypotheses = fitted.hypotheses
    truth, weight = hypotheses.truth(target)
    came, prior = hypotheses.columns(truth), hypotheses.columns(hypotheses.prior)
    weight = np.broadcast_to(weight, came.shape)  # one question of many classes weighs each of them alike
    low = [_LOW] if any(not rule.high for rule in fitted.rules) else []
    order = [*low, _NEITHER, _K_OF_N, _HIGH]
    on_line = np.stack([lines == line for line in order])
    counted = (on_line * weight).sum(axis=1) + 1.0
    rate = ((on_line * weight * came).sum(axis=1) + prior) / counted
    levels = np.tile(prior, (4, 1))
    levels[order] = np.stack([isotonic_regression(r, weights=w).x for r, w in zip(rate.T, counted.T, strict=True)], axis=1)
    return levels
