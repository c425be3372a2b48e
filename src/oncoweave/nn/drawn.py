"""Networks with random weights that come from a generator and nothing else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

_Network = TypeVar("_Network", bound=nn.Module)


def drawn(make: Callable[[], _Network], *, generator: torch.Generator, deviation: float = 0.02) -> _Network:
    """Make a network and draw its weights anew: normal and cut at two deviations, biases zero; norms and scales as made.

    The global generator is left as it was, though layers draw start values from it.
    """
    with torch.random.fork_rng(devices=[]):
        network = make()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=deviation, a=-2 * deviation, b=2 * deviation, generator=generator)
    return network


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Let layers that draw from the global generator, such as dropout, draw from a seed of ``generator``; put it back after."""
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
