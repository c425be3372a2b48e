"""BERT as released (Devlin et al. 2019), to start from a local folder: BERT, BioBERT, PubMedBERT, MiniLM.

The folder is Hugging Face's: ``config.json``, ``vocab.txt`` or ``tokenizer.json``, and ``model.safetensors`` or
``pytorch_model.bin``. Weights, size and marks come from it (``weights: {notes: FOLDER/model.safetensors}``), and the modality has
to read with its vocabulary (``texts: {notes: {tokenizer: FOLDER}}``). A text longer than the positions allow is read in windows,
each between the two marks. One token a text, the class token's last state (for several windows their mean, weighted by their
number of words); the variant ``tokens`` gives that one and every word in its context, ``windows`` one a window. The pooler above
the class token is not used.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from oncoweave.core.errors import ConfigError
from oncoweave.core.ranges import Count, Number, Positive, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.bert import Bert, Size, read_settings, rename, with_marks
from oncoweave.nn.text import VOCABULARY_SIZE, Readout, read_windows, require_token_ids, token_ids
from oncoweave.nn.tokens import Tokens

KINDS = ("report",)
NEEDS = ("weights",)
ORDER_INVARIANT = False


@ranged
class Config:
    """Size of the network, by default BERT base's, and its marks; with weights of a folder these come from there."""

    vocabulary: Count = 30_522
    """Number of token ids."""
    width: Count = 768
    """Of the tokens."""
    depth: Count = 12
    """Layers."""
    heads: Count = 12
    """Of the attention."""
    hidden: Count = 3072
    """Width inside the feed-forward blocks."""
    positions: Count = 512
    """Tokens that are read at once."""
    token_types: Count = 2
    """Rows of the table of segments, of which the first is used."""
    eps: Positive = 1e-12
    """Added to the variance in each LayerNorm."""
    dropout: Rate = 0.1
    """Share dropped in training."""
    first: Number = 101
    """Id of the class token."""
    last: Number = 102
    """Id of the separator."""
    vocabulary_sha256: str = ""
    """Of the vocabulary that the weights were trained with; empty where the network starts from none."""
    readout: Readout = "document"
    """A token a window, one a text (``document``), or that one and after it every word's."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.width, self.heads)


_TINY = Config(vocabulary=VOCABULARY_SIZE, width=32, depth=2, heads=2, hidden=64, positions=66, dropout=0.0)
VARIANTS: dict[str, Config] = {
    "base": Config(),
    "tokens": Config(readout="words"),
    "windows": Config(readout="windows"),
    "tiny": _TINY,
    "tiny_tokens": replace(_TINY, readout="words"),
}


class PretrainedBert(nn.Module):
    """BERT, and a linear layer to the width of the patient's representation."""

    def __init__(self, config: Config, *, dim_out: int) -> None:
        super().__init__()
        self.config = config
        names = ("vocabulary", "width", "depth", "heads", "hidden", "positions", "token_types", "eps", "dropout")
        self.model = Bert(Size(**{name: getattr(config, name) for name in names}))
        self.out = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, dim_out))

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's text."""
        ids = token_ids(tokens, size=self.config.vocabulary)
        window = self.config.positions - 2
        return read_windows(ids, tokens.keep, self._read, window=window, readout=self.config.readout)

    def _read(self, ids: Int[Tensor, "text token"], keep: Bool[Tensor, "text token"]) -> Float[Tensor, "text place dim_out"]:
        states = self.model(*with_marks(ids, keep, first=self.config.first, last=self.config.last))
        return self.out(states[:, : -1 if self.config.readout == "words" else 1])

    def rename(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the names of a Hugging Face folder the names of this network's part ``model``."""
        return rename(weights)


def settings_beside(weights: Path) -> dict[str, object]:
    """Read the ``Config`` that a file of weights belongs to from the files beside it.

    Raises:
        ConfigError: they are missing or of another kind of network.
    """
    return read_settings(weights.parent)


def check_vocabulary(config: Config, sha256: str) -> None:
    """Refuse a modality that is not cut into the pieces that the weights were trained with.

    Raises:
        ConfigError: says how to name the vocabulary.
    """
    if config.vocabulary_sha256 and config.vocabulary_sha256 != sha256:
        msg = (
            f"the weights were trained with the vocabulary {config.vocabulary_sha256[:12]} of {config.vocabulary} pieces, and the"
            f" modality's texts are read with {sha256[:12] or 'none'}: ids would mean other words; in the study, set"
            " texts: {MODALITY: {tokenizer: FOLDER}} to the folder that the weights come from"
        )
        raise ConfigError(msg)


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; texts may have any length.

    Raises:
        ValueError: tokens are not single ids.
    """
    del num_tokens
    require_token_ids(dim_in)
    return PretrainedBert(config, dim_out=dim_out)
