"""Squared error on values standardised with training statistics."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError
from oncoweave.nn.losses import check_outputs, mean_of

KINDS = ("regression",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Regress:
    """One output: the value, in training standard deviations from the training mean.

    The loss is the mean over patients whose value is known; a batch of one is a patient like any other.
    """

    mean: float
    scale: float
    num_outputs: int = 1

    def loss(self, outputs: Float[Tensor, "batch output"], values: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Mean squared error in squared training standard deviations; NaN values are unknown."""
        check_outputs(outputs, self.num_outputs)
        known = values.isfinite()
        truth = ((torch.where(known, values, self.mean) - self.mean) / self.scale).to(outputs.dtype)
        return mean_of((outputs[:, 0] - truth) ** 2, known)

    def weight(self, values: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Count the patients whose value is known: loss times weight is a sum over patients."""
        return values.isfinite().sum().float()

    def predict(self, outputs: Float[Tensor, "batch output"]) -> np.ndarray:
        """Values in the endpoint's unit, ``[n, 1]``."""
        check_outputs(outputs, self.num_outputs)
        return self.mean + self.scale * outputs.detach().double().cpu().numpy()


def fit(target: Target) -> Regress:
    """Take mean and standard deviation from the training values.

    Raises:
        DataError: the values do not vary.
    """
    values = target.values[target.known]
    if len(values) < 2 or np.ptp(values) == 0:
        msg = f"endpoint {target.endpoint.name!r}: wanted training values that vary, got {len(values)} of {np.unique(values)[:3]}"
        raise DataError(msg)
    return Regress(mean=float(values.mean()), scale=float(values.std()))
