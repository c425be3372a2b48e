"""Scores of many encoders as tables: one row a number, and each encoder less its controls."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from oncoweave.train.tile_protocols.contenders import Contender
from oncoweave.train.tile_protocols.embedded import Embedded, TileScore, TileScores, difference

Scored = Mapping[str, Sequence[tuple[TileScores, Embedded]]]
"""By name of the contender: what each protocol says, and the test tiles it is of."""


def score_table(some: Sequence[Contender], scored: Scored) -> pd.DataFrame:
    """One row for each encoder, protocol, setting and metric; ``n`` counts tiles, ``groups`` slides where these are known."""
    rows = [
        {
            "encoder": contender.name,
            "role": contender.role,
            "protocol": found.protocol,
            "setting": score.setting,
            "metric": score.metric,
            "value": score.value,
            "low": score.low,
            "high": score.high,
            "chance": score.chance,
            **_size(test),
            "resampled": score.resampled,
            "note": found.note,
        }
        for contender in some
        for found, test in scored[contender.name]
        for score in found.scores
    ]
    return pd.DataFrame(rows)


def difference_table(some: Sequence[Contender], scored: Scored, *, seed: int) -> pd.DataFrame:
    """Every score of an encoder less that of its network with random weights, and of colour statistics, on the same tiles.

    A protocol that a control cannot run (nothing of colour statistics can be tuned) has no row with it.
    """
    rows = []
    colour = next(c.name for c in some if c.role == "colour")
    for contender in (c for c in some if c.role == "encoder"):
        for control in (contender.twin, colour):
            for protocol, one, other, test in _pairs(scored, contender.name, control):
                found = difference(one, other, test, rng=np.random.default_rng(seed))
                rows.append(
                    {
                        "encoder": contender.name,
                        "control": control,
                        "protocol": protocol,
                        "setting": one.setting,
                        "metric": one.metric,
                        "difference": found.value,
                        "low": found.low,
                        "high": found.high,
                        **_size(test),
                        "resampled": "slides" if test.grouped else "tiles",
                    }
                )
    return pd.DataFrame(rows)


def _pairs(scored: Scored, name: str, control: str) -> Iterator[tuple[str, TileScore, TileScore, Embedded]]:
    of_control = {found.protocol: found for found, _ in scored[control]}
    for mine, test in scored[name]:
        theirs = of_control.get(mine.protocol)
        if theirs is not None:
            yield from ((mine.protocol, one, other, test) for one, other in zip(mine.scores, theirs.scores, strict=True))


def _size(test: Embedded) -> dict[str, object]:
    return {"n": len(test.label), "groups": len(np.unique(test.group)) if test.grouped else None}
