"""Discrete-time survival: a logistic hazard a time bin, bins from the training event times (Gensheimer & Narasimhan 2019)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError
from oncoweave.nn.losses import check_outputs, mean_of

KINDS = ("survival",)

_EVENTS_A_BIN = 10
_MAX_BINS = 10
_GRID = np.linspace(-20.0, 20.0, 801)
"""Log-risks between which the one that has a mean survival is interpolated."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class DiscreteSurvival:
    """One output a bin: the log-odds of the event in it, given that it has not happened before, relative to the training rate.

    Bin k reaches from ``edges[k]`` (not included) to ``edges[k + 1]``. An event counts in its bin, events after the last edge in
    the last. A censored patient counts in the bins he survived whole; censored in the first bin, he says nothing. The loss is the
    mean over patients with a known outcome; a batch of one is a patient like any other.
    """

    edges: np.ndarray
    """``[bin + 1]``, from 0 to the last training event, in the endpoint's unit."""
    base: np.ndarray
    """``[bin]``: log-odds of the training hazard, added to the outputs so that zeros mean the average patient."""

    @property
    def num_outputs(self) -> int:
        """Count the bins."""
        return len(self.base)

    def loss(self, outputs: Float[Tensor, "batch bin"], values: Float[Tensor, "batch 2"]) -> Float[Tensor, ""]:
        """Negative log-likelihood; ``values`` holds time and event, patients with either unknown are left out."""
        logits = self._logits(outputs)
        known = values.isfinite().all(dim=1)
        survived, happened = _bins(torch.where(known, values[:, 0], 0.0), values[:, 1] > 0.5, self.edges)
        bins = torch.arange(self.num_outputs, device=outputs.device)
        through = bins[None, :] < survived[:, None]
        within = (bins[None, :] == survived[:, None]) & happened[:, None]
        terms = torch.where(through, functional.softplus(logits), 0.0) + torch.where(within, functional.softplus(-logits), 0.0)
        return mean_of(terms.sum(dim=1), known)

    def weight(self, values: Float[Tensor, "batch 2"]) -> Float[Tensor, ""]:
        """Count the patients whose outcome is known: loss times weight is a sum over patients."""
        return values.isfinite().all(dim=1).sum().float()

    def predict(self, outputs: Float[Tensor, "batch bin"]) -> np.ndarray:
        """Log-risk, ``[n, 1]``: that at which the training hazard gives the same mean survival up to the last edge.

        All bins have a part in it. The cumulative hazard at the last edge, which is on that scale too, is mostly that of the last
        bin, into which few patients live.
        """
        check_outputs(outputs, self.num_outputs)
        own = functional.softplus(self._logits(outputs.double())).detach().cpu().numpy()
        reference = self._restricted_mean(np.exp(_GRID)[:, None] * np.log1p(np.exp(self.base)))
        falling, first = np.unique(-reference, return_index=True)
        return np.interp(-self._restricted_mean(own), falling, _GRID[first])[:, None]

    def _restricted_mean(self, hazard: np.ndarray) -> np.ndarray:
        """Mean time until the event or the last edge, ``[n]``, of hazards ``[n, bin]`` that are constant within each."""
        started = np.exp(-np.hstack([np.zeros((len(hazard), 1)), np.cumsum(hazard, axis=1)[:, :-1]]))
        lived = np.where(hazard > 1e-9, -np.expm1(-hazard) / np.maximum(hazard, 1e-9), 1.0)
        return (started * lived) @ np.diff(self.edges)

    def survival(self, outputs: Float[Tensor, "batch bin"], times: np.ndarray) -> np.ndarray:
        """Predict ``S(t)``, ``[n, t]``; the hazard is constant within a bin, and S is flat after the last edge."""
        hazard = functional.softplus(self._logits(outputs.double())).detach().cpu().numpy()
        cumulative = np.concatenate([np.zeros((len(hazard), 1)), np.cumsum(hazard, axis=1)], axis=1)
        return np.exp(-np.stack([np.interp(times, self.edges, row) for row in cumulative]))

    def _logits(self, outputs: Float[Tensor, "batch bin"]) -> Float[Tensor, "batch bin"]:
        check_outputs(outputs, self.num_outputs)
        return outputs + torch.as_tensor(self.base, dtype=outputs.dtype, device=outputs.device)


def _bins(time: Tensor, event: Tensor, edges: np.ndarray) -> tuple[Tensor, Tensor]:
    """Count the bins each patient survived whole, and say whether the event fell into the next one."""
    right = torch.as_tensor(edges[1:], dtype=time.dtype, device=time.device)
    before = torch.searchsorted(right, time.contiguous())  # right edges below the time
    reached = torch.searchsorted(right, time.contiguous(), right=True)  # right edges at or below it
    return torch.where(event, before.clamp(max=len(right) - 1), reached), event


def fit(target: Target) -> DiscreteSurvival:
    """Take the bin edges from quantiles of the training event times: one bin for ten events, two bins at least, ten at most.

    Raises:
        DataError: fewer than two distinct event times.
    """
    rows = target.known
    time, event = target.time[rows], target.event[rows]
    distinct = np.unique(time[event])
    if len(distinct) < 2:
        msg = (
            f"endpoint {target.endpoint.name!r}: wanted at least two distinct event times to make bins, got {len(distinct)}"
            f" among {int(event.sum())} event(s) of {len(time)} patients; use the objective cox"
        )
        raise DataError(msg)
    num_bins = int(np.clip(event.sum() // _EVENTS_A_BIN, 2, _MAX_BINS))
    inside = np.quantile(time[event], np.arange(1, num_bins) / num_bins, method="lower")
    edges = np.unique(np.concatenate([[0.0], inside, [distinct[-1]]]))
    survived, happened = (t.numpy() for t in _bins(torch.from_numpy(time), torch.from_numpy(event), edges))
    bins = np.arange(len(edges) - 1)
    deaths = ((survived[:, None] == bins) & happened[:, None]).sum(axis=0)
    lived = (survived[:, None] > bins).sum(axis=0)
    return DiscreteSurvival(edges=edges, base=np.log((deaths + 0.5) / (lived + 0.5)))
