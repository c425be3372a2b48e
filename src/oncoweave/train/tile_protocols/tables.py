"""Scores of many encoders as tables: one row a number, and each encoder less its controls."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from oncoweave.evaluate.compare import paired_difference, paired_replicates
from oncoweave.evaluate.significance import detectable_difference
from oncoweave.evaluate.versus import Versus
from oncoweave.evaluate.weighted import mean_of, mean_recall
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


def tile_table(some: Sequence[Contender], scored: Scored, *, tiles: int) -> pd.DataFrame:
    """One row for each encoder, score and test tile, of protocols that are tested on all ``tiles``: what scores are means of.

    Columns: encoder, role, protocol, setting, metric, balanced, tile, label, group, grouped, value; label and group are numbers,
    as in ``Embedded``.
    """
    frames = [
        pd.DataFrame({"tile": np.arange(tiles), "label": test.label, "group": test.group, "value": score.per_tile}).assign(
            encoder=contender.name,
            role=contender.role,
            protocol=found.protocol,
            setting=score.setting,
            metric=score.metric,
            balanced=score.balanced,
            grouped=test.grouped,
        )
        for contender in some
        for found, test in scored[contender.name]
        for score in found.scores
        if len(test.label) == tiles
    ]
    names = ["encoder", "role", "protocol", "setting", "metric", "balanced", "tile", "label", "group", "grouped", "value"]
    return pd.concat(frames, ignore_index=True)[names].astype(dict.fromkeys(names[:5], "category"))


def tile_duel(table: pd.DataFrame, first: str, second: str, *, rng: np.random.Generator, replicates: int) -> Versus:
    """Compare two encoders of one score of a :func:`tile_table`, first minus second, by a paired bootstrap.

    Drawn are slides or patients where some tiles are known to be of one, else tiles, as the note says, which completes "drawn
    are".
    """
    one, other = (table[table["encoder"] == name].set_index("tile") for name in (first, second))
    label, group = one["label"].to_numpy(), one["group"].to_numpy()
    values = [rows["value"].loc[one.index].to_numpy(dtype=float) for rows in (one, other)]
    first_mean, second_mean = (mean_recall(label, v) if one["balanced"].all() else mean_of(v) for v in values)
    value, draws = paired_replicates(first_mean, second_mean, group, generator=rng, replicates=replicates)
    found, slides = paired_difference(value, draws), bool(one["grouped"].all())
    return Versus(
        difference=found.value,
        low=found.low,
        high=found.high,
        p=found.p,
        p_folds=float("nan"),
        detectable=detectable_difference(draws),
        n=len(np.unique(group)),
        events=None,
        note="slides or patients" if slides else "tiles, as which are of one slide is not known: interval and p are too small",
    )


def _pairs(scored: Scored, name: str, control: str) -> Iterator[tuple[str, TileScore, TileScore, Embedded]]:
    of_control = {found.protocol: found for found, _ in scored[control]}
    for mine, test in scored[name]:
        theirs = of_control.get(mine.protocol)
        if theirs is not None:
            yield from ((mine.protocol, one, other, test) for one, other in zip(mine.scores, theirs.scores, strict=True))


def _size(test: Embedded) -> dict[str, object]:
    return {"n": len(test.label), "groups": len(np.unique(test.group)) if test.grouped else None}
