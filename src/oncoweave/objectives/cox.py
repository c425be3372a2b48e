"""Cox partial likelihood with Efron's handling of ties, in the log domain (Cox 1972; Efron 1977, eq. 5)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from oncoweave.core.endpoint import Target
from oncoweave.nn.losses import Ties, check_outputs, cox_loss

KINDS = ("survival",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cox:
    """One output a patient: the log-risk, high where the event comes early.

    The loss is the mean over the batch's events; risk sets are taken within the batch, so batches should be large. A batch of
    one, and a batch without events, give 0. It is no sum over patients, so it has no ``weight``: where a batch does not fit into
    memory, ``train.gradients`` still takes its risk sets over the whole batch.
    """

    ties: Ties = "efron"
    num_outputs: int = 1

    def loss(self, outputs: Float[Tensor, "batch output"], values: Float[Tensor, "batch 2"]) -> Float[Tensor, ""]:
        """Negative log partial likelihood; ``values`` holds time and event, patients with either unknown are left out."""
        check_outputs(outputs, self.num_outputs)
        known = values.isfinite().all(dim=1)
        return cox_loss(outputs[known, 0], values[known, 0], values[known, 1] > 0.5, ties=self.ties)

    def predict(self, outputs: Float[Tensor, "batch output"]) -> np.ndarray:
        """Log-risk, ``[n, 1]``."""
        check_outputs(outputs, self.num_outputs)
        return outputs.detach().to(torch.float64).cpu().numpy()


def fit(target: Target) -> Cox:
    """Nothing is fitted: the baseline hazard is estimated after training."""
    return Cox()
