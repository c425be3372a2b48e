"""Binary cross entropy a label; a label that is unknown for a patient is ignored."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError
from oncoweave.nn.losses import check_outputs, mean_of

KINDS = ("multilabel",)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Multilabel:
    """One output a label: its log-odds relative to the training rate.

    The loss is the mean over known labels of all patients; a batch of one is a patient like any other, and a batch without a
    known label gives 0.
    """

    base: np.ndarray
    """``[label]``: log-odds of the training rate, added to the outputs so that zeros mean the average patient."""

    @property
    def num_outputs(self) -> int:
        """Count the labels."""
        return len(self.base)

    def loss(self, outputs: Float[Tensor, "batch output"], values: Float[Tensor, "batch label"]) -> Float[Tensor, ""]:
        """Mean binary cross entropy; ``values`` holds 0, 1 or NaN."""
        logits = self._logits(outputs)
        known = values.isfinite()
        truth = torch.where(known, values, 0.0).to(logits.dtype)
        return mean_of(functional.binary_cross_entropy_with_logits(logits, truth, reduction="none"), known)

    def weight(self, values: Float[Tensor, "batch label"]) -> Float[Tensor, ""]:
        """Count the known labels: loss times weight is a sum over patients."""
        return values.isfinite().sum().float()

    def predict(self, outputs: Float[Tensor, "batch output"]) -> np.ndarray:
        """Probability of each label, ``[n, label]``."""
        return torch.sigmoid(self._logits(outputs.double())).detach().cpu().numpy()

    def _logits(self, outputs: Float[Tensor, "batch output"]) -> Float[Tensor, "batch output"]:
        check_outputs(outputs, self.num_outputs)
        return outputs + torch.as_tensor(self.base, dtype=outputs.dtype, device=outputs.device)


def fit(target: Target) -> Multilabel:
    """Take the rate of each label from the training patients for whom it is known, half a patient added to either side.

    Raises:
        DataError: a label is unknown for everybody.
    """
    known = ~np.isnan(target.values)
    if not known.any(axis=0).all():
        label = target.endpoint.columns[int(np.flatnonzero(~known.any(axis=0))[0])]
        msg = (
            f"endpoint {target.endpoint.name!r}: label {label!r} is unknown for all {len(target)} training patients; leave it out"
        )
        raise DataError(msg)
    positive = np.nansum(target.values, axis=0)
    return Multilabel(base=np.log((positive + 0.5) / (known.sum(axis=0) - positive + 0.5)))
