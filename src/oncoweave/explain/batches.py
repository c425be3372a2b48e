"""Patients in batches whose whole attention maps are held in memory: how many at once, and of whom tiles are drawn."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from oncoweave.explain.tracing import Trace
from oncoweave.model import operator_of
from oncoweave.nn.tokens import Tokens
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork, count_tokens

MAX_TOKENS = 4096
"""Maps of a batch hold at most as many weights a head as those of one patient with so many tokens, each attending to all."""
TILES = 2048
"""Tiles of a slide bag that attention is followed to in a patient of whom all would be too many; drawn at random."""
_WHOLE = ("mdt", "mmp")
"""Fusions in which tokens of bags attend to each other; in the others they attend, and are attended, by few."""
_FEW = 64
"""Learned tokens and latents, at most."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Plan:
    """Who is followed together, and in how much of a bag."""

    batches: tuple[np.ndarray, ...]
    """Rows of the patients who have anything."""
    drawn: np.ndarray
    """Whether only some of a patient's tiles are looked at."""
    left_out: np.ndarray
    """Whether a patient has too many tokens all the same."""
    thinned: frozenset[str]
    """Modalities whose tiles are drawn."""


def collate(fitted: FittedNetwork, data: Dataset, rows: np.ndarray) -> dict[str, Tokens]:
    """Make a batch of some rows."""
    return {name: p.collate([data.samples[name][i] for i in rows]) for name, p in fitted.preparations.items()}


def plan(fitted: FittedNetwork, data: Dataset, traces: Mapping[str, Trace], at_once: int) -> Plan:
    """Divide patients into batches by what their maps take; none that has nothing is in one.

    Where a bag's tokens attend to few only, thousands of tiles are no hindrance: maps are as long as the bag, but narrow.
    """
    counts = count_tokens(data, fitted.preparations)
    thinned = frozenset(name for name, kind in data.kinds.items() if kind == "slide" and traces[name].kind == "tokens")
    room = MAX_TOKENS**2
    whole = _weights(fitted, traces, counts)
    less = _weights(fitted, traces, {name: np.minimum(c, TILES) if name in thinned else c for name, c in counts.items()})
    drawn, left_out = whole > room, less > room
    weights = np.where(drawn, less, whole)
    batches: list[list[int]] = []
    for row in np.flatnonzero((np.sum(list(counts.values()), axis=0) > 0) & ~left_out):
        together = [*batches[-1], int(row)] if batches else []
        if together and len(together) <= at_once and len(together) * weights[together].max() <= room:
            batches[-1] = together
        else:
            batches.append([int(row)])
    return Plan(batches=tuple(map(np.array, batches)), drawn=drawn & ~left_out, left_out=left_out, thinned=thinned)


def _weights(fitted: FittedNetwork, traces: Mapping[str, Trace], counts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Count the weights of a patient's largest map, ``Int[patient]``."""
    encoded = {name: np.array([traces[name].encoded(int(count)) for count in counts[name]]) for name in counts}
    everything = np.sum(list(encoded.values()), axis=0)
    if operator_of(fitted.config.fusion, fitted.config.settings) in _WHOLE:
        return everything**2
    few = np.sum([_FEW * np.ones_like(everything), *(e for name, e in encoded.items() if _is_table(fitted, name))], axis=0)
    return few * (few + everything)


def _is_table(fitted: FittedNetwork, name: str) -> bool:
    return fitted.preparations[name].num_tokens is not None


def batches(
    fitted: FittedNetwork, data: Dataset, planned: Plan, generator: np.random.Generator
) -> Iterator[tuple[np.ndarray, dict[str, Tokens]]]:
    """Yield rows with their tokens, of bags too large the drawn tiles alone."""
    for rows in planned.batches:
        tokens = collate(fitted, data, rows)
        if planned.drawn[rows].any():
            for name in planned.thinned:
                tokens[name] = _thinned(tokens[name], planned.drawn[rows], generator)
        yield rows, tokens


def _thinned(tokens: Tokens, drawn: np.ndarray, generator: np.random.Generator) -> Tokens:
    """Keep ``TILES`` tokens, in their order, of patients of whom tiles are drawn, and cut the batch to what is kept."""
    chosen = []
    for row, few in enumerate(drawn):
        places = np.flatnonzero(tokens.keep[row].numpy())
        if few and len(places) > TILES:
            places = np.sort(generator.choice(places, size=TILES, replace=False))
        chosen.append(places)
    longest = max(1, *map(len, chosen))
    index = torch.from_numpy(np.stack([np.pad(places, (0, longest - len(places))) for places in chosen])).long()
    keep = torch.from_numpy(np.stack([np.arange(longest) < len(places) for places in chosen]))
    every = torch.arange(len(chosen)).unsqueeze(1)
    positions = None if tokens.positions is None else tokens.positions[every, index]
    return Tokens(values=tokens.values[every, index], keep=keep, positions=positions)
