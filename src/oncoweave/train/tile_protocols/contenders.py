"""Encoders that are compared, their controls, and their embeddings, kept on disk by what they depend on."""

import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from oncoweave.core.errors import ConfigError
from oncoweave.core.files import publish
from oncoweave.train.probe import embed_tiles
from oncoweave.train.tile_encoder import TileEncoder, load_tile_encoder, random_twin
from oncoweave.train.tile_protocols import perturb

SIDE = 224
"""Side of tiles for encoders whose card states none, in pixels."""

Role = Literal["encoder", "random", "colour"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Contender:
    """An encoder in the comparison."""

    name: str
    role: Role
    """``random``: nothing was learnt. ``colour``: hand-made statistics, nothing is to be learnt."""
    encoder: TileEncoder
    twin: str = ""
    """Of an encoder: name of the same network with random weights."""

    @property
    def side(self) -> int:
        """Side of the tiles it is given, in pixels."""
        return SIDE if self.encoder.card is None else self.encoder.card.tile

    def see(self, images: UInt8[Tensor, "tile 3 height width"]) -> UInt8[Tensor, "tile 3 side side"]:
        """Bring tiles to its side, antialiased."""
        size = (self.side, self.side)
        if images.shape[2:] == size:
            return images
        return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)


def contenders(encoders: Mapping[str, TileEncoder]) -> list[Contender]:
    """Put beside every encoder its network with random weights, and colour statistics last; equal ones come once.

    Raises:
        ConfigError: there is no encoder, or two differ in name only.
        UnknownNameError: an encoder with weights is not from the shelf.
    """
    if not encoders:
        msg = "tile protocols: wanted at least one encoder, got none"
        raise ConfigError(msg)
    found: dict[str, Contender] = {}
    twins: dict[str, Contender] = {}
    for name, encoder in encoders.items():
        if encoder.fingerprint in found:
            msg = f"tile protocols: encoders {found[encoder.fingerprint].name!r} and {name!r} are the same; leave one out"
            raise ConfigError(msg)
        twin = random_twin(encoder)
        role: Role = "colour" if twin is None else "random" if twin.fingerprint == encoder.fingerprint else "encoder"
        beside = "" if twin is None or role == "random" else f"{encoder.title}, random weights"
        found[encoder.fingerprint] = Contender(name=name, role=role, encoder=encoder, twin=beside)
        if twin is not None:
            twins.setdefault(twin.fingerprint, Contender(name=f"{encoder.title}, random weights", role="random", encoder=twin))
    colour = load_tile_encoder("colour")
    controls = {**twins, colour.fingerprint: Contender(name="colour statistics", role="colour", encoder=colour)}
    renamed = {twins[key].name: found[key].name for key in twins.keys() & found.keys()}
    given = [c if c.twin not in renamed else replace(c, twin=renamed[c.twin]) for c in found.values()]
    return given + [c for key, c in controls.items() if key not in found]


def embed(contender: Contender, images: UInt8[Tensor, "tile 3 height width"], folder: Path) -> Float[np.ndarray, "tile dim"]:
    """Embed tiles, or read what was kept."""
    path = place_of(folder, contender, "tiles", digest(images))
    return kept(path, lambda: embed_tiles(contender.encoder.encode, contender.see(images)).astype(np.float32))


def embed_versions(
    some: Sequence[Contender], images: UInt8[Tensor, "tile 3 height width"], folder: Path, *, done: Callable[[], object]
) -> dict[str, Float[np.ndarray, "stain scanner tile dim"]]:
    """Embed every version of some tiles by name of the contender; ``done`` is called after each of the stains."""
    source = digest(images)
    found: dict[str, list[np.ndarray]] = {c.name: [] for c in some}
    for stain in perturb.STAINS:
        paths = {c.name: place_of(folder, c, "versions", source, stain, perturb.SCANNERS, perturb.REVISION) for c in some}
        scanned = [] if all(p.exists() for p in paths.values()) else list(perturb.scans(images, stain))

        def make(contender: Contender, scanned: list[Tensor] = scanned, stain: perturb.StainVersion = stain) -> np.ndarray:
            tiles = scanned or perturb.scans(images, stain)  # a kept file that cannot be read is made again
            encode = contender.encoder.encode
            return np.stack([embed_tiles(encode, contender.see(t)).astype(np.float32) for t in tiles])

        for contender in some:
            found[contender.name].append(kept(paths[contender.name], partial(make, contender)))
        done()
    return {name: np.stack(parts) for name, parts in found.items()}


def kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Read an array that was kept, or make and keep it; a damaged file is made again."""
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as held:
                return held["values"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            path.unlink()
    values = make()
    with publish(path) as partial, partial.open("wb") as stream:
        np.savez(stream, values=values)
    return values


def place_of(folder: Path, contender: Contender, what: str, *depends: object) -> Path:
    """Name the file of something that depends on an encoder, its side, and what else is given."""
    key = hashlib.sha256(repr((contender.encoder.fingerprint, contender.side, *depends)).encode()).hexdigest()
    return folder / f"{what}-{key[:24]}.npz"


def digest(images: UInt8[Tensor, "tile 3 height width"]) -> str:
    """Hash tiles."""
    return hashlib.sha256(repr(tuple(images.shape)).encode() + images.numpy().tobytes()).hexdigest()


def spread_over_classes(label: Int64[np.ndarray, " tile"], count: int, rng: np.random.Generator) -> Int64[np.ndarray, " chosen"]:
    """Draw so many tiles, as evenly from the classes as there are any; rising."""
    order = rng.permutation(len(label))
    turn = np.empty(len(label), dtype=np.int64)
    for c in np.unique(label):
        of_class = order[label[order] == c]
        turn[of_class] = np.arange(len(of_class))
    return np.sort(order[np.argsort(turn[order], kind="stable")[:count]])
