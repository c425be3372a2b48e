"""The gradient of a whole batch of patients, of whom only a part is in memory at a time."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from oncoweave.nn.tokens import Tokens

Batch = tuple[Mapping[str, Tokens], Tensor]
"""Tokens of each modality, and the values of the target."""


@runtime_checkable
class Objective(Protocol):
    """What training needs of an objective; see the objectives shelf."""

    @property
    def num_outputs(self) -> int:
        """Outputs a network needs."""

    def loss(self, outputs: Tensor, values: Tensor) -> Tensor:
        """Loss of a batch, a scalar."""


@runtime_checkable
class MeanObjective(Objective, Protocol):
    """An objective whose loss is a weighted mean over patients, so that losses of parts add up."""

    def weight(self, values: Tensor) -> Tensor:
        """Sum of the weights of a batch, a scalar: loss times weight is a sum over patients."""


def accumulate(
    network: nn.Module,
    objective: Objective,
    load: Callable[[int], Batch],
    *,
    num_parts: int,
    backward: Callable[[Tensor], None],
) -> Tensor:
    """Add the gradient of the loss of a whole batch to the parameters, part by part; returns the loss.

    The gradient is that of the undivided batch, to rounding, however the parts are cut. Where the loss is a mean over patients
    (``MeanObjective``), each part's loss counts by its weight. Any other loss, such as Cox's, whose risk sets span the batch,
    takes two passes: outputs of all parts without a graph, then the loss on all of them, then each part again with the gradient
    that its outputs received (gradient caching, Gao et al. 2021). Both passes draw the same dropout. The network must treat
    patients one by one, as every encoder and fusion on the shelves does.

    Args:
        network: trained network.
        objective: loss of outputs and target values.
        load: collates part k, on the device of the network; equal parts on each call.
        num_parts: how many parts there are.
        backward: ``loss.backward()``, or what scales it in reduced precision.
    """
    if num_parts == 1:
        tokens, values = load(0)
        loss = objective.loss(network(tokens), values)
        backward(loss)
        return loss.detach()
    if isinstance(objective, MeanObjective):
        return _weighted(network, objective, load, num_parts, backward)
    return _cached(network, objective, load, num_parts, backward)


def _weighted(
    network: nn.Module, objective: MeanObjective, load: Callable[[int], Batch], num_parts: int, backward: Callable[[Tensor], None]
) -> Tensor:
    losses, weights = [], []
    for part in range(num_parts):
        tokens, values = load(part)
        weight = objective.weight(values)
        loss = objective.loss(network(tokens), values) * weight
        backward(loss / num_parts)
        losses.append(loss.detach())
        weights.append(weight)
    total = torch.stack(weights).sum()
    factor = torch.where(total > 0, num_parts / total, 0.0)  # where nothing is known, losses and gradients are zeros
    for parameter in network.parameters():
        if parameter.grad is not None:
            parameter.grad.mul_(factor.to(parameter.grad.dtype))
    return torch.stack(losses).sum() * factor / num_parts


def _cached(
    network: nn.Module, objective: Objective, load: Callable[[int], Batch], num_parts: int, backward: Callable[[Tensor], None]
) -> Tensor:
    states, outputs, targets = [], [], []
    for part in range(num_parts):
        tokens, values = load(part)
        states.append(_random_state(values.device))
        with torch.no_grad():
            outputs.append(network(tokens))
        targets.append(values)
    joined = torch.cat(outputs).requires_grad_()
    loss = objective.loss(joined, torch.cat(targets))
    (gradient,) = torch.autograd.grad(loss, joined)
    for part, received in enumerate(gradient.split([len(o) for o in outputs])):
        tokens, values = load(part)
        _set_random_state(values.device, states[part])
        backward((network(tokens) * received).sum())
    return loss.detach()


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
