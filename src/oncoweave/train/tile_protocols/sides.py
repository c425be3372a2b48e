"""Does a tile stand on both sides? Equal ones are refused; those of near-equal embeddings are counted beside the scores."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from oncoweave.core.errors import DataError
from oncoweave.train.probe import ProbeData
from oncoweave.train.tile_protocols.embedded import Embedded, unit

NEAR = 0.25
"""A test tile is near-equal to a training tile that is nearer than this part of the usual (median) distance of a training tile to
its nearest other.

Measured on tiles of lung and colon (190 and 450): with the built-in encoder and with random weights, the nearest tile of the
other side is never nearer than .29 of it. With the built-in encoder more than half of all copies saved as JPEG of quality 60 to
90, or scaled to four fifths and back, are (medians .09 to .24). Colour statistics show copies that were flipped (.00).
"""
COLUMNS = ("encoder", "near", "tested", "near_within", "looked_at", "trained")
"""``near`` of ``tested`` tiles are near-equal to one of ``trained`` tiles; by the same bound ``near_within`` of ``looked_at``
training tiles are near-equal to another training tile."""
_SAMPLE = 1000
"""Training tiles whose nearest other one is looked for."""
_AT_ONCE = 256


def refuse_equal_tiles(data: ProbeData, train: object, test: object) -> None:
    """Raise where tiles of both sides are equal, pixel by pixel; those of a single colour are alike by nature and may be.

    Raises:
        DataError: some are.
    """
    held = {digest for digest in data.train.digests if digest}
    count = sum(digest in held for digest in data.test.digests)
    if count:
        msg = (
            f"{count} of {len(data.test.digests)} tiles in {test} are tiles of {train} as well, pixel by pixel; a score of them"
            " is of no worth: take them out of one side"
        )
        raise DataError(msg)


def near_tiles(name: str, train: Embedded, test: Embedded, *, rng: np.random.Generator) -> dict[str, object]:
    """Count test tiles that are near-equal to a training tile, as :data:`COLUMNS` says; distances are of centred directions."""
    centre = train.features.mean(axis=0)
    x, z = unit(train.features - centre), unit(test.features - centre)
    chosen = rng.permutation(len(x))[:_SAMPLE]
    within, across = _nearest(x[chosen], x, own=chosen), _nearest(z, x)
    bound = NEAR * float(np.median(within))
    counts = int((across < bound).sum()), len(z), int((within < bound).sum()), len(chosen), len(x)
    return dict(zip(COLUMNS, (name, *counts), strict=True))


def said(table: pd.DataFrame) -> str:
    """Say what the counts of all encoders come to."""
    worst = table.sort_values("near", kind="stable").iloc[-1]
    if not worst["near"]:
        return f"No test tile is equal or near-equal to a training tile, by any of {len(table)} encoders."
    return (
        f"{worst['near']} of {worst['tested']} test tiles are near-equal to a training tile, by {worst['encoder']} (and"
        f" {worst['near_within']} of {worst['looked_at']} training tiles to another): copies, or neighbours in a slide, which"
        " flatter every score."
    )


def suspicious(table: pd.DataFrame) -> bool:
    """Whether some encoder finds near-equal tiles across the sides more often than among training tiles."""
    return bool((table["near"] / table["tested"] > table["near_within"] / table["looked_at"]).any())


def _nearest(
    x: Float[np.ndarray, "tile dim"], others: Float[np.ndarray, "other dim"], own: np.ndarray | None = None
) -> Float[np.ndarray, " tile"]:
    """Distance of each row to the nearest of others, all of length one; ``own`` says which of these a row itself is."""
    found = np.empty(len(x))
    for start in range(0, len(x), _AT_ONCE):
        cosines = x[start : start + _AT_ONCE] @ others.T
        if own is not None:
            cosines[np.arange(len(cosines)), own[start : start + _AT_ONCE]] = -1.0
        found[start : start + _AT_ONCE] = np.sqrt(np.maximum(2 - 2 * cosines.max(axis=1), 0.0))
    return found
