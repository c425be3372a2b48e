"""What is known of an encoder and its published weights, so that tiles are cut for it as they were for its training."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class TileCard:
    """Card of a tile encoder."""

    title: str
    licence: str
    """Licence of the published weights; 'not verified' where no public statement of it was found."""
    published: bool
    """Whether it means weights published by others: it is then never used with random ones."""
    tile: int
    """Side, in pixels, of the tiles it takes."""
    mpp: tuple[float, ...]
    """Resolutions of the tiles, um/px, the usual one first."""
    input: str
    """What becomes of a tile before the network sees it."""
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    output: str
    """``cls``, ``mean`` (of patch tokens) or ``cls+mean``; register tokens are never part of it."""
    dim: int
    """Width of the vectors."""
    parameters: int
    """Number of parameters, without heads and mask token."""
    citation: str
    weights: str = ""
    """Where the weights are published."""
    notes: str = ""
    """What differs between sources, and what could not be verified."""
