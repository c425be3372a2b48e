"""What a pretraining run is: encoder, objective, data, optimiser, length. Recipes return one."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from oncoweave.core.errors import ConfigError
from oncoweave.nn.schedules import cosine, scaled_rate
from oncoweave.train.stream import Data


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimisation:
    """AdamW and its schedules: the rate warms up linearly and falls by half a cosine, the weight decay goes by half a cosine."""

    rate: float
    """Learning rate at the end of the warm-up, for a batch of ``reference_batch``."""
    reference_batch: int = 1024
    power: float = 0.5
    """The rate is multiplied by (batch / reference_batch) to this power: 0.5 in DINOv2, 1 in MAE, 0 to take it as it stands."""
    least_rate: float = 1e-6
    warm_up: int = 0
    """Steps."""
    weight_decay: tuple[float, float] = (0.04, 0.4)
    """At the first step and at the last."""
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = 3.0
    """Largest norm of all gradients together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A pretraining run, but for the data's place and the machine's."""

    name: str
    encoder: str
    """``file/variant`` of the encoders shelf."""
    objective: str
    """File of the objectives shelf; its ``PRETRAINS`` says whether tiles or slides are wanted."""
    data: Data
    batch: int
    """Tiles or slides in a step, over all processes and accumulated parts together."""
    steps: int
    optimisation: Optimisation
    encoder_settings: Mapping[str, object] = field(default_factory=dict)
    """Fields of the encoder's ``Config`` that differ from the variant's."""
    objective_settings: Mapping[str, object] = field(default_factory=dict)
    teacher: str = ""
    """``file/variant`` of the encoder that teaches, for objectives that distil; its weights are given with the data."""
    accumulate: int = 1
    """Parts that a batch is worked off in; each has its own loss, and their gradients are averaged."""
    precision: Literal["32-true", "bf16-mixed", "bf16-true"] = "32-true"
    seed: int = 0
    log_every: int = 1
    checkpoint_every: int = 100
    """Steps."""
    watch_every: int = 100
    """Steps between looks at the embeddings, and between probes; 0 for never."""

    def __post_init__(self) -> None:
        """Refuse a run that cannot be."""
        for name in ("batch", "steps", "accumulate", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                msg = f"plan {self.name!r}: {name} wanted 1 or more, got {getattr(self, name)}"
                raise ConfigError(msg)
        if self.batch % self.accumulate:
            msg = f"plan {self.name!r}: a batch of {self.batch} cannot be worked off in {self.accumulate} equal parts"
            raise ConfigError(msg)


def learning_rate(plan: Plan, step: int) -> float:
    """Learning rate of a step, before the scales of the groups."""
    o = plan.optimisation
    peak = scaled_rate(o.rate, batch=plan.batch, reference=o.reference_batch, power=o.power)
    return cosine(step, start=peak, end=o.least_rate, steps=plan.steps, warm_up=o.warm_up)


def weight_decay(plan: Plan, step: int) -> float:
    """Weight decay of a step, for the groups that decay."""
    start, end = plan.optimisation.weight_decay
    return cosine(step, start=start, end=end, steps=plan.steps)


def as_json(plan: Plan) -> dict[str, Any]:
    """Write a plan as JSON holds it, for cards and for comparing."""
    return json.loads(json.dumps(asdict(plan), sort_keys=True))
