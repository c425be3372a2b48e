"""Speed and memory of IRENE's transformer against a plain matrix product of as many operations, on one thread.

``python benchmarks/mdt.py [--batch 2] [--rounds 5] [--dropout]``

Forward and backward of the paper's size (12 blocks of 768, 197 + 134 tokens, 2 blocks exchanging) and the product of two square
matrices take turns; times are the process's own clock, the median of rounds. Operations are those of the network's matrix
products alone, three times the forward's: norms, softmaxes, GELU, dropout and everything else count as time only. ``--dropout``
trains with the released rates instead of none.
"""

import argparse
import resource
import statistics
import time

import torch

from oncoweave.nn.bidirectional import MultimodalTransformer
from oncoweave.nn.irene import Config
from oncoweave.nn.tokens import Tokens

IMAGE, CLINICAL = 197, 134


def operations(config: Config, batch: int) -> float:
    """Multiplications and additions of one forward pass: projections, feed-forward, and both products of attention."""
    tokens = IMAGE + CLINICAL
    linear = 2 * tokens * config.width**2 * (4 + 2 * config.ratio)
    attention = 4 * tokens**2 * config.width  # streams apart: each query still meets every key once
    return batch * config.depth * (linear + attention)


def gib() -> float:
    """Most memory that the process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def step(network: MultimodalTransformer, streams: list[Tokens]) -> None:
    network.zero_grad(set_to_none=True)
    network(streams).values.mean(dim=1).sum().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=2048, help="of the square matrices")
    parser.add_argument("--dropout", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = Config() if options.dropout else Config(dropout=0.0, attention_dropout=0.0)
    left, right = torch.randn(2, options.side, options.side)
    product = torch.empty_like(left)
    network = MultimodalTransformer(config.shape, streams=2).train()
    weights = 4 * sum(p.numel() for p in network.parameters()) / 2**30
    before = gib()
    streams = [
        Tokens(values=torch.randn(options.batch, n, config.width), keep=torch.ones(options.batch, n, dtype=torch.bool))
        for n in (IMAGE, CLINICAL)
    ]
    total = 3 * operations(config, options.batch)
    repeats = max(1, round(total / (2 * options.side**3)))
    times: dict[str, list[float]] = {"product": [], "network": []}
    for round_index in range(options.rounds + 1):
        for name, count in (("product", repeats), ("network", 1)):
            started = time.process_time()
            for _ in range(count):
                torch.mm(left, right, out=product) if name == "product" else step(network, streams)
            if round_index:  # the first round warms up
                work = 2 * options.side**3 * count if name == "product" else total
                times[name].append(work / (time.process_time() - started) / 1e9)
    rates = {name: statistics.median(values) for name, values in times.items()}
    ratios = sorted(mine / plain for mine, plain in zip(times["network"], times["product"], strict=True))
    print(f"batch {options.batch}, dropout {config.dropout}/{config.attention_dropout}: {total / 1e9:.0f} GFLOP a step")
    print(f"product {rates['product']:.1f}, network {rates['network']:.1f} GFLOP/s")
    print(f"share {statistics.median(ratios):.3f} (rounds {ratios[0]:.3f} to {ratios[-1]:.3f})")
    print(f"memory: weights {weights:.2f} GiB, peak {gib():.2f} GiB, {before:.2f} before the first step")


if __name__ == "__main__":
    main()
