"""Intervals of calibration errors by simulation: which true errors would have given a distance like the one observed?

A calibration error is a mean of distances and cannot be below 0. Near 0 no bootstrap of it is consistent (Andrews 2000), and a
percentile interval leaves out 0 for most models that are calibrated perfectly. Here a test is inverted instead: outcomes are
drawn with the predicted probabilities, where calibration is perfect (Broecker and Smith 2007), and with probabilities moved ever
further in the direction observed; the interval holds the true errors under which the distance observed is in neither tail.

How a true error is spread over patients decides how much luck adds to it: most where the error is in few places, as distances
elsewhere are luck alone, and least where it is the same everywhere. The spread is not known, so each end takes the one that
favours it least: the lower end the distances observed to the power of three, the upper end one distance for all. The lower end
is 0 just where perfect calibration is not refuted at half of one minus the level; at perfect calibration the interval therefore
errs half as often as elsewhere. Simulated coverage: ``benchmarks/interval_coverage_2026-11.md``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from oncoweave.evaluate.calibration_error import Distance
from oncoweave.evaluate.intervals import Interval

_SAMPLES = 400
_HALVINGS = 10
_FURTHEST = 64.0
"""Largest multiple of the observed distances that is tried."""
_SAME = 1e-6
"""Distances that differ by less are equal: they are sums in float32."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Simulation:
    """Outcomes drawn again and again for the patients of a distance, and where the observed one lies among theirs."""

    distance: Distance
    patients: np.ndarray
    """``Int[row]``: whose each row is; the rows of a patient share their luck."""
    seed: int

    def p(self) -> float:
        """Share of samples of a perfectly calibrated model that lie at least as far as the observed one; NaN if not defined."""
        return self._tails(self.distance.probability, self._luck())[0]

    def interval(self, value: float, *, level: float = 0.95) -> Interval:
        """Interval of the true error, widened to hold ``value``, the debiased one; NaN where most samples define no distance."""
        luck, tail = self._luck(), 0.5 - level / 2
        above, below = self._tails(self.distance.probability, luck)
        if np.isnan([above, below, value]).any():
            return Interval(value=value, low=float("nan"), high=float("nan"), replicates=0)
        few, everywhere = self._moved(3), self._moved(0)
        low = 0.0 if above > tail else self._last(few, lambda chance: self._tails(chance, luck)[0] <= tail)
        high = 0.0 if below <= tail else self._last(everywhere, lambda chance: self._tails(chance, luck)[1] > tail)
        return Interval(value=value, low=min(low, value), high=max(high, value), replicates=_SAMPLES)

    def _luck(self) -> np.ndarray:
        drawn = np.random.default_rng(self.seed).random((_SAMPLES, int(self.patients.max()) + 1), dtype=np.float32)
        return drawn[:, self.patients]

    def _moved(self, power: int) -> Callable[[float], np.ndarray]:
        """From a multiple of the distance observed to probabilities moved by it, spread as a power of what is observed."""
        shift = self.distance.shift
        if not np.abs(shift).max() > _SAME:  # nothing observed shows where errors lie: towards one half
            shift = np.where(self.distance.probability > 0.5, -1.0, 1.0)
        spread = np.sign(shift) * (np.abs(shift) / np.abs(shift).max()) ** power
        step = spread * np.abs(shift).mean() / np.abs(spread).mean()
        return lambda multiple: (self.distance.probability + multiple * step).clip(0, 1)

    def _tails(self, chance: np.ndarray, luck: np.ndarray) -> tuple[float, float]:
        """Share of samples at least, and at most, as far as observed; NaN where fewer than half define a distance."""
        found = self.distance.of((luck < chance).astype(np.float32))
        found = found[~np.isnan(found)]
        observed = float(self.distance.of(self.distance.y[None].astype(np.float32))[0])
        if np.isnan(observed) or 2 * len(found) < len(luck):
            return float("nan"), float("nan")
        return float((found >= observed - _SAME).mean()), float((found <= observed + _SAME).mean())

    def _last(self, moved: Callable[[float], np.ndarray], holds: Callable[[np.ndarray], bool]) -> float:
        """The true error at the largest multiple for which something holds that holds at 0."""
        low, high = 0.0, 1.0
        while high < _FURTHEST and holds(moved(high)):
            low, high = high, 2 * high
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(moved(middle)) else (low, middle)
        return self.distance.true(moved((low + high) / 2))
