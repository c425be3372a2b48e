"""Cross entropy with classes weighted to count alike, undone in the predicted probabilities."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError
from oncoweave.nn.losses import check_outputs, mean_of

KINDS = ("binary", "multiclass")


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Classify:
    """Binary: one output, the log-odds of the second class. Else one output a class.

    Training weights each class by the inverse of its frequency; ``predict`` divides the weights out again (Elkan 2001, theorem
    2), so that probabilities refer to the training frequencies. The loss is the weighted mean over patients whose class is known;
    a batch of one is a patient like any other.
    """

    weights: np.ndarray
    """``[class]``, mean 1 over training patients."""
    num_outputs: int

    def loss(self, outputs: Float[Tensor, "batch output"], values: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Weighted cross entropy; ``values`` holds class indices, NaN where unknown."""
        check_outputs(outputs, self.num_outputs)
        known = values.isfinite()
        index = torch.where(known, values, 0.0).long()
        losses = functional.cross_entropy(self._logits(outputs), index, reduction="none")
        weights = torch.as_tensor(self.weights, dtype=outputs.dtype, device=outputs.device)
        return mean_of(losses, known, weights[index])

    def weight(self, values: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Sum of the class weights over patients whose class is known: loss times weight is a sum over patients."""
        known = values.isfinite()
        weights = torch.as_tensor(self.weights, dtype=torch.float32, device=values.device)
        return (weights[torch.where(known, values, 0.0).long()] * known).sum()

    def predict(self, outputs: Float[Tensor, "batch output"]) -> np.ndarray:
        """Probabilities at the training frequencies: ``[n, 1]`` of the second class if binary, else ``[n, class]``."""
        check_outputs(outputs, self.num_outputs)
        logits = self._logits(outputs.double().detach().cpu()) - torch.from_numpy(np.log(self.weights))
        probabilities = torch.softmax(logits, dim=1).numpy()
        return probabilities[:, 1:] if self.num_outputs == 1 else probabilities

    def _logits(self, outputs: Float[Tensor, "batch output"]) -> Float[Tensor, "batch class"]:
        return torch.cat([torch.zeros_like(outputs), outputs], dim=1) if self.num_outputs == 1 else outputs


def fit(target: Target) -> Classify:
    """Take the class weights from the training frequencies.

    Raises:
        DataError: fewer than two classes occur.
    """
    is_binary = target.endpoint.kind == "binary"
    num_classes = 2 if is_binary else len(target.endpoint.classes)
    counts = np.bincount(target.values[target.known].astype(int), minlength=num_classes)
    if (counts > 0).sum() < 2:
        msg = f"endpoint {target.endpoint.name!r}: wanted training patients of at least two classes, got counts {counts.tolist()}"
        raise DataError(msg)
    weights = counts.sum() / ((counts > 0).sum() * np.maximum(counts, 1))
    return Classify(weights=weights, num_outputs=1 if is_binary else num_classes)
