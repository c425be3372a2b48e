"""Write tests/golden/bert.json: what the library transformers makes of drawn weights and texts.

Run ``python tests/reference/make_bert.py`` where ``transformers`` is installed; tests do without it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "golden" / "bert.json"
CONFIG = {
    "model_type": "bert",
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
LENGTHS = (14, 9, 1)
"""Words of each text, without the two marks."""
FIRST, LAST = 2, 3


def texts() -> tuple[Tensor, Tensor]:
    """Draw ids ``[text, word]`` of words, padded with zeros, and which are real."""
    ids = np.random.default_rng(5).integers(4, CONFIG["vocab_size"], size=(len(LENGTHS), max(LENGTHS)))
    keep = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    return torch.from_numpy(np.where(keep, ids, 0)), torch.from_numpy(keep)


def shapes() -> dict[str, tuple[int, ...]]:
    """Name every tensor of a Hugging Face BERT, with its shape."""
    dim, hidden = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    rows = {"word": CONFIG["vocab_size"], "position": CONFIG["max_position_embeddings"], "token_type": CONFIG["type_vocab_size"]}
    found: dict[str, tuple[int, ...]] = {f"embeddings.{name}_embeddings.weight": (n, dim) for name, n in rows.items()}
    pairs = {"embeddings.LayerNorm": (dim,), "pooler.dense": (dim, dim)}
    for i in range(CONFIG["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        pairs |= {f"{layer}.attention.self.{part}": (dim, dim) for part in ("query", "key", "value")}
        pairs |= {f"{layer}.attention.output.dense": (dim, dim), f"{layer}.attention.output.LayerNorm": (dim,)}
        pairs |= {f"{layer}.intermediate.dense": (hidden, dim), f"{layer}.output.dense": (dim, hidden)}
        pairs[f"{layer}.output.LayerNorm"] = (dim,)
    for name, shape in pairs.items():
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return found


def weights() -> dict[str, Tensor]:
    """Draw each tensor, large enough that every part counts."""
    rng = np.random.default_rng(6)
    drawn = {}
    for name, shape in sorted(shapes().items()):
        values = rng.normal(size=shape) * (0.5 if len(shape) == 1 else 1.5 / shape[-1] ** 0.5)
        drawn[name] = torch.from_numpy((values + name.endswith("LayerNorm.weight")).astype(np.float32))
    return drawn


def main() -> None:
    """Write the last state of every place of every text, to eight digits; zeros where nothing is."""
    from transformers import BertConfig, BertModel

    network = BertModel(BertConfig(**CONFIG)).eval()
    network.load_state_dict(weights(), strict=True)
    ids, _ = texts()
    states = np.zeros((len(LENGTHS), max(LENGTHS) + 2, CONFIG["hidden_size"]))
    for row, length in enumerate(LENGTHS):
        marked = torch.cat([torch.tensor([FIRST]), ids[row, :length], torch.tensor([LAST])])[None]
        with torch.no_grad():
            states[row, : length + 2] = network(input_ids=marked).last_hidden_state[0].numpy()
    content = {"transformers": sys.modules["transformers"].__version__, "states": np.round(states, 7).tolist()}
    GOLDEN.write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
