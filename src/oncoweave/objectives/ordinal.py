"""Ordered classes by cumulative logits whose order cannot be broken (McCullagh 1980; cut-points may depend on the patient)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError
from oncoweave.nn.losses import check_outputs, log1mexp, mean_of

KINDS = ("ordinal",)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Ordinal:
    """C - 1 outputs for C classes, from which ``logit P(class > k)`` falls strictly with k.

    The first output moves all of them together, the others change the gaps between neighbours; zeros mean the training
    frequencies. The loss is the mean over patients whose class is known; a batch of one is a patient like any other.
    """

    first: float
    """Training ``logit P(class > 0)``."""
    gaps: np.ndarray
    """``[class - 2]``: training differences of neighbouring logits, as the inverse of softplus."""

    @property
    def num_outputs(self) -> int:
        """Count the cut-points."""
        return len(self.gaps) + 1

    def loss(self, outputs: Float[Tensor, "batch cut"], values: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Negative log-likelihood; ``values`` holds class indices, NaN where unknown."""
        known = values.isfinite()
        index = torch.where(known, values, 0.0).long()
        log_probabilities = self._log_probabilities(outputs)
        return mean_of(-log_probabilities.gather(1, index[:, None])[:, 0], known)

    def weight(self, values: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Count the patients whose class is known: loss times weight is a sum over patients."""
        return values.isfinite().sum().float()

    def predict(self, outputs: Float[Tensor, "batch cut"]) -> np.ndarray:
        """Probabilities, ``[n, class]``."""
        return torch.exp(self._log_probabilities(outputs.double())).detach().cpu().numpy()

    def _log_probabilities(self, outputs: Float[Tensor, "batch cut"]) -> Float[Tensor, "batch class"]:
        check_outputs(outputs, self.num_outputs)
        base = torch.as_tensor(self.gaps, dtype=outputs.dtype, device=outputs.device)
        gaps = functional.softplus(base + outputs[:, 1:]) + torch.finfo(outputs.dtype).tiny
        top = outputs[:, :1] + self.first
        above = torch.cat([top, top - gaps.cumsum(dim=1)], dim=1)
        lowest = functional.logsigmoid(-above[:, :1])
        highest = functional.logsigmoid(above[:, -1:])
        # P(k-1 < class <= k) = s(u) - s(v) = s(u) s(-v) (1 - exp(-(u - v))), whose logarithm never cancels
        middle = functional.logsigmoid(above[:, :-1]) + functional.logsigmoid(-above[:, 1:]) + log1mexp(gaps)
        return torch.cat([lowest, middle, highest], dim=1)


def fit(target: Target) -> Ordinal:
    """Take the cut-points from the training frequencies, half a patient added to each class.

    Raises:
        DataError: fewer than two classes occur.
    """
    counts = np.bincount(target.values[target.known].astype(int), minlength=len(target.endpoint.classes))
    if (counts > 0).sum() < 2:
        msg = f"endpoint {target.endpoint.name!r}: wanted training patients of at least two classes, got counts {counts.tolist()}"
        raise DataError(msg)
    smoothed = counts + 0.5
    above = smoothed[::-1].cumsum()[::-1][1:]
    logits = np.log(above / (smoothed.sum() - above))
    return Ordinal(first=float(logits[0]), gaps=np.log(np.expm1(-np.diff(logits))))
