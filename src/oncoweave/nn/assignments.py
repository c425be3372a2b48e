"""A teacher's logits to targets that use all prototypes, and the student's cross entropy with them (SwAV, DINO, DINOv2)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.nn.ranks import max_over_ranks, sum_over_ranks


@torch.no_grad()
def sinkhorn(
    logits: Float[Tensor, "token prototype"], *, temperature: float, iterations: int
) -> Float[Tensor, "token prototype"]:
    """Share tokens out so that prototypes are used alike (Sinkhorn-Knopp; Caron et al. 2020, eq. 3 to 5; DINOv2 uses 3 rounds).

    Each round scales ``exp(logits / temperature)`` to equal totals a prototype over the tokens of all processes, then to totals
    of 1 a token, so that rows are distributions whatever the number of rounds. Only the two scales are updated; a prototype's
    largest logit is taken out first, which its scale cancels.
    """
    scaled = logits.float() / temperature
    highest = scaled.amax(dim=0) if len(scaled) else scaled.new_full(scaled.shape[1:], -torch.inf)
    kernel = torch.exp(scaled.sub_(max_over_ranks(highest)))
    per_token = kernel.new_ones(len(kernel))
    per_prototype = kernel.new_ones(kernel.shape[1])
    with torch.autocast(logits.device.type, enabled=False):  # half precision would lose small shares
        for _ in range(iterations):
            per_prototype = 1.0 / sum_over_ranks(per_token @ kernel)
            per_prototype = per_prototype / per_prototype.sum()  # the scales' product is fixed, each by itself would drift
            per_token = 1.0 / (kernel @ per_prototype)
    return kernel.mul_(per_prototype).mul_(per_token.unsqueeze(1))


class Centre(nn.Module):
    """Moving mean of a teacher's logits, taken from them before the softmax (DINO, eq. 4): no prototype wins everywhere.

    The mean of a batch counts from the next batch on.
    """

    mean: Tensor

    def __init__(self, prototypes: int, *, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(prototypes))

    @torch.no_grad()
    def forward(self, logits: Float[Tensor, "token prototype"], *, temperature: float) -> Float[Tensor, "token prototype"]:
        """Give the targets, and in training let the mean follow; processes may have different numbers of tokens."""
        targets = torch.softmax((logits.float() - self.mean).div_(temperature), dim=1)
        if self.training:
            total = sum_over_ranks(torch.cat([logits.float().sum(dim=0), self.mean.new_tensor([len(logits)])]))
            if total[-1] > 0:
                self.mean.lerp_(total[:-1] / total[-1], 1 - self.momentum)
        return targets


def cross_entropy(
    logits: Float[Tensor, "*view token prototype"], targets: Float[Tensor, "token prototype"], *, temperature: float
) -> Float[Tensor, "*view token"]:
    """Cross entropy of each token's ``softmax(logits / temperature)`` with targets that add up to any number.

    The sum of several targets gives the sum of the entropies at the price of one. Targets get no gradient.
    """
    with torch.autocast(logits.device.type, enabled=False):
        return _CrossEntropy.apply(logits, targets, temperature)


class _CrossEntropy(torch.autograd.Function):
    """With tens of thousands of prototypes the cost is memory traffic: three passes fewer, and one array kept, not three."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, temperature: float) -> Tensor:  # noqa: ANN401
        precise = logits.float()
        top = precise.amax(dim=-1, keepdim=True) / temperature
        exponents = torch.add(-top, precise, alpha=1 / temperature).exp_()
        sums, weights = exponents.sum(dim=-1), targets.sum(dim=-1)
        matched = torch.einsum("...tp,tp->...t", precise, targets)
        ctx.save_for_backward(exponents, sums, targets, weights)
        ctx.temperature, ctx.dtype = temperature, logits.dtype
        return weights * (top.squeeze(-1) + sums.log()) - matched / temperature

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        exponents, sums, targets, weights = ctx.saved_tensors
        scale = gradients[0] / ctx.temperature
        gradient = exponents * (scale * weights / sums).unsqueeze(-1)
        return gradient.addcmul_(targets, scale.unsqueeze(-1), value=-1).to(ctx.dtype), None, None


def entropy(probabilities: Float[Tensor, "token prototype"]) -> Float[Tensor, " token"]:
    """Entropy of each row, in nats."""
    return torch.special.entr(probabilities).sum(dim=1)
