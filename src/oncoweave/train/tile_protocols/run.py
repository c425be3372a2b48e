"""Every tile-level protocol for encoders on one task, beside random weights and colour statistics, as tables and a page."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from oncoweave.train.tile_encoder import TileEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class TileProtocolOptions:
    """How much is done; the protocols themselves are fixed."""

    seed: int = 0
    episodes: int = 1000
    """Draws of the k-shot protocol for each k."""
    perturbed_tiles: int = 60
    """Test tiles of which the 91 versions are made; 0 leaves robustness out, which the page says."""
    tuning_epochs: int = 5
    """Epochs of fine-tuning; 0 leaves it out, which the page says."""
    replicates: int = 1000
    """Bootstrap replicates of an interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TileProtocolRun:
    """Where the results are."""

    scores: Path
    """Parquet: one row for each encoder, protocol, setting and metric."""
    differences: Path
    """Parquet: each encoder less each control, on the same tiles."""
    page: Path
    """Markdown."""
    figure: Path
    """SVG."""


def run_tile_protocols(
    encoders: Mapping[str, TileEncoder],
    train_folder: Path | str,
    test_folder: Path | str,
    out: Path | str,
    *,
    options: TileProtocolOptions = TileProtocolOptions(),
) -> TileProtocolRun:
    """Run every protocol; ``encoders`` are named as the tables shall name them, the controls come by themselves.

    Folders are those of :func:`oncoweave.train.tile_sources.open_tiles`. Embeddings are kept under ``out`` by the encoder's and
    the tiles' fingerprints, so that a run that was stopped goes on.
    """
    raise NotImplementedError
