"""Token ids of text: how many there may be, how a network reads them from Tokens, window by window, and what it gives back."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from oncoweave.nn.pooling import summary
from oncoweave.nn.tokens import Tokens

VOCABULARY_SIZE = 4096
"""Token ids run from 0 to this, exclusive: what the report modality learns at most, and what text encoders have rows for."""

Readout = Literal["windows", "document", "words"]
"""What a text encoder gives back: a token a window, one token a text, or that one and after it every word's."""


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


def read_windows(
    ids: Int[Tensor, "batch token"],
    keep: Bool[Tensor, "batch token"],
    read: Callable[[Tensor, Tensor], Tensor],
    *,
    window: int,
    readout: Readout,
) -> Tokens:
    """Cut texts into windows, read each apart, and give back what is asked for.

    Args:
        ids: token ids.
        keep: which of them are real.
        read: from ids and keep ``[text, window]`` to ``[text, 1 + window, dim]``, the first token of which stands for the window
            (the others may be left out where ``readout`` does not need them).
        window: tokens a window at most.
        readout: ``windows`` gives the first token of each; ``document`` their mean, weighted by the number of words in each;
            ``words`` that mean, and after it the words in the order of the text.
    """
    length = ids.shape[1]
    window = min(window, length)
    num_windows = -(-length // window)
    fill = num_windows * window - length
    ids = functional.pad(ids, (0, fill)).unflatten(1, (num_windows, window))
    held = functional.pad(keep, (0, fill)).unflatten(1, (num_windows, window))
    kept = held.any(dim=-1)
    encoded = read(ids[kept], held[kept])  # windows of padding only are not computed
    if readout != "words":
        encoded = encoded[:, :1]
    shape = (*kept.shape, *encoded.shape[1:])
    values = encoded.new_zeros(shape).masked_scatter(kept[..., None, None], encoded)
    if readout == "windows":
        return Tokens(values=values[:, :, 0], keep=kept)
    document = summary(_document(values[:, :, 0], held), keep.any(dim=1))
    if readout == "document":
        return document
    words = torch.where(keep.unsqueeze(-1), values[:, :, 1:].flatten(1, 2)[:, :length], 0.0)
    return Tokens(values=torch.cat([document.values, words], dim=1), keep=torch.cat([document.keep, keep], dim=1))


def _document(windows: Float[Tensor, "batch window dim"], held: Bool[Tensor, "batch window token"]) -> Float[Tensor, "batch dim"]:
    weight = held.sum(dim=-1).to(windows.dtype)
    share = weight / weight.sum(dim=1, keepdim=True).clamp(min=1.0)
    return (share.unsqueeze(-1) * windows).sum(dim=1)
