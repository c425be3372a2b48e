"""Gradual fusion along a tree, two branches at a time: what is alike first, such as genes, then slides, then clinical data.

A node gives W2 gelu(W1 [a; b]) + g * a + (1 - g) * b with g = sigmoid(U [a; b]); where one branch is absent the other passes
unchanged. The tree is given, such as ``((rna, cnv), slide), clinical``; or follows the order of the modalities (``chain``); or
joins the most alike first (``correlation``): average linkage of the debiased linear similarity of the training patients' columns
(CKA, Kornblith et al. 2019, eq. 3, with the U-centred estimator of Szekely and Rizzo 2014).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.core.errors import ConfigError, unknown_name
from oncoweave.nn.projections import Projections
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "vectors"


class Fork(NamedTuple):
    """Two branches, each a modality or a fork."""

    first: "str | Fork"
    second: "str | Fork"


Tree = str | Fork

_FEWEST = 10
"""Patients who have both of two modalities, below which these count as unlike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """In which order the modalities are joined."""

    tree: str = "chain"
    """``chain``, ``correlation``, or brackets around names."""


class Node(nn.Module):
    """Joins two branches."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * dim, dim)
        self.mix = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, a: Float[Tensor, "batch dim"], b: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Join."""
        both = torch.cat([a, b], dim=1)
        gate = torch.sigmoid(self.gate(both))
        return self.mix(both) + gate * a + (1 - gate) * b


class Hierarchical(nn.Module):
    """One projection a modality, one node a pair of branches."""

    def __init__(self, tree: Tree, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.projections = Projections(dims, dim_out)
        self.place = {name: place for place, name in enumerate(dims)}
        self.tree = tree
        self.nodes = nn.ModuleList(Node(dim_out) for _ in range(len(dims) - 1))

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        vectors, present = self.projections(tokens)
        nodes = iter(self.nodes)

        def join(tree: Tree) -> tuple[Float[Tensor, "batch dim"], Bool[Tensor, "batch 1"]]:
            if isinstance(tree, str):
                return vectors[:, self.place[tree]], present[:, self.place[tree], None]
            (a, has_a), (b, has_b) = join(tree[0]), join(tree[1])
            return torch.where(has_a & has_b, next(nodes)(a, b), torch.where(has_a, a, b)), has_a | has_b

        return join(self.tree)[0]


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``.

    Raises:
        ConfigError: the tree cannot be read, names a modality twice or not at all, or is still to be found from training rows.
    """
    if config.tree == "correlation":
        msg = "hierarchical: the tree 'correlation' is found from training rows (settle); a network is built from the tree found"
        raise ConfigError(msg)
    return Hierarchical(_tree(config, tuple(dims)), dims=dims, dim_out=dim_out)


def check(config: Config, modalities: Collection[str]) -> None:
    """Refuse a tree that does not name every modality once; raises ConfigError, or UnknownNameError with the nearest."""
    if config.tree != "correlation":
        _tree(config, tuple(modalities))


def narrow(settings: Mapping[str, float | int | str | bool], modalities: Collection[str]) -> dict[str, float | int | str | bool]:
    """Cut a tree down to some of its modalities, in settings for a model of these alone."""
    tree = settings.get("tree", "chain")
    if tree in ("chain", "correlation"):
        return dict(settings)
    cut = _cut(parse(str(tree)), frozenset(modalities))
    return {**settings, "tree": "chain" if cut is None else write(cut)}


def settle(config: Config, blocks: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Find what a configuration leaves to the training rows: the tree, from blocks ``[n, p]`` with rows all NaN where absent."""
    return {"tree": write(correlation_tree(blocks)) if config.tree == "correlation" else config.tree}


def parse(text: str) -> Tree:
    """Read a tree such as ``((rna, cnv), slide), clinical``; three names in one bracket are joined from the left.

    Raises:
        ConfigError: a bracket or a name is missing; the message shows where.
    """
    tree, end = _branches(text, 0)
    if end < len(text):
        raise _unreadable(text, end, "a bracket closes that was never opened")
    return tree


def write(tree: Tree) -> str:
    """Write a tree as :func:`parse` reads it."""
    return tree if isinstance(tree, str) else f"({write(tree[0])}, {write(tree[1])})"


def correlation_tree(blocks: Mapping[str, np.ndarray]) -> Tree:
    """Join the most alike modalities first, by the columns ``[n, p]`` of training patients; rows all NaN are absent."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    trees: list[Tree] = list(blocks)
    if len(trees) == 1:
        return trees[0]
    distance = 1 - np.array([[similarity(a, b) for b in blocks.values()] for a in blocks.values()])
    np.fill_diagonal(distance, 0.0)
    for first, second, *_ in linkage(squareform(distance, checks=False), method="average"):
        trees.append(Fork(trees[int(first)], trees[int(second)]))
    return trees[-1]


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Debiased linear similarity of two blocks, on patients who have both: 1 if equal up to rotation, about 0 if unrelated."""
    rows = ~np.isnan(a).any(axis=1) & ~np.isnan(b).any(axis=1)
    if rows.sum() < _FEWEST:
        return 0.0
    first, second = (_centred(x[rows] @ x[rows].T) for x in (a - a[rows].mean(axis=0), b - b[rows].mean(axis=0)))
    length = np.sqrt(max((first * first).sum(), 0.0) * max((second * second).sum(), 0.0))
    return float((first * second).sum() / length) if length > 0 else 0.0


def _centred(kernel: np.ndarray) -> np.ndarray:
    """U-centre a kernel ``[n, n]``: off the diagonal its rows sum to zero, and the diagonal is zero."""
    n = len(kernel)
    kernel = kernel - np.diag(np.diag(kernel))
    rows = kernel.sum(axis=1) / (n - 2)
    centred = kernel - rows[:, None] - rows[None, :] + kernel.sum() / ((n - 1) * (n - 2))
    return centred - np.diag(np.diag(centred))


def _tree(config: Config, modalities: tuple[str, ...]) -> Tree:
    if config.tree == "chain":
        tree: Tree = modalities[0]
        for name in modalities[1:]:
            tree = Fork(tree, name)
        return tree
    tree = parse(config.tree)
    leaves = _leaves(tree)
    for name in leaves:
        if name not in modalities:
            raise unknown_name(f"modality (in the tree {config.tree!r})", name, modalities)
        if leaves.count(name) > 1:
            msg = f"tree {config.tree!r}: {name!r} stands there {leaves.count(name)} times; wanted every modality once"
            raise ConfigError(msg)
    lacking = [name for name in modalities if name not in leaves]
    if lacking:
        msg = f"tree {config.tree!r}: {lacking[0]!r} is not in it; wanted every modality once ({', '.join(modalities)})"
        raise ConfigError(msg)
    return tree


def _leaves(tree: Tree) -> list[str]:
    return [tree] if isinstance(tree, str) else [*_leaves(tree[0]), *_leaves(tree[1])]


def _cut(tree: Tree, kept: frozenset[str]) -> Tree | None:
    if isinstance(tree, str):
        return tree if tree in kept else None
    a, b = _cut(tree[0], kept), _cut(tree[1], kept)
    return Fork(a, b) if a is not None and b is not None else a if b is None else b


def _branches(text: str, start: int) -> tuple[Tree, int]:
    """Read branches up to a closing bracket or the end, joined from the left; returns where that is."""
    tree, place = _branch(text, start)
    while place < len(text) and text[place] == ",":
        branch, place = _branch(text, place + 1)
        tree = Fork(tree, branch)
    return tree, place


def _branch(text: str, start: int) -> tuple[Tree, int]:
    place = start + len(text[start:]) - len(text[start:].lstrip())
    if text[place : place + 1] == "(":
        tree, end = _branches(text, place + 1)
        if end >= len(text):
            raise _unreadable(text, place, "a bracket opens that never closes")
        end += 1
        rest = text[end:]
        end += len(rest) - len(rest.lstrip())
        if end < len(text) and text[end] not in ",)":
            raise _unreadable(text, end, "wanted a comma after a bracket")
        return tree, end
    end = next((i for i in range(place, len(text)) if text[i] in "(),"), len(text))
    name = text[place:end].strip()
    if not name:
        raise _unreadable(text, place, "wanted a modality")
    if end < len(text) and text[end] == "(":
        raise _unreadable(text, end, "wanted a comma before a bracket")
    return name, end


def _unreadable(text: str, place: int, why: str) -> ConfigError:
    return ConfigError(f"tree {text!r}, at letter {place + 1}: {why}; wanted names in brackets, as ((rna, cnv), slide), clinical")
