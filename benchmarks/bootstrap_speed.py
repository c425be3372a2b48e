"""How long 10,000 paired bootstrap replicates of a C-index difference take, against a loop over lifelines' concordance index.

Run ``python benchmarks/bootstrap_speed.py`` (under a minute on one core). The loop is timed on 60 replicates and extrapolated:
all of them would take over a minute. Both use the same draws of patients, drawing is part of our time and not of the loop's, and
times are processor time, taken in turns, the median of five. Agreement is the largest difference over the replicates of the loop.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
from lifelines.utils import concordance_index

from oncoweave.evaluate.compare import difference_of, paired_bootstrap
from oncoweave.evaluate.intervals import draw_weights, replicate
from oncoweave.evaluate.pairs import PairStatistic, survival_pairs

REPLICATES, LOOPED, TURNS = 10_000, 12, 5


def main() -> None:
    print("patients  events  ties  ours, 10,000 (s)  loop, 10,000, extrapolated (s)  times faster  largest difference")
    for num, decimals in ((200, 8), (1000, 8), (1000, 1), (5000, 8)):
        print("{:8d}  {:6d}  {:>4}  {:16.3f}  {:30.1f}  {:12.0f}  {:.1e}".format(*compare(num, decimals)))


def compare(num: int, decimals: int) -> tuple[int, int, str, float, float, float, float]:
    generator = np.random.default_rng(0)
    log_hazard = generator.normal(size=num)
    death, follow_up = generator.exponential(np.exp(-log_hazard)), generator.exponential(1.5, size=num)
    observed, event = np.round(np.minimum(death, follow_up), decimals), death <= follow_up
    risks = [np.round(log_hazard + noise * generator.normal(size=num), decimals) for noise in (1.0, 1.2)]

    def rankings() -> list[PairStatistic]:
        return [survival_pairs(observed, event, risk, np.zeros(num, dtype=int)) for risk in risks]

    def ours() -> None:
        paired_bootstrap(*rankings(), np.arange(num), replicates=REPLICATES, generator=generator)

    draws = draw_weights(num, replicates=LOOPED * TURNS, generator=generator)
    found: list[float] = []

    def loop() -> None:
        for weights in draws[len(found) : len(found) + LOOPED]:
            rows = np.repeat(np.arange(num), weights.astype(int))
            first, second = (concordance_index(observed[rows], -risk[rows], event[rows]) for risk in risks)
            found.append(first - second)

    times = [(seconds(ours), seconds(loop) * REPLICATES / LOOPED) for _ in range(TURNS)]
    mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    values = replicate({"": difference_of(*rankings())}, draws, np.arange(num))[""]
    worst = float(np.abs(values - np.array(found)).max())
    return num, int(event.sum()), "many" if decimals == 1 else "none", mine, theirs, theirs / mine, worst


def seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
