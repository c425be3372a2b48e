"""How near the product's IRENE comes to the authors' code: the largest differences, on weights and inputs drawn for both.

    ONCOWEAVE_REFS=REFS python benchmarks/irene_parity.py

REFS holds ``parity/irene``, what the authors' code gave. ``tests/parity/test_irene.py`` asks for each of these to be below 1e-6.
Under a minute on one core. Prints Markdown.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from oncoweave.nn.irene import Config
from oncoweave.nn.irene_weights import from_upstream, to_upstream

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "parity"))
import test_irene as parity


def main() -> None:
    torch.set_num_threads(1)
    shapes = parity.shapes(Config())
    print(f"{len(shapes)} keys, {sum(int(np.prod(s)) for s in shapes.values()):,} numbers, as released\n")
    print("| size | what | largest difference |\n|---|---|---|")
    for size, what, difference in (*released(), *small()):
        print(f"| {size} | {what} | {difference:.1e} |")


@torch.no_grad()
def released() -> list[tuple[str, str, float]]:
    config = replace(Config(), upstream_compatible=True)
    images, clinical, labels = parity.drawn_inputs(config, 2)
    logits = from_upstream(parity.drawn_weights(config), config)[0].eval()(images, clinical)
    loss = float(functional.binary_cross_entropy_with_logits(logits, labels))
    compared = (("logits", parity.worst(logits[0, :4], torch.tensor(parity.LOGITS))), ("loss", abs(loss - parity.LOSS)))
    return [("12 blocks, 768 wide", what, difference) for what, difference in compared]


def small() -> list[tuple[str, str, float]]:
    file = parity.reference("small.pt")
    network = from_upstream(parity.drawn_weights(parity.SMALL), replace(parity.SMALL, upstream_compatible=True))[0].eval()
    images, clinical, labels = parity.drawn_inputs(parity.SMALL, 3)
    states: list[tuple[torch.Tensor, ...]] = []
    for block in network.transformer.blocks:
        block.register_forward_hook(lambda _block, _given, came: states.append(came))
    found = [
        ("logits", parity.worst(network(images, clinical), file["logits"])),
        ("features", parity.worst(network.features(images, clinical), file["features"])),
        ("hidden states, of their size", hidden(states, file["hidden"])),
        ("norms of gradients", gradients(network, images, clinical, labels, file["grads"])),
    ]
    return [("4 blocks, 32 wide", what, difference) for what, difference in found]


def hidden(states: list[tuple[torch.Tensor, ...]], wanted: list[list[torch.Tensor]]) -> float:
    pairs = [pair for came, theirs in zip(states, wanted, strict=False) for pair in zip(came, theirs, strict=True)]
    return max(parity.worst(came, theirs) / float(theirs.abs().max()) for came, theirs in pairs)


def gradients(network: torch.nn.Module, images: torch.Tensor, clinical: dict, labels: torch.Tensor, wanted: dict) -> float:
    functional.binary_cross_entropy_with_logits(network(images, clinical), labels).backward()
    for parameter in network.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    state = to_upstream(network)
    return max(abs(float(v.norm()) - (wanted[k]["norm"] if wanted[k] else 0.0)) for k, v in state.items())


if __name__ == "__main__":
    main()
