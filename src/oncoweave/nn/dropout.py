"""Dropout whose lots are drawn four to a random number: torch's own takes a sixth of a small network's training on a CPU."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

_LOTS = 2**16
"""A lot is one of so many; a rate is met to a part in twice as many."""


class Dropout(nn.Dropout):
    """Set numbers to zero at a rate while training, and scale the others so that the mean stays; torch's own off the CPU."""

    def forward(self, input: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Drop; lots come from torch's global state."""
        limit = round(self.p * _LOTS)
        if not self.training or input.device.type != "cpu" or limit in (0, _LOTS):
            return super().forward(input)
        lots = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = lots[: input.numel()].view(input.shape) >= limit - _LOTS // 2
        return input * kept.to(input.dtype).mul_(_LOTS / (_LOTS - limit))
