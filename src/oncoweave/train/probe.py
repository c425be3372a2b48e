"""How much an encoder's embeddings tell of labelled tiles: nearest neighbours and linear classifiers, none of which moves it.

The quick look that pretraining takes; every protocol is in :mod:`oncoweave.train.tile_protocols`, which the classifiers are of.
k-NN: the class that most of the 20 nearest training tiles have. Linear: multinomial logistic regression, its cost chosen on inner
folds of the training tiles, and never on test tiles. Class means: the class whose mean is nearest, of standardised embeddings.
The metric is balanced accuracy, its interval a bootstrap of the test slides; where slides are not known it is one of tiles, and
too narrow. What it means shows beside the same network with random weights and beside colour statistics, which :func:`compare`
always runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from oncoweave.core.errors import DataError
from oncoweave.evaluate.intervals import Interval, bootstrap
from oncoweave.evaluate.weighted import mean_recall
from oncoweave.train.tile_encoder import TileEncoder, load_tile_encoder, random_twin
from oncoweave.train.tile_protocols.embedded import Embedded, standardised
from oncoweave.train.tile_protocols.linear_probe import choose_cost, linear
from oncoweave.train.tile_protocols.neighbours import nearest_neighbours
from oncoweave.train.tile_protocols.simpleshot import nearest_mean
from oncoweave.train.tile_sources import TileSource, open_tiles
from oncoweave.train.tile_stream import resized
from oncoweave.wsi.tiling import TileRecipe

STAINS = 12
"""Clusters of stain that stand for slides where these are not known: few, so that a slide is seldom cut in two."""
_TILES_A_STAIN = 10
_PART = 64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelledTiles:
    """Tiles of one size with their classes."""

    images: UInt8[Tensor, "tile 3 side side"]
    label: Int64[np.ndarray, " tile"]
    group: Int64[np.ndarray, " tile"]
    """Number of the slide, or of the file."""
    groups: tuple[str, ...] = ()
    """Names of the slides or files, where they matter."""
    digests: tuple[str, ...] = ()
    """Hash of the pixels of each tile as it was read, where it matters; empty for a tile of a single colour."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProbeData:
    """Training and test tiles of one task."""

    train: LabelledTiles
    test: LabelledTiles
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Probed:
    """What an encoder's embeddings tell."""

    encoder: str
    dim: int
    neighbours: Interval
    """Balanced accuracy of k-NN on the test tiles."""
    linear: Interval
    """Balanced accuracy of the logistic regression."""
    means: Interval
    """Balanced accuracy of the nearest class mean."""
    cost: float
    """Cost that the inner folds chose."""
    predicted: Int64[np.ndarray, " tile"]
    """Classes that the linear classifier gives the test tiles."""


def load_probe(train: Path | str, test: Path | str, *, side: int, recipe: TileRecipe | None = None) -> ProbeData:
    """Read labelled tiles, resized to ``side`` pixels; sources are those of :func:`oncoweave.train.tile_sources.open_tiles`.

    Raises:
        DataError: a tile has no label or cannot be read, a class occurs on one side only, or there are not two of them.
    """
    sources = [open_tiles([path]) if recipe is None else open_tiles([path], recipe=recipe) for path in (train, test)]
    try:
        classes = sources[0].index.classes
        for source, path in zip(sources, (train, test), strict=True):
            if not source.index.labelled:
                count = int((source.index.label < 0).sum())
                msg = f"{path}: a probe needs the class of every tile, {count} of {len(source.index)} have none"
                raise DataError(msg)
            found = source.index.classes
            if found != classes or len(classes) < 2:
                msg = f"{path}: wanted the same classes, two or more, to train and to test; got {classes} and {found}"
                raise DataError(msg)
        return ProbeData(train=_load(sources[0], side), test=_load(sources[1], side), classes=classes)
    finally:
        for source in sources:
            source.close()


def probe(
    encode: Callable[[UInt8[Tensor, "tile 3 side side"]], Float[Tensor, "tile dim"]], data: ProbeData, *, name: str, seed: int = 0
) -> Probed:
    """Probe an encoder, given as the function from 8-bit tiles to embeddings."""
    x = embed_tiles(encode, data.train.images)
    z = embed_tiles(encode, data.test.images)
    return probe_embeddings((x, z), data, name=name, seed=seed)


def probe_embeddings(
    embeddings: tuple[Float[np.ndarray, "tile dim"], Float[np.ndarray, "test dim"]],
    data: ProbeData,
    *,
    name: str,
    seed: int = 0,
    replicates: int = 1000,
) -> Probed:
    """Probe embeddings of the training and of the test tiles."""
    x, z = embeddings
    nearest = nearest_neighbours(x, data.train.label, z)
    cost = choose_cost(embedded(x, data.train, seed=seed), seed=seed)
    predicted = linear(x, data.train.label, z, cost=cost)
    means, scaled = standardised(x, z)
    return Probed(
        encoder=name,
        dim=x.shape[1],
        neighbours=_interval(nearest, data.test, seed=seed, replicates=replicates),
        linear=_interval(predicted, data.test, seed=seed, replicates=replicates),
        means=_interval(nearest_mean(means, data.train.label, scaled), data.test, seed=seed, replicates=replicates),
        cost=cost,
        predicted=predicted,
    )


def compare(data: ProbeData, encoders: Sequence[tuple[str, Path | None]], *, device: str = "cpu") -> list[Probed]:
    """Probe encoders from the shelf with weights, each network with random ones too, and colour statistics last.

    ``encoders`` are pairs of a name and a file of weights.
    """
    results: list[Probed] = []
    twins: dict[str, TileEncoder] = {}
    for name, weights in encoders:
        encoder = load_tile_encoder(name, weights=weights, device=device, warn=_quiet)
        results.append(
            probe(encoder.encode, data, name=f"{encoder.name}, {'random weights' if weights is None else weights.name}")
        )
        if weights is not None and (twin := random_twin(encoder)) is not None:
            twins[twin.fingerprint] = twin
    results += [probe(twin.encode, data, name=f"{twin.title}, random weights") for twin in twins.values()]
    results.append(probe(load_tile_encoder("colour", device=device).encode, data, name="colour statistics"))
    return results


def in_training(data: ProbeData) -> Callable[[nn.Module], Mapping[str, float]]:
    """Make a probe for the pretraining loop, which logs ``neighbours`` and ``linear``, balanced accuracies."""

    def measure(encoder: nn.Module) -> dict[str, float]:
        device = next(encoder.parameters()).device
        was_training = encoder.training
        encoder.eval()
        with torch.no_grad():
            found = probe(lambda tiles: encoder(tiles.to(device).float() / 255).float().cpu(), data, name="")
        encoder.train(was_training)
        return {"neighbours": found.neighbours.value, "linear": found.linear.value}

    return measure


def embed_tiles(
    encode: Callable[[UInt8[Tensor, "tile 3 side side"]], Float[Tensor, "tile dim"]], images: UInt8[Tensor, "tile 3 side side"]
) -> Float[np.ndarray, "tile dim"]:
    """Embed tiles in parts."""
    return torch.cat([encode(part) for part in images.split(_PART)]).double().numpy()


def embedded(x: Float[np.ndarray, "tile dim"], tiles: LabelledTiles, *, seed: int = 0) -> Embedded:
    """Join embeddings with the labels and slides of their tiles, and with clusters of stain where slides are not known."""
    known = len(np.unique(tiles.group)) < len(tiles.group)
    stain = None if known else stain_clusters(tiles.images, seed=seed)
    return Embedded(features=x, label=tiles.label, group=tiles.group, stain=stain)


def stain_clusters(images: UInt8[Tensor, "tile 3 side side"], *, seed: int = 0) -> Int64[np.ndarray, " tile"]:
    """Number tiles by clusters of their mean optical density in red, green and blue, ten tiles or more a cluster on average."""
    from sklearn.cluster import KMeans

    density = (
        torch.cat([-torch.log10((part.float() + 1) / 256).mean(dim=(2, 3)) for part in images.split(_PART)]).double().numpy()
    )
    stains, _ = standardised(density, density)
    clusters = min(STAINS, len(stains) // _TILES_A_STAIN, len(np.unique(stains, axis=0)))
    if clusters < 2:
        return np.zeros(len(stains), dtype=np.int64)
    return KMeans(clusters, n_init=4, random_state=seed).fit_predict(stains).astype(np.int64)


def _interval(predicted: np.ndarray, test: LabelledTiles, *, seed: int, replicates: int) -> Interval:
    statistic = mean_recall(test.label, predicted == test.label)
    return bootstrap(statistic, test.group, replicates=replicates, generator=np.random.default_rng(seed))


def _load(source: TileSource, side: int) -> LabelledTiles:
    index, images, digests = source.index, list[Tensor](), list[str]()
    for number in range(len(index)):
        read = source.read(number)
        images.append(resized(read, side))
        digests.append(_digest(read))
    return LabelledTiles(
        images=torch.stack(images), label=index.label, group=index.group, groups=index.groups, digests=tuple(digests)
    )


def _digest(tile: UInt8[np.ndarray, "height width 3"]) -> str:
    if (tile == tile[0, 0]).all():
        return ""
    return sha256(repr(tile.shape).encode() + tile.tobytes()).hexdigest()


def _quiet(text: str) -> None:
    """Random weights are what is asked for here."""
