"""Stain and scanner robustness: is a tile, stained and scanned anew, still nearest to itself?

After PLISM's benchmark (Filiot et al. 2025, arXiv:2501.16239): cosine between two versions of one tile, and whether it is among
the k nearest when all tiles of the other version are ranked by cosine; over pairs of versions that differ in scanner only, in
stain only, and in both. A cosine alone says little: an encoder that gives all tiles nearly one vector has cosines near 1. So the
cosine of different tiles stands beside it, and retrieval among N tiles has chance k / N.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from oncoweave.core.errors import DataError
from oncoweave.train.tile_protocols.embedded import Embedded, TileScores, measured, unit

TOP_OF = {f"top-{k} same tile": k for k in (1, 3, 10)}
"""Metrics of retrieval, and among how many the tile has to be."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Versions:
    """Embeddings of every version of some labelled tiles; the first stain and scanner are the tiles as they are."""

    features: Float[np.ndarray, "stain scanner tile dim"]
    label: Int64[np.ndarray, " tile"]
    group: Int64[np.ndarray, " tile"]

    @property
    def original(self) -> Embedded:
        """The tiles as they are."""
        return Embedded(features=self.features[0, 0], label=self.label, group=self.group)


def evaluate(versions: Versions, *, rng: np.random.Generator) -> TileScores:
    """Compare every two versions of the tiles; the interval resamples tiles by their slides, the versions are fixed.

    Raises:
        DataError: there are too few tiles to rank.
    """
    stains, scanners, tiles, _ = versions.features.shape
    most = max(TOP_OF.values())
    if tiles <= most:
        msg = f"robustness: wanted more than {most} tiles to retrieve one of them, got {tiles}"
        raise DataError(msg)
    found = {what: _Sums(tiles) for what in _kinds(0, stains, scanners)}
    flat = unit(versions.features.reshape(stains * scanners, tiles, -1).astype(np.float32))
    for number, mine in enumerate(flat):
        cosines = np.einsum("td,vud->vtu", mine, flat, optimize=True)
        own = np.einsum("vtt->vt", cosines)
        ahead = (cosines >= own[:, :, None]).sum(axis=2) - 1  # equally close tiles count as nearer ones
        others = (cosines.sum(axis=2) - own) / (tiles - 1)
        for what, chosen in _kinds(number, stains, scanners).items():
            found[what].add(own[chosen], others[chosen], ahead[chosen])
    scores = []
    for what, sums in found.items():
        for metric, per_tile in sums.means():
            chance = TOP_OF.get(metric, float("nan")) / tiles
            scores.append(
                measured(per_tile, versions.original, setting=what, metric=metric, chance=chance, rng=rng, balanced=False)
            )
    note = f"{tiles} tiles in {stains} stains x {scanners} scanners; chance of top-k is k / {tiles}"
    return TileScores(protocol="robustness", scores=tuple(scores), note=note)


def to_original(versions: Versions) -> Float[np.ndarray, "stain scanner"]:
    """Mean cosine of each version with the tiles as they are."""
    lengths = unit(versions.features)
    return np.einsum("cstd,td->cst", lengths, lengths[0, 0]).mean(axis=2)


class _Sums:
    """Sums over pairs of versions, one a tile."""

    def __init__(self, tiles: int) -> None:
        self.pairs = 0
        self.own, self.others = np.zeros(tiles), np.zeros(tiles)
        self.hits = {metric: np.zeros(tiles) for metric in TOP_OF}

    def add(
        self,
        own: Float[np.ndarray, "version tile"],
        others: Float[np.ndarray, "version tile"],
        ahead: Int64[np.ndarray, "version tile"],
    ) -> None:
        """Add the pairs of one version with some others."""
        self.pairs += len(own)
        self.own += own.sum(axis=0)
        self.others += others.sum(axis=0)
        for metric, hits in self.hits.items():
            hits += (ahead < TOP_OF[metric]).sum(axis=0)

    def means(self) -> Iterator[tuple[str, Float[np.ndarray, " tile"]]]:
        """Name the metrics and give their means over pairs."""
        yield "cosine, same tile", self.own / self.pairs
        yield "cosine, other tiles", self.others / self.pairs
        yield from ((metric, hits / self.pairs) for metric, hits in self.hits.items())


def _kinds(number: int, stains: int, scanners: int) -> dict[str, Bool[np.ndarray, " version"]]:
    """Which versions differ from the one of this number in what."""
    stain, scanner = np.divmod(np.arange(stains * scanners), scanners)
    same_stain, same_scanner = stain == number // scanners, scanner == number % scanners
    return {
        "across scanners": same_stain & ~same_scanner,
        "across stains": ~same_stain & same_scanner,
        "across both": ~same_stain & ~same_scanner,
    }
