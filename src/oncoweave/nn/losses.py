"""Losses of survival and ordered outcomes in the log domain, and what every objective asks of its outputs."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Ties = Literal["efron", "breslow"]


def check_outputs(outputs: Float[Tensor, "batch output"], width: int) -> None:
    """Refuse outputs of another width, which would broadcast, and NaN, which a ranking loss would hide.

    Raises:
        ValueError: naming the width, or the first row with a NaN.
    """
    if outputs.shape[1] != width:
        msg = f"wanted outputs of width {width}, got {tuple(outputs.shape)}"
        raise ValueError(msg)
    bad = outputs.isnan().any(dim=1)
    if bad.any():
        row = int(bad.nonzero()[0])
        msg = f"outputs are NaN in row {row} of the batch ({int(bad.sum())} such row(s)); lower the learning rate"
        raise ValueError(msg)


def mean_of(
    losses: Float[Tensor, " *shape"], known: Bool[Tensor, " *shape"], weight: Float[Tensor, " *shape"] | None = None
) -> Float[Tensor, ""]:
    """Average the known losses; 0 with a gradient of zeros where nothing is known, so that the batch stays in the graph."""
    share = known.to(losses.dtype) if weight is None else torch.where(known, weight.to(losses.dtype), 0.0)
    total = torch.where(known, losses, 0.0) * share
    return total.sum() / share.sum().clamp(min=torch.finfo(losses.dtype).tiny)


def log1mexp(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute log(1 - exp(-x)) for x > 0 (Maechler 2012): exact to rounding at both ends."""
    small = x < 0.693
    near = torch.log(-torch.expm1(-torch.where(small, x, 0.5)))
    far = torch.log1p(-torch.exp(-torch.where(small, 1.0, x)))
    return torch.where(small, near, far)


def cox_loss(
    log_risk: Float[Tensor, " batch"], time: Float[Tensor, " batch"], event: Bool[Tensor, " batch"], *, ties: Ties
) -> Float[Tensor, ""]:
    """Mean over events of the negative log partial likelihood; 0 with a gradient of zeros where there is no event.

    Censored patients are at risk at the time of their censoring. Tied events share their denominator after Efron (1977) or
    Breslow (1974). Everything stays in the log domain: exponents are never summed outside a log-sum-exp.
    """
    if not event.any():
        return (log_risk * 0.0).sum()
    precise = log_risk.float() if log_risk.dtype in (torch.float16, torch.bfloat16) else log_risk
    by_event = torch.argsort(event.long(), stable=True)
    order = by_event[torch.argsort(time[by_event], descending=True, stable=True)]  # latest first, events after the censored
    eta, happened, when = precise[order], event[order], time[order]
    eta = eta - eta.max().detach()
    position = happened.nonzero().squeeze(1)
    _, group, size = torch.unique_consecutive(when[position], return_inverse=True, return_counts=True)
    first = size.cumsum(0) - size
    nobody = torch.full((1,), -torch.inf, dtype=eta.dtype, device=eta.device)
    before = torch.cat([nobody, torch.logcumsumexp(eta, dim=0)])[position[first]]
    tied = _group_logsumexp(eta[position], group, len(size))
    rank = torch.arange(len(position), device=eta.device) - first[group]
    share = torch.zeros_like(eta[position]) if ties == "breslow" else torch.log1p(-rank.to(eta.dtype) / size[group])
    # logaddexp of -inf and a finite number has a NaN gradient on some builds: the first group is taken without it
    denominator = share + tied[group]
    has_before = torch.isfinite(before)[group]
    denominator = torch.where(has_before, torch.logaddexp(torch.where(has_before, before[group], 0.0), denominator), denominator)
    return ((denominator - eta[position]).sum() / len(position)).to(log_risk.dtype)


def _group_logsumexp(values: Float[Tensor, " event"], group: Int[Tensor, " event"], num: int) -> Float[Tensor, " group"]:
    highest = torch.full((num,), -torch.inf, dtype=values.dtype, device=values.device)
    highest = highest.scatter_reduce(0, group, values.detach(), reduce="amax")
    total = torch.zeros(num, dtype=values.dtype, device=values.device)
    return highest + total.scatter_add(0, group, torch.exp(values - highest[group])).log()
