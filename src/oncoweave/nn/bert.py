"""BERT as released (Devlin et al. 2019), and its weights under the names of Hugging Face's folders.

What the released weights hold to no effect here is left out: biases of keys, which cancel in the softmax, and what stands above
the last block (pooler, heads of pretraining). Everything else has to be there, and nothing besides.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from oncoweave.core.errors import ConfigError
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.vocabulary import CLASS_TOKEN, SEPARATOR, fingerprint, parse_tokenizer, read_tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Everything the network's shape and numerics depend on."""

    vocabulary: int
    width: int
    depth: int
    heads: int
    hidden: int
    """Units of each block's feed-forward layer."""
    positions: int
    """Tokens a window, its two marks included."""
    token_types: int
    eps: float
    dropout: float


class PostNormBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + feed-forward(x)), with exact GELU."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads, self.dropout = size.heads, size.dropout
        self.query = nn.Linear(size.width, size.width)
        self.key = nn.Linear(size.width, size.width, bias=False)
        self.value = nn.Linear(size.width, size.width)
        self.out = nn.Linear(size.width, size.width)
        self.norm_attention = nn.LayerNorm(size.width, eps=size.eps)
        self.up = nn.Linear(size.width, size.hidden)
        self.down = nn.Linear(size.hidden, size.width)
        self.norm_feed = nn.LayerNorm(size.width, eps=size.eps)
        self.drop = Dropout(size.dropout)

    def forward(self, x: Float[Tensor, "text token dim"], *, keep: Bool[Tensor, "text token"]) -> Float[Tensor, "text token dim"]:
        """Mix each token with the kept tokens of its text; every text keeps one."""
        query, key, value = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=keep[:, None, None, :], dropout_p=self.dropout if self.training else 0.0
        )
        x = self.norm_attention(x + self.drop(self.out(mixed.transpose(1, 2).flatten(start_dim=2))))
        return self.norm_feed(x + self.drop(self.down(functional.gelu(self.up(x)))))


class Bert(nn.Module):
    """Embeddings of words, absolute positions and the first token type, then post-norm blocks."""

    INPUT = ("word", "position", "token_type", "norm")

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.word = nn.Embedding(size.vocabulary, size.width)
        self.position = nn.Embedding(size.positions, size.width)
        self.token_type = nn.Embedding(size.token_types, size.width)
        for table in (self.word, self.position, self.token_type):
            nn.init.normal_(table.weight, 0.0, 0.02)
        self.norm = nn.LayerNorm(size.width, eps=size.eps)
        self.drop = Dropout(size.dropout)
        self.blocks = nn.ModuleList(PostNormBlock(size) for _ in range(size.depth))

    def forward(self, ids: Int[Tensor, "text token"], keep: Bool[Tensor, "text token"]) -> Float[Tensor, "text token dim"]:
        """Read texts, marks included; every one keeps a token, and none is longer than there are positions."""
        x = self.word(ids) + self.token_type.weight[0] + self.position.weight[: ids.shape[1]]
        x = self.drop(self.norm(x))
        for block in self.blocks:
            x = block(x, keep=keep)
        return x


_RENAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^bert\.", ""),
        (r"\.gamma$", ".weight"),
        (r"\.beta$", ".bias"),
        (r"^embeddings\.word_embeddings\.", "word."),
        (r"^embeddings\.position_embeddings\.", "position."),
        (r"^embeddings\.token_type_embeddings\.", "token_type."),
        (r"^embeddings\.LayerNorm\.", "norm."),
        (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
        (r"^(blocks\.\d+)\.attention\.self\.", r"\1."),
        (r"^(blocks\.\d+)\.attention\.output\.dense\.", r"\1.out."),
        (r"^(blocks\.\d+)\.attention\.output\.LayerNorm\.", r"\1.norm_attention."),
        (r"^(blocks\.\d+)\.intermediate\.dense\.", r"\1.up."),
        (r"^(blocks\.\d+)\.output\.dense\.", r"\1.down."),
        (r"^(blocks\.\d+)\.output\.LayerNorm\.", r"\1.norm_feed."),
    )
)
_WITHOUT_EFFECT = re.compile(r"^blocks\.\d+\.key\.bias$|^embeddings\.position_ids$|^pooler\.|^cls\.")


def rename(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give Hugging Face's names of a BERT the names of :class:`Bert`, without what has no effect; others stay as they are."""
    renamed = {}
    for key, value in weights.items():
        for pattern, name in _RENAMES:
            key = pattern.sub(name, key)
        if not _WITHOUT_EFFECT.search(key):
            renamed[key] = value
    return renamed


_FIELDS = {
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
    "positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
    "eps": "layer_norm_eps",
}
_NUMERICS = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
}
"""What a folder's ``config.json`` has to say where it says anything, as these are the numerics built here."""


def read_settings(folder: Path) -> dict[str, object]:
    """Read a network's size, and which ids its vocabulary gives the two marks, from a folder; see ``encoders.pretrained_bert``.

    Raises:
        ConfigError: ``config.json`` is missing, is of another kind of network, or speaks of fewer pieces than the vocabulary has.
    """
    file = folder / "config.json"
    if not file.is_file():
        msg = f"{folder}: no config.json beside the weights, which says how large the network is; keep the folder together"
        raise ConfigError(msg)
    told = json.loads(file.read_text(encoding="utf-8"))
    for key, wanted in _NUMERICS.items():
        if told.get(key, wanted) != wanted:
            msg = f"{file}: {key} is {told[key]!r}, wanted {wanted!r}; this encoder reads BERT and networks of its exact shape"
            raise ConfigError(msg)
    lacking = [name for name in _FIELDS.values() if name not in told and name != "layer_norm_eps"]
    if lacking:
        msg = f"{file}: says nothing of {', '.join(lacking)}"
        raise ConfigError(msg)
    state = read_tokenizer(folder)
    pieces = parse_tokenizer(state).get_vocab()
    if max(pieces.values()) >= told["vocab_size"]:
        msg = f"{folder}: the vocabulary goes up to id {max(pieces.values())}, the network has {told['vocab_size']} rows of words"
        raise ConfigError(msg)
    marks = {"first": CLASS_TOKEN, "last": SEPARATOR}
    strange = [piece for piece in marks.values() if piece not in pieces]
    if strange:
        msg = f"{folder}: the vocabulary has no {strange[0]}"
        raise ConfigError(msg)
    settings = {own: told.get(name, 1e-12) for own, name in _FIELDS.items()}
    return settings | {own: pieces[piece] for own, piece in marks.items()} | {"vocabulary_sha256": fingerprint(state)}


def with_marks(
    ids: Int[Tensor, "text token"], keep: Bool[Tensor, "text token"], *, first: int, last: int
) -> tuple[Int[Tensor, "text place"], Bool[Tensor, "text place"]]:
    """Put the class token before each text and the separator right after its last kept token: two places more."""
    ids = functional.pad(torch.where(keep, ids, 0), (1, 1))
    keep = functional.pad(keep, (1, 1))
    place = torch.arange(ids.shape[1], device=ids.device)
    end = torch.where(keep, place, 0).amax(dim=1, keepdim=True) + 1
    ids = torch.where(place == 0, first, torch.where(place == end, last, ids))
    return ids, keep | (place == 0) | (place == end)
