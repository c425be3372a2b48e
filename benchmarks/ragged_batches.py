"""One training epoch on bags of 100 to 10,000 tiles: parts of like length against padding to the longest of each batch.

    python benchmarks/ragged_batches.py

Gated-attention MIL on 200 bags whose lengths are log-uniform, 256 numbers a tile; both ways in one process, in turn.
"""

import argparse
import platform
import statistics
import time
from dataclasses import replace

import numpy as np
import torch

from oncoweave.core import shelf
from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.model import ModalityShape, Model, ModelConfig
from oncoweave.nn.tokens import pad
from oncoweave.train.loop import LoopConfig, Source, train_network

BAGS, DIM, SHORTEST, LONGEST = 200, 256, 100, 10_000


def bags(rng: np.random.Generator) -> list[torch.Tensor]:
    """Draw the bags; values matter little for the time."""
    lengths = np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST), BAGS)).astype(int)
    return [torch.from_numpy(rng.standard_normal((n, DIM), dtype=np.float32)) for n in lengths]


def target(kind: str, rng: np.random.Generator) -> Target:
    """Draw outcomes that nothing foretells."""
    if kind == "survival":
        endpoint = Endpoint(name="os", kind=kind, columns=("t", "e"), time_unit="months")
        return Target(
            endpoint=endpoint, values=np.stack([np.ceil(rng.exponential(20, BAGS)), rng.random(BAGS) < 0.5], 1).astype(float)
        )
    return Target(endpoint=Endpoint(name="y", kind=kind, columns=("y",)), values=(rng.random(BAGS) < 0.5).astype(float))


def epoch(source: Source, outcome: Target, objective: str, asked: argparse.Namespace) -> float:
    """Time one epoch without its evaluation, which sees two short bags; in seconds."""
    goal = shelf.load("objectives", objective).fit(outcome)
    torch.manual_seed(0)
    shape = ModalityShape(encoder=asked.encoder, dim=DIM, num_tokens=None)
    model = Model(ModelConfig(modalities={"slide": shape}, fusion="mean", num_outputs=goal.num_outputs))
    rows, config = (
        np.arange(BAGS),
        LoopConfig(epochs=1, batch_size=asked.batch_size, tokens=10**9 if source.sizes is None else 65_536),
    )
    start = time.perf_counter()
    train_network(model, goal, source, train_rows=rows, validation_rows=rows[:2], config=config, seed=0)
    return time.perf_counter() - start


def main() -> None:
    """Print the times and their ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--encoder", default="abmil")
    parser.add_argument("--batch-size", type=int, default=32)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    drawn = bags(rng)
    lengths = np.array([len(b) for b in drawn])
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    print(f"{BAGS} bags, {lengths.sum():,} tiles, median {int(np.median(lengths)):,}, longest {lengths.max():,}")
    for kind, objective in (("binary", "classify"), ("survival", "cox")):
        outcome = target(kind, rng)
        values = torch.from_numpy(outcome.values.astype(np.float32))
        parts = Source(
            load=lambda rows, v=values: ({"slide": pad([drawn[i] for i in rows], DIM)}, v[rows]),
            sizes=lengths[:, None],
            ragged=("slide",),
        )
        padded = replace(parts, sizes=None, ragged=())
        times: dict[str, list[float]] = {"parts": [], "padded": []}
        for _ in range(asked.repeats):
            times["parts"].append(epoch(parts, outcome, objective, asked))
            times["padded"].append(epoch(padded, outcome, objective, asked))
        seconds = {name: statistics.median(t) for name, t in times.items()}
        ratio = seconds["padded"] / seconds["parts"]
        print(f"{objective}: parts {seconds['parts']:.2f} s, padded {seconds['padded']:.2f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
