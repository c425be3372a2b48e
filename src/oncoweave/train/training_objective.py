"""What a network is trained on where that is more than its outputs: several views of a patient, and a loss of its own."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from oncoweave.nn.views import Views, unpack
from oncoweave.train.gradients import Objective


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class TrainingObjective:
    """Weighted sum of an objective over views, each on the patients who have it, plus the mean of the network's own penalties.

    It reads what a network with several views returns in training (``nn.views.pack``). It has no ``weight``: the patients of each
    view differ, so that losses of parts do not add up, and a batch in parts is taken in two passes.
    """

    goal: Objective
    view_weights: tuple[float, ...]
    """Of each view in the sum."""
    observe: Callable[[Tensor], None] | None = None
    """Told each view's loss over that of constant outputs, once a step; NaN for a view that nobody in the batch has."""

    @property
    def num_outputs(self) -> int:
        """Outputs of each view."""
        return self.goal.num_outputs

    def loss(self, outputs: Float[Tensor, "batch column"], values: Tensor) -> Float[Tensor, ""]:
        """Loss of a batch of packed views."""
        views = unpack(outputs, weight=self.view_weights, num_outputs=self.num_outputs)
        losses = [self._of_view(views, values, view) for view in range(len(self.view_weights))]
        if self.observe is not None:
            self.observe(torch.stack([self._relative(views, values, view, losses[view]) for view in range(len(losses))]))
        assert views.penalty is not None, "packed views carry a penalty"
        total = views.penalty.mean()
        for weight, loss in zip(self.view_weights, losses, strict=True):
            if loss is not None:
                total = total + weight * loss
        return total

    def _of_view(self, views: Views, values: Tensor, view: int) -> Tensor | None:
        rows = views.keep[:, view]
        return self.goal.loss(views.outputs[rows, view], values[rows]) if bool(rows.any()) else None

    def _relative(self, views: Views, values: Tensor, view: int, loss: Tensor | None) -> Tensor:
        if loss is None:
            return torch.full((), torch.nan, device=values.device)
        rows = views.keep[:, view]
        chance = self.goal.loss(torch.zeros_like(views.outputs[rows, view]), values[rows])
        return (loss.detach() / chance).float()
