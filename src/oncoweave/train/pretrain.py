"""The one loop that pretrains encoders, of tiles or of slides, on Lightning Fabric: deterministic and resumable bit for bit.

Everything random in a step is a function of seed and step, and so are its batch, learning rate and weight decay; a run that was
killed goes on from its last checkpoint and ends with the same weights and the same log, byte for byte.

A run folder holds ``checkpoint.safetensors``, ``encoder.safetensors`` (what is published), ``log.jsonl`` (a line a logged step),
``curves.svg``, and at the end ``card.json``.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from oncoweave.core import shelf
from oncoweave.core.encoder_card import PRETRAINING, PRETRAINING_VERSION, sealed
from oncoweave.core.errors import ConfigError, DataError, unknown_name
from oncoweave.core.files import locked, publish, sha256, write_json
from oncoweave.nn.optim import Group
from oncoweave.nn.tokens import Tokens
from oncoweave.train import checkpoint
from oncoweave.train.curves import write_curves
from oncoweave.train.encoder_parts import changed, devices_there
from oncoweave.train.environment import commit, versions
from oncoweave.train.monitor import collapse, watch
from oncoweave.train.plan import Plan, as_json, learning_rate, weight_decay
from oncoweave.train.sharding import is_sharded, sharded
from oncoweave.train.stream import Batch, Stream, seeded

CHECKPOINT, WEIGHTS, LOG, CURVES, CARD = "checkpoint.safetensors", "encoder.safetensors", "log.jsonl", "curves.svg", "card.json"
FAULTS = "faults.json"
_WATCHED = 256
"""Tiles or slides on which embeddings are watched."""

Row = dict[str, float]
Probe = Callable[[nn.Module], Mapping[str, float]]
"""Measures an encoder in training; see ``train/probe.py``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where to train; passed to Fabric as it is."""

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: Any = "auto"
    """Name or object of a Fabric strategy, or ``sharded`` for :mod:`oncoweave.train.sharding`.

    Copies (DDP) need one that allows for parameters without a gradient: ``ddp_find_unused_parameters_true``.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainResult:
    """A finished run."""

    folder: Path
    weights: Path
    """The exported encoder, in safetensors."""
    log: tuple[Row, ...]
    card: dict[str, Any]


def _silent(step: int, steps: int, row: Mapping[str, float]) -> None:
    """Show no progress."""


def pretrain(
    plan: Plan,
    out: Path,
    *,
    data: Sequence[Path],
    teacher: Path | None = None,
    machine: Machine = Machine(),
    probe: Probe | None = None,
    progress: Callable[[int, int, Mapping[str, float]], None] = _silent,
) -> PretrainResult:
    """Pretrain an encoder as planned, on the data given, into the folder ``out``; a run that stands there goes on.

    Args:
        plan: What to train, and how long; recipes make one.
        out: Run folder.
        data: Slides, folders, shards, cohorts or bags, as the plan's data reads them.
        teacher: Weights of the plan's teacher, for objectives that distil.
        machine: Devices and strategy.
        probe: Measures the exported encoder every ``plan.watch_every`` steps; what it returns goes to the log.
        progress: Called after each step with steps done, steps in all, and the last row of the log.

    Raises:
        ConfigError: the folder holds a run of another plan or other data, another process writes there, or the machine is not
            there.
        FloatingPointError: the loss is not finite.
    """
    out = Path(out)
    fabric = _fabric(machine, plan)
    fabric.launch()
    first = fabric.global_rank == 0
    objective = shelf.configure("objectives", plan.objective, plan.objective_settings)
    share = {"batch": plan.batch // plan.accumulate, "rank": fabric.global_rank, "world": fabric.world_size}
    stream = plan.data.open(data, views=objective.views, seed=plan.seed, **share)
    with locked(out) if first else nullcontext(), closing(stream), torch.random.fork_rng():
        loop = Loop(build(plan, stream, teacher=teacher), stream, plan=plan, out=out, fabric=fabric)
        started, begun = time.monotonic(), loop.resume()
        for step in range(begun, plan.steps):
            row = loop.step(step)
            loop.record(step, row, probe)
            progress(step + 1, plan.steps, row)
        if begun < plan.steps or not (out / CARD).is_file():
            loop.finish(seconds=time.monotonic() - started, steps=plan.steps - begun)
        card = json.loads((out / CARD).read_text(encoding="utf-8")) if first else {}
        return PretrainResult(folder=out, weights=out / WEIGHTS, log=tuple(loop.rows), card=card)


def _fabric(machine: Machine, plan: Plan) -> Fabric:
    strategy = sharded(machine.devices * machine.nodes) if machine.strategy == "sharded" else machine.strategy
    try:
        return Fabric(
            accelerator=machine.accelerator,
            devices=machine.devices,
            num_nodes=machine.nodes,
            strategy=strategy,
            precision=plan.precision,
        )
    except (RuntimeError, ValueError, TypeError, ImportError, MisconfigurationException) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        msg = (
            f"cannot train on {machine.devices} x {machine.accelerator!r} (--device, --devices), strategy {machine.strategy!r},"
            f" precision {plan.precision!r}: {reason}; there is {', '.join(devices_there())}"
        )
        raise ConfigError(msg) from error


def build(plan: Plan, stream: Stream, *, teacher: Path | None = None) -> nn.Module:
    """Build the plan's objective around its encoder, with weights that depend on the seed alone.

    Raises:
        ConfigError: the objective is taught and the plan names no teacher, or its weights are missing.
    """
    module = shelf.load("objectives", plan.objective)
    config = shelf.configure("objectives", plan.objective, plan.objective_settings)
    taught = {"teacher": _teacher(plan, teacher)} if getattr(module, "TAUGHT", False) else {}
    return module.build(config, encoder=_encoder(plan, stream), generator=seeded(plan.seed, 1), **taught)


def _encoder(plan: Plan, stream: Stream) -> nn.Module:
    variant = shelf.variant("encoders", plan.encoder)
    known = [f.name for f in fields(variant)]
    for key in plan.encoder_settings:
        if key not in known:
            raise unknown_name(f"setting of encoder {plan.encoder!r}", key, known)
    config: Any = changed(variant, plan.encoder_settings)
    module = shelf.load("encoders", plan.encoder)
    torch.manual_seed(plan.seed)  # inside pretrain's fork: for networks that draw from torch itself
    shape = {} if "tile" in module.KINDS else {"dim_in": cast("Any", stream).dim, "num_tokens": None, "dim_out": config.dim}
    seeds = {"generator": seeded(plan.seed, 0)} if "generator" in module.build.__annotations__ else {}
    return module.build(config, **shape, **seeds)


def _teacher(plan: Plan, weights: Path | None) -> nn.Module:
    if not plan.teacher or weights is None:
        missing = "weights of its teacher (--teacher FILE)" if plan.teacher else "the name of a teacher in its plan"
        msg = f"plan {plan.name!r}: objective {plan.objective!r} is taught by another encoder, wanted {missing}, got none"
        raise ConfigError(msg)
    if shelf.load("objectives", plan.objective).PRETRAINS == "tile":
        from oncoweave.train.tile_encoder import load_tile_encoder

        return load_tile_encoder(plan.teacher, weights=weights).module
    from oncoweave.train.slide_encoder import load_slide_encoder

    return load_slide_encoder(plan.teacher, weights=weights).module


class Loop:
    """One run: objective, optimiser, log and folder."""

    def __init__(self, module: nn.Module, stream: Stream, *, plan: Plan, out: Path, fabric: Fabric) -> None:
        self.plan, self.out, self.fabric, self.stream = plan, out, fabric, stream
        self.module = module
        self.wrapped = fabric.setup_module(module)
        self.groups: list[Group] = cast("Any", module).parameter_groups()  # only now: a sharded network has other parameters
        _refuse_shared(self.groups)
        optimiser = torch.optim.AdamW(
            [{"params": list(g.params), "name": g.name} for g in self.groups], lr=0.0, betas=plan.optimisation.betas, fused=True
        )
        self.optimiser = cast("torch.optim.Optimizer", fabric.setup_optimizers(optimiser))
        if plan.watch_every and is_sharded(module):
            msg = f"plan {plan.name!r}: embeddings cannot be watched while parameters lie in shards; set watch_every to 0"
            raise ConfigError(msg)
        self.rows: list[Row] = []
        self.watched = stream.sample(_WATCHED) if plan.watch_every else None
        self._first = fabric.global_rank == 0

    def resume(self) -> int:
        """Go to where the folder's run stands; returns the next step.

        Raises:
            ConfigError: it is a run of another plan or of other data.
        """
        path = self.out / CHECKPOINT
        if not path.is_file():
            if self._first:
                (self.out / LOG).unlink(missing_ok=True)
            return 0
        head = checkpoint.read_head(path)
        _refuse_other(head, self._head(0), self.out)
        checkpoint.load(path, self.module, self.optimiser)
        self.rows = [row for row in _rows_of(self.out / LOG) if row["step"] < head["step"]]
        if self._first:
            with publish(self.out / LOG) as partial:
                partial.write_text("".join(map(_line, self.rows)), encoding="utf-8")
        return int(head["step"])

    def step(self, step: int) -> Row:
        """Make one step of the optimiser and say what the log should hold of it."""
        plan = self.plan
        rate, decay = learning_rate(plan, step), weight_decay(plan, step)
        for group, settings in zip(self.groups, self.optimiser.param_groups, strict=True):
            settings["lr"] = rate * group.lr_scale
            settings["weight_decay"] = decay if group.weight_decay else 0.0
        self.wrapped.train()
        self.optimiser.zero_grad(set_to_none=True)
        parts, notes = zip(*(self._part(step, part) for part in range(plan.accumulate)), strict=True)
        row = {name: sum(p[name] for p in parts) / plan.accumulate for name in parts[0]}
        row |= {name: sum(n[name] for n in notes) for name in notes[0]}  # counts
        if not math.isfinite(row["loss"]):
            msg = f"the loss is {row['loss']} in step {step}; lower the learning rate, or look for extreme inputs"
            raise FloatingPointError(msg)
        for group in self.groups:
            if step < group.frozen_until:
                for parameter in group.params:
                    parameter.grad = None
        if plan.optimisation.clip is not None:
            norm = self.fabric.clip_gradients(self.wrapped, self.optimiser, max_norm=plan.optimisation.clip)
            row["gradient_norm"] = float(cast("Tensor", norm))
        self.optimiser.step()
        cast("Any", self.module).after_step(step=step, steps=plan.steps)
        return {"step": step, **row, "learning_rate": rate, "weight_decay": decay}

    def record(self, step: int, row: Row, probe: Probe | None) -> None:
        """Log a step, look at the embeddings, and save, where each is due."""
        done, plan = step + 1, self.plan
        last = done == plan.steps
        exported = cast("Any", self.module).exported
        looks = self.watched is not None and (done % plan.watch_every == 0 or last)
        if looks and self.watched is not None:
            measured = watch(exported, self.watched)
            row |= {f"embedding_{name}": value for name, value in measured.items()}
            if reason := collapse(measured):
                row["collapsed"] = 1.0
                self.fabric.print(f"step {step}: collapse: {reason}")
            if probe is not None:
                row |= {f"probe_{name}": value for name, value in probe(exported).items()}
        if step % plan.log_every == 0 or looks or last:
            self.rows.append(row)
            if self._first:
                with (self.out / LOG).open("a", encoding="utf-8") as stream:
                    stream.write(_line(row))
        if done % plan.checkpoint_every == 0 or last:
            self.save(done)

    def save(self, done: int) -> None:
        """Publish weights, curves and, last, the checkpoint."""
        part = cast("Any", self.module).exported
        checkpoint.export(self.out / WEIGHTS, part, write=self._first)
        if self._first:
            write_curves(self.out / CURVES, self.rows, title=f"{self.plan.name}: {done} of {self.plan.steps} steps")
        checkpoint.save(self.out / CHECKPOINT, self.module, self.optimiser, head=self._head(done), write=self._first)

    def finish(self, *, seconds: float, steps: int) -> None:
        """Write the card of a finished run; ``seconds`` are those of the ``steps`` since it was last started."""
        if self._first:
            last = self.rows[-1]
            write_json(self.out / FAULTS, self.stream.faults())
            content = {
                "schema": PRETRAINING,
                "version": PRETRAINING_VERSION,
                "recipe": self.plan.name,
                "encoder": self.plan.encoder,
                "plan": as_json(self.plan),
                "data": self.stream.describe(),
                "last": {k: v if math.isfinite(v) else None for k, v in last.items()},
                "seconds_since_start": round(seconds, 1),
                "steps_since_start": steps,
                "processes": self.fabric.world_size,
                "device": str(self.fabric.device),
                "commit": commit(),
                "versions": versions(),
                "sha256": sha256(self.out / WEIGHTS),
            }
            write_json(self.out / CARD, sealed(content))

    def _part(self, step: int, part: int) -> tuple[Row, Row]:
        """Work off a part of a batch; returns the objective's scalars, and what the stream counted."""
        plan, fabric = self.plan, self.fabric
        number = step * plan.accumulate + part
        batch = self.stream.batch(number)
        # a network that draws from torch itself, as dropout does, is reproducible too
        torch.manual_seed(seeded(plan.seed, 2, number, fabric.global_rank).initial_seed())
        waits = part < plan.accumulate - 1 and fabric.world_size > 1
        with fabric.no_backward_sync(self.wrapped, enabled=True) if waits else nullcontext():
            generator = seeded(plan.seed, 3, number, fabric.global_rank)
            scalars: dict[str, Tensor] = self.wrapped(_to(batch, fabric.device), step=step, steps=plan.steps, generator=generator)
            fabric.backward(scalars["loss"] / plan.accumulate)
        values = torch.stack([s.detach().float().to(fabric.device) for s in scalars.values()])
        values = cast("Tensor", fabric.all_reduce(values, reduce_op="mean")) if fabric.world_size > 1 else values
        return dict(zip(scalars, values.tolist(), strict=True)), self.stream.notes(number)

    def _head(self, done: int) -> dict[str, Any]:
        return {"step": done, "plan": as_json(self.plan), "data": self.stream.fingerprint}


def _rows_of(log: Path) -> list[Row]:
    try:
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]  # the last may have been cut short
    except (OSError, ValueError) as error:
        msg = f"{log}: the log of this run cannot be read ({error}); put it back, or remove {CHECKPOINT} to start anew"
        raise DataError(msg) from error


def _refuse_other(head: Mapping[str, Any], own: Mapping[str, Any], out: Path) -> None:
    if head["data"] != own["data"]:
        msg = f"{out}: holds a run on other data; give the same data to go on, or choose another --out"
        raise ConfigError(msg)
    if head["plan"] != own["plan"]:
        changed = [k for k in own["plan"] if head["plan"].get(k) != own["plan"][k]]
        shown = "; ".join(f"{k}: {head['plan'].get(k)!r} there, {own['plan'][k]!r} here" for k in changed[:3])
        msg = f"{out}: holds a run of another plan ({shown}); choose another --out"
        raise ConfigError(msg)


def _refuse_shared(groups: Sequence[Group]) -> None:
    seen: set[int] = set()
    for group in groups:
        for parameter in group.params:
            if id(parameter) in seen:
                msg = f"a parameter of group {group.name!r} is in another group as well; an objective lists each once"
                raise ConfigError(msg)
            seen.add(id(parameter))


def _to(batch: Batch, device: torch.device) -> Batch:
    return batch.to(device) if isinstance(batch, Tokens) else {name: value.to(device) for name, value in batch.items()}


def _line(row: Mapping[str, float]) -> str:
    return json.dumps(row) + "\n"
