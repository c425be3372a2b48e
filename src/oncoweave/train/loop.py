"""The one training loop, on Lightning Fabric: deterministic, early stopping on an inner split only, resumable bit for bit."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from oncoweave.nn.optim import Group, head_groups
from oncoweave.nn.schedules import cosine
from oncoweave.nn.tokens import Tokens
from oncoweave.train.batches import parts_of, thin
from oncoweave.train.gradients import Batch, Objective, accumulate
from oncoweave.train.sealed import seal, unseal

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """How long and how fast to train, and how much fits into memory."""

    epochs: int = 60
    patience: int = 12
    """Epochs without a better inner-validation loss before training stops."""
    batch_size: int = 64
    """Patients a step; a batch that does not fit into memory is taken in parts, with the same gradient."""
    learning_rate: float = 1e-3
    warm_up: int = 0
    """Epochs over which the learning rate rises."""
    schedule: Literal["constant", "cosine"] = "constant"
    """What the learning rate does after the warm-up; ``cosine`` falls to 0 at the last epoch."""
    weight_decay: float = 1e-2
    """Of weights that have two dimensions; biases and norms do not decay."""
    gradient_clip: float = 1.0
    precision: Precision = "32-true"
    tokens: int = 65_536
    """Tiles (or words) in memory at once, padding included: a batch with more goes in parts."""
    max_tokens: int | None = None
    """Tiles (or words) of a patient that a training step sees, drawn anew each time; evaluation sees all."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Source:
    """Where batches come from."""

    load: Callable[[np.ndarray], Batch]
    """Collates some rows."""
    sizes: np.ndarray | None = None
    """``Int[row, modality]``: tokens of every row that ``load`` knows, of the modalities in which patients differ; None where
    none do."""
    ragged: Collection[str] = ()
    """Names of those modalities."""
    varied: Mapping[str, Callable[[Tokens, torch.Generator], Tokens]] = field(default_factory=dict)
    """What training steps do to the tokens of modalities that they vary."""

    def sizes_of(self, rows: np.ndarray, *, limit: int | None = None) -> np.ndarray:
        """Tokens of some rows, of which at most ``limit`` are seen."""
        sizes = np.zeros((len(rows), 1), dtype=int) if self.sizes is None else self.sizes[rows]
        return sizes if limit is None else np.minimum(sizes, limit)


@dataclass(kw_only=True, slots=True)
class Progress:
    """Where training stands; all of it is in the checkpoint."""

    epoch: int = 0
    best_loss: float = float("inf")
    best_epoch: int = -1


def train_network(
    model: nn.Module,
    objective: Objective,
    source: Source,
    *,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    config: LoopConfig,
    seed: int,
    groups: Sequence[Group] | None = None,
    judge: Objective | None = None,
    checkpoint: Path | None = None,
    watch: Callable[[int, float, dict[str, Tensor]], None] | None = None,
) -> dict[str, Tensor]:
    """Train a network and return the weights of the epoch with the lowest loss on the validation rows.

    ``judge`` is the loss on the validation rows, where it is not the one that is trained on. ``groups`` are the parameters to
    train, each with its factor on the learning rate; all, at the full rate, when not given. The caller's random state is left as
    it was. With ``checkpoint``, every epoch is saved there and an existing file is resumed from: an interrupted run ends with the
    same bits as an uninterrupted one. ``watch`` is told each epoch's number, loss on the validation rows, and weights; nothing it
    does has an effect on training.

    Raises:
        FloatingPointError: the loss is not finite.
        DataError: the checkpoint was changed since training wrote it.
    """
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="auto", devices=1, precision=config.precision)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        optimizer = _optimizer(groups or head_groups(model, name="network"), config)
        _, wrapped_optimizer = fabric.setup(model, optimizer)
        wrapped = _InPrecision(model, fabric)
        order = torch.Generator().manual_seed(seed)
        progress, best = Progress(), _snapshot(model)
        if checkpoint is not None and checkpoint.exists():
            best = _resume(checkpoint, fabric, model, optimizer, order, progress)
        while progress.epoch < config.epochs and progress.epoch - progress.best_epoch <= config.patience:
            wrapped.train()
            batches = torch.randperm(len(train_rows), generator=order).split(config.batch_size)
            for number, rows in enumerate(batches):
                _set_rate(optimizer, config, step=progress.epoch * len(batches) + number, a_epoch=len(batches))
                wrapped_optimizer.zero_grad()
                loss = _gradient(wrapped, objective, source, train_rows[rows.numpy()], config=config, order=order, fabric=fabric)
                _finite(loss, "training", progress.epoch)
                fabric.clip_gradients(model, wrapped_optimizer, max_norm=config.gradient_clip)
                wrapped_optimizer.step()
            outputs, values = outputs_of(wrapped, source, validation_rows, tokens=config.tokens, device=fabric.device)
            # all rows in one loss: a Cox loss ranks patients against each other
            current = (judge or objective).loss(outputs, values)
            _finite(current, "validation", progress.epoch)
            if watch is not None:
                watch(progress.epoch, float(current), _snapshot(model))
            if float(current) < progress.best_loss:
                progress.best_loss, progress.best_epoch, best = float(current), progress.epoch, _snapshot(model)
            progress.epoch += 1
            if checkpoint is not None:
                _save(checkpoint, fabric, model, optimizer, order, progress, best)
    return best


class _InPrecision(nn.Module):
    """A network in Fabric's precision, with outputs in float32; Fabric's own wrapper refuses frozen dataclasses as input."""

    def __init__(self, network: nn.Module, fabric: "Fabric") -> None:
        super().__init__()
        self.network, self.fabric = network, fabric

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        with self.fabric.autocast():
            return self.network(tokens).float()


_EVALUATED = 256
"""Patients that are evaluated at once, where their tokens fit into memory."""


def outputs_of(model: nn.Module, source: Source, rows: np.ndarray, *, tokens: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Run a network over some rows without gradients, ``tokens`` at a time; returns ``(outputs, target values)``, on the CPU."""
    model.eval()
    outputs, targets, places = [], [], []
    with torch.no_grad():
        for start in range(0, len(rows), _EVALUATED):
            chosen = rows[start : start + _EVALUATED]
            for part in parts_of(source.sizes_of(chosen), tokens):
                given, values = source.load(chosen[part])
                outputs.append(model(_to(given, device)).float().cpu())
                targets.append(values)
                places.append(start + part)
    order = torch.from_numpy(np.argsort(np.concatenate(places)))
    return torch.cat(outputs)[order], torch.cat(targets)[order]


def _gradient(
    model: nn.Module,
    objective: Objective,
    source: Source,
    rows: np.ndarray,
    *,
    config: LoopConfig,
    order: torch.Generator,
    fabric: "Fabric",
) -> Tensor:
    limit = config.max_tokens
    parts = parts_of(source.sizes_of(rows, limit=limit), config.tokens)
    seed = int(torch.randint(2**31, (1,), generator=order)) if source.varied or limit is not None else 0

    def load(part: int) -> Batch:
        tokens, values = source.load(rows[parts[part]])
        generator = torch.Generator().manual_seed(seed + part)
        tokens = {**tokens, **{name: vary(tokens[name], generator) for name, vary in source.varied.items()}}
        if limit is not None:
            tokens = thin(tokens, source.ragged, limit, generator)
        return _to(tokens, fabric.device), values.to(fabric.device)

    return accumulate(model, objective, load, num_parts=len(parts), backward=fabric.backward)


def _optimizer(groups: Sequence[Group], config: LoopConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [
            {
                "params": list(group.params),
                "lr": config.learning_rate * group.lr_scale,
                "lr_scale": group.lr_scale,
                "weight_decay": config.weight_decay if group.weight_decay else 0.0,
            }
            for group in groups
        ],
        fused=True,
    )


def _set_rate(optimizer: torch.optim.Optimizer, config: LoopConfig, *, step: int, a_epoch: int) -> None:
    rate = learning_rate(config, step=step, a_epoch=a_epoch)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def learning_rate(config: LoopConfig, *, step: int, a_epoch: int) -> float:
    """Learning rate of a step, with ``a_epoch`` steps an epoch; no step of the warm-up or of the cosine has a rate of 0."""
    base, warm_up = config.learning_rate, config.warm_up * a_epoch
    end = 0.0 if config.schedule == "cosine" else base
    # the rise starts one step up from 0, and the fall reaches 0 where the next epoch would have started
    return cosine(step, start=base, end=end, steps=config.epochs * a_epoch, warm_up=warm_up, warm_up_start=base / (warm_up + 1))


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
    fabric: "Fabric",
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
        "scale": fabric.strategy.precision.state_dict(),  # of losses in fp16; empty otherwise
        "order": order.get_state(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(fabric.device) if fabric.device.type == "cuda" else None,
        "progress": {"epoch": progress.epoch, "best_loss": progress.best_loss, "best_epoch": progress.best_epoch},
    }
    seal(path, state)


def _resume(
    path: Path, fabric: "Fabric", model: nn.Module, optimizer: torch.optim.Optimizer, order: torch.Generator, progress: Progress
) -> dict[str, Tensor]:
    state = unseal(path)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    fabric.strategy.precision.load_state_dict(state["scale"])
    order.set_state(state["order"])
    torch.set_rng_state(state["random"])
    if state["random_cuda"] is not None:
        torch.cuda.set_rng_state(state["random_cuda"], fabric.device)
    for name, value in state["progress"].items():
        setattr(progress, name, value)
    return state["best"]
