"""Patients with scores of three modalities, for every kind of endpoint."""

import numpy as np

from oncoweave.core.endpoint import Endpoint, Target

KINDS = {"survival": 1, "binary": 1, "multiclass": 3, "multilabel": 2, "ordinal": 3, "regression": 1}
"""Columns of a score, by kind of endpoint."""


def scored_patients(kind, rng, n=60):
    """Draw scores ``[n, 3, c]`` of three modalities and the outcome they all tell of."""
    columns = {"survival": ("time", "event"), "multilabel": ("a", "b")}.get(kind, ("y",))
    classes = ("low", "middle", "high") if kind in ("multiclass", "ordinal") else ()
    unit = "months" if kind == "survival" else None
    endpoint = Endpoint(name="y", kind=kind, columns=columns, classes=classes, time_unit=unit)
    truth = rng.normal(size=n)
    noisy = truth[:, None, None] + rng.normal(size=(n, 3, KINDS[kind]))
    if kind == "survival":
        values, scores = np.stack([np.ceil(50 * rng.exponential(np.exp(-truth))), rng.random(n) < 0.7], axis=1), noisy + 5
    elif kind == "regression":
        values, scores = 100 + 10 * truth, 100 + 10 * noisy
    elif kind == "binary":
        values, scores = truth > 0, 1 / (1 + np.exp(-noisy))
    elif kind == "multilabel":
        values, scores = np.stack([truth > 0, truth > 0.5], axis=1).astype(float), 1 / (1 + np.exp(-noisy))
        values[5, 0] = np.nan
    else:
        values = np.digitize(truth, [-0.5, 0.5])
        logits = noisy * 0.3 - 0.5 * (truth[:, None, None] - np.array([-1.0, 0.0, 1.0])) ** 2
        scores = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return scores, Target(endpoint=endpoint, values=np.asarray(values, dtype=float))
