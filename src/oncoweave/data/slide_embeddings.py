"""The embedding of one slide: its vector, what each layer reads out, and its tiles in their context; one safetensors file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from oncoweave.core.errors import DataError
from oncoweave.core.files import publish

SCHEMA = "oncoweave.slide_embedding"
VERSION = 1

_ARRAYS = ("vector", "layers", "tokens", "coords", "shares")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SlideEmbedding:
    """One slide as a vector, and as tiles in their context, row by row from the top."""

    slide_id: str
    vector: Float32[np.ndarray, " dim"]
    layers: Float32[np.ndarray, "layer width"]
    """What each layer reads out, 0 being the embedded input."""
    tokens: Float32[np.ndarray, "tile width"]
    """Each tile in its context."""
    coords: Int64[np.ndarray, "tile 2"]
    """Top-left corners ``(x, y)`` in level-0 pixels."""
    shares: Float32[np.ndarray, " tile"] | None
    """Share of each tile in the vector; they sum to 1. None where the class token was read out."""
    columns: tuple[str, ...]
    """Names of the vector's values."""
    readout: str
    tile_side: float
    """Side of a tile in level-0 pixels."""
    mpp: float | None
    """Resolution of the tiles, um/px."""
    level0_mpp: float | None
    tile_encoder: str
    tile_fingerprint: str | None
    slide_encoder: str
    slide_fingerprint: str
    fingerprint: str
    """Hash of everything that decides the vector: slide, tiles, both encoders, readout."""
    dropped: Mapping[str, int] | None
    """Tiles with enough tissue that were left out, by reason; None where the bag was made earlier and does not say."""

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        tiles = {len(self.tokens), len(self.coords), *([] if self.shares is None else [len(self.shares)])}
        if len(tiles) != 1 or len(self.columns) != len(self.vector):
            msg = (
                f"slide {self.slide_id!r}: {len(self.tokens)} tokens, {len(self.coords)} corners, {len(self.vector)} values and"
                f" {len(self.columns)} names do not belong together"
            )
            raise DataError(msg)

    def __len__(self) -> int:
        """Count the tiles."""
        return len(self.tokens)


def write_slide_embedding(path: Path | str, embedding: SlideEmbedding) -> None:
    """Write an embedding, atomically; equal embeddings give equal bytes.

    Raises:
        DataError: a value is not finite.
    """
    from safetensors.numpy import save

    arrays = {name: getattr(embedding, name) for name in _ARRAYS if getattr(embedding, name) is not None}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            msg = f"{path}: {name} of slide {embedding.slide_id!r} hold values that are not finite; encode the slide again"
            raise DataError(msg)
    rest = {name: getattr(embedding, name) for name in SlideEmbedding.__slots__ if name not in _ARRAYS}
    rest["dropped"] = None if embedding.dropped is None else dict(embedding.dropped)
    head = json.dumps({"schema": SCHEMA, "schema_version": VERSION, **rest}, sort_keys=True)
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata={"oncoweave": head})
    with publish(Path(path)) as partial:
        partial.write_bytes(content)


def read_slide_embedding(path: Path | str) -> SlideEmbedding:
    """Read an embedding.

    Raises:
        DataError: the file is missing, damaged, or holds no embedding of a slide.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such embedding of a slide"
        raise DataError(msg)
    try:
        with safe_open(path, framework="np") as file:
            head = json.loads((file.metadata() or {}).get("oncoweave", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError, ValueError) as error:
        msg = f"{path}: not readable as an embedding of a slide ({error}); make or copy it again"
        raise DataError(msg) from error
    if (head.pop("schema", None), head.pop("schema_version", None)) != (SCHEMA, VERSION):
        msg = f"{path}: holds no embedding of a slide of schema {SCHEMA!r} version {VERSION}; make it again"
        raise DataError(msg)
    return SlideEmbedding(**{"shares": None, **arrays, **head, "columns": tuple(head["columns"])})
