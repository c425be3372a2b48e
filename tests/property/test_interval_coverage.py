"""Do bootstrap intervals of the C-index hold the true C-index as often as they say?"""

import numpy as np

from oncoweave.evaluate.intervals import bootstrap
from oncoweave.evaluate.pairs import survival_pairs


def test_the_interval_of_the_c_index_covers_the_truth():
    # Exponential times, hazard exp(risk): P(T_i < T_j) = h_i / (h_i + h_j), so the true C is the mean of max(h_i, h_j) / sum.
    rng = np.random.default_rng(7)
    risk = rng.normal(size=200_000)
    truth = (1 / (1 + np.exp(-np.abs(risk[::2] - risk[1::2])))).mean()
    covered = 0
    for _ in range(150):
        risk = rng.normal(size=120)
        time = rng.exponential(size=120) / np.exp(risk)
        pairs = survival_pairs(time, np.ones(120, dtype=bool), risk, np.arange(120) % 2)
        found = bootstrap(pairs, np.arange(120), replicates=200, generator=rng)
        covered += found.low <= truth <= found.high
    assert 0.895 <= covered / 150 < 1  # 95 % within 3 standard errors of 150 trials
