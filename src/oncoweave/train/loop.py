"""The one training loop, on Lightning Fabric: deterministic, early stopping on an inner split only, resumable bit for bit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from oncoweave.core.files import publish
from oncoweave.nn.tokens import Tokens

Batch = tuple[Mapping[str, Tokens], Tensor]
"""Tokens of each modality, and the values of the target."""


@runtime_checkable
class Objective(Protocol):
    """What the loop needs of an objective; see the objectives shelf."""

    num_outputs: int

    def loss(self, outputs: Tensor, values: Tensor) -> Tensor:
        """Loss of a batch, a scalar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """How long and how fast to train."""

    epochs: int = 60
    patience: int = 12
    """Epochs without a better inner-validation loss before training stops."""
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    gradient_clip: float = 1.0


@dataclass(kw_only=True, slots=True)
class Progress:
    """Where training stands; all of it is in the checkpoint."""

    epoch: int = 0
    best_loss: float = float("inf")
    best_epoch: int = -1


def train_network(
    model: nn.Module,
    objective: Objective,
    load_batch: Callable[[np.ndarray], Batch],
    *,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    config: LoopConfig,
    seed: int,
    checkpoint: Path | None = None,
) -> dict[str, Tensor]:
    """Train a network and return the weights of the epoch with the lowest loss on the validation rows.

    ``load_batch(rows)`` collates some rows. The caller's random state is left as it was. With ``checkpoint``, every epoch is
    saved there and an existing file is resumed from: an interrupted run ends with the same bits as an uninterrupted one.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="auto", devices=1, precision="32-true")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
        order = torch.Generator().manual_seed(seed)
        progress, best = Progress(), _snapshot(model)
        if checkpoint is not None and checkpoint.exists():
            best = _resume(checkpoint, model, optimizer, order, progress)
        while progress.epoch < config.epochs and progress.epoch - progress.best_epoch <= config.patience:
            wrapped.train()
            for rows in torch.randperm(len(train_rows), generator=order).split(config.batch_size):
                tokens, values = load_batch(train_rows[rows.numpy()])
                wrapped_optimizer.zero_grad()
                loss = objective.loss(wrapped(_to(tokens, fabric.device)), values.to(fabric.device))
                _finite(loss, "training", progress.epoch)
                fabric.backward(loss)
                fabric.clip_gradients(wrapped, wrapped_optimizer, max_norm=config.gradient_clip)
                wrapped_optimizer.step()
            current = _validation_loss(wrapped, objective, load_batch, validation_rows, config.batch_size, fabric.device)
            _finite(current, "validation", progress.epoch)
            if float(current) < progress.best_loss:
                progress.best_loss, progress.best_epoch, best = float(current), progress.epoch, _snapshot(model)
            progress.epoch += 1
            if checkpoint is not None:
                _save(checkpoint, model, optimizer, order, progress, best)
    return best


def outputs_of(
    model: nn.Module, load_batch: Callable[[np.ndarray], Batch], rows: np.ndarray, *, batch_size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Run a network over some rows without gradients; returns ``(outputs, target values)``, on the CPU."""
    model.eval()
    outputs, targets = [], []
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            tokens, values = load_batch(rows[start : start + batch_size])
            outputs.append(model(_to(tokens, device)).float().cpu())
            targets.append(values)
    return torch.cat(outputs), torch.cat(targets)


def _validation_loss(
    model: nn.Module,
    objective: Objective,
    load_batch: Callable[[np.ndarray], Batch],
    rows: np.ndarray,
    batch_size: int,
    device: torch.device,
) -> Tensor:
    # all rows in one loss: a Cox loss ranks patients against each other
    outputs, values = outputs_of(model, load_batch, rows, batch_size=batch_size, device=device)
    return objective.loss(outputs, values)


def _to(tokens: Mapping[str, Tokens], device: torch.device) -> dict[str, Tokens]:
    return {name: t.to(device) for name, t in tokens.items()}


def _snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _finite(loss: Tensor, where: str, epoch: int) -> None:
    if not torch.isfinite(loss):
        msg = f"the {where} loss is {loss.item()} in epoch {epoch}; lower the learning rate or look for extreme inputs"
        raise FloatingPointError(msg)


def _save(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    order: torch.Generator,
    progress: Progress,
    best: dict[str, Tensor],
) -> None:
    state = {
        "model": _snapshot(model),
        "best": best,
        "optimizer": optimizer.state_dict(),
        "order": order.get_state(),
        "random": torch.get_rng_state(),
        "progress": {"epoch": progress.epoch, "best_loss": progress.best_loss, "best_epoch": progress.best_epoch},
    }
    with publish(path) as partial:
        torch.save(state, partial)


def _resume(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, order: torch.Generator, progress: Progress
) -> dict[str, Tensor]:
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    order.set_state(state["order"])
    torch.set_rng_state(state["random"])
    for name, value in state["progress"].items():
        setattr(progress, name, value)
    return state["best"]
