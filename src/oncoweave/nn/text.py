"""Token ids of text: how many there may be, and how a network reads them from Tokens."""

import torch
from jaxtyping import Int
from torch import Tensor

from oncoweave.nn.tokens import Tokens

VOCABULARY_SIZE = 4096
"""Token ids run from 0 to this, exclusive: what the report modality learns at most, and what text encoders have rows for."""


def require_token_ids(dim_in: int) -> None:
    """Refuse to build a text encoder for tokens that are not single ids.

    Raises:
        ValueError: names the width.
    """
    if dim_in != 1:
        msg = f"token ids have width 1, got tokens of width {dim_in}"
        raise ValueError(msg)


def token_ids(tokens: Tokens, *, size: int) -> Int[Tensor, "batch token"]:
    """Read token ids, held as floats of width 1; 0 where nothing is kept.

    Raises:
        ValueError: the width is not 1, or a kept value is not a whole number from 0 to ``size``, exclusive.
    """
    if tokens.values.shape[-1] != 1:
        msg = f"token ids have width 1, got tokens of width {tokens.values.shape[-1]}; is this another modality?"
        raise ValueError(msg)
    values = tokens.clean.squeeze(-1)
    ids = values.long()
    wrong = (ids != values) | (ids < 0) | (ids >= size)
    if bool(wrong.any()):
        msg = f"token ids are whole numbers from 0 to {size - 1}, got {values[wrong][0].item()}; was another vocabulary used?"
        raise ValueError(msg)
    return torch.where(tokens.keep, ids, 0)
