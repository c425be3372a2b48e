"""Learning rate, weight decay, momentum and temperature as pure functions of the step, so that a resumed run needs no state."""

from math import cos, pi


def linear(step: int, *, start: float, end: float, steps: int) -> float:
    """Go from ``start`` at step 0 to ``end`` at ``steps``, and stay there; ``steps`` 0 gives ``end`` at once."""
    share = min(step / steps, 1.0) if steps else 1.0
    return start + (end - start) * share


def cosine(step: int, *, start: float, end: float, steps: int, warm_up: int = 0, warm_up_start: float = 0.0) -> float:
    """Rise linearly to ``start`` at step ``warm_up``, then go by half a cosine to ``end`` at ``steps``, and stay there.

    The warm-up comes from ``warm_up_start``, which step 0 has. One as long as the run, or longer, ends at ``start``.
    """
    if step < warm_up:
        return linear(step, start=warm_up_start, end=start, steps=warm_up)
    if step >= steps:
        return start if warm_up >= steps else end
    return end + 0.5 * (start - end) * (1.0 + cos(pi * (step - warm_up) / (steps - warm_up)))


def scaled_rate(base: float, *, batch: int, reference: int, power: float) -> float:
    """Scale a learning rate given for ``reference`` tiles a step: power 0.5 in DINOv2 (reference 1024), 1 in MAE (256)."""
    return base * (batch / reference) ** power
