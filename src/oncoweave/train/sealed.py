"""Checkpoints of networks in training, each with the SHA-256 of its content in front: what a resumed run may rely on."""

import hashlib
import io
from pathlib import Path

import torch

from oncoweave.core.errors import DataError
from oncoweave.core.files import publish

_LENGTH = hashlib.sha256().digest_size


def seal(path: Path, state: dict[str, object]) -> None:
    """Write a state; the file appears whole, hash and all, or not at all."""
    content = io.BytesIO()
    torch.save(state, content)
    with publish(path) as partial:
        partial.write_bytes(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())


def unseal(path: Path) -> dict:
    """Read the state back.

    Raises:
        DataError: the file is not as it was written.
    """
    written = path.read_bytes()
    digest, content = written[:_LENGTH], written[_LENGTH:]
    if hashlib.sha256(content).digest() != digest:
        msg = f"{path}: this checkpoint was changed since training wrote it; delete it and run again, to train from the start"
        raise DataError(msg)
    return torch.load(io.BytesIO(content), weights_only=True)
