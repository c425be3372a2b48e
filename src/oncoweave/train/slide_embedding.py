"""One call from a slide to its embedding: tiles, their vectors, the tiles in their context, one vector for the slide."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from oncoweave.core import shelf
from oncoweave.core.encoder_card import UNNAMED, TileSource
from oncoweave.core.errors import DataError
from oncoweave.data.bags import Bag, BagAttrs, BagHead, read_bag
from oncoweave.data.slide_embeddings import SlideEmbedding
from oncoweave.modalities.slide import tile_pitch
from oncoweave.nn.grid import cells
from oncoweave.train.builtin_weights import BUILTIN, builtin_weights
from oncoweave.train.embed import EmbedOptions, embed_slide
from oncoweave.train.slide_encoder import SlideEncoder, load_slide_encoder, require_tiles
from oncoweave.train.slide_record import ARTEFACTS
from oncoweave.train.tile_encoder import TileEncoder, load_tile_encoder, tile_settings
from oncoweave.wsi.files import SlideFile, slide_id_of
from oncoweave.wsi.geometry import check_mpp
from oncoweave.wsi.tiling import TileRecipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Where and how the work is done; none of it changes what comes out beyond rounding."""

    device: str = "cpu"
    options: EmbedOptions = field(default_factory=lambda: EmbedOptions(previews=False))
    bags: Path | None = None
    """Folder that keeps the slide's bag, as ``bags/<slide_id>.h5``; none is kept where it is not given."""


def embed(
    slide: Path | str | SlideFile,
    *,
    tile_encoder: str | TileEncoder = "vit/nano",
    slide_encoder: str | SlideEncoder = "longnet/tiny",
    tile_weights: Path | str = BUILTIN,
    slide_weights: Path | str = BUILTIN,
    recipe: TileRecipe | None = None,
    slide_mpp: float | None = None,
    readout: str = "mean",
    layers: Sequence[int] = (),
    any_tiles: bool = False,
    work: Work = Work(),
) -> SlideEmbedding:
    """Embed one slide.

    Args:
        slide: a file that OpenSlide, tifffile or wsidicom can read.
        tile_encoder: name on the encoders shelf, or one that is loaded.
        slide_encoder: name on the encoders shelf, or one that is loaded, which brings its own readout.
        tile_weights: a file, or ``builtin``; an encoder without weights, as ``colour``, needs none.
        slide_weights: a file, or ``builtin``; see :func:`oncoweave.train.slide_encoder.load_slide_encoder`.
        recipe: how the slide is cut; the tile encoder's own resolution and side, if not given.
        slide_mpp: level-0 resolution of a slide that states none, um/px.
        readout: ``mean``, ``cls`` or ``layers``.
        layers: layers read out side by side, 0 being the embedded input.
        any_tiles: encode tiles that the slide encoder was not trained on.
        work: device, batch, threads, and where the bag is kept.

    Raises:
        ConfigError: weights are missing or do not fit, tiles are not those that the slide encoder was trained on, or
            ``slide_mpp`` is not a number between 0.02 and 10.
        SlideError: the slide cannot be read, states no resolution, or has no tile worth keeping.

    Example:
        >>> from oncoweave import embed  # doctest: +SKIP
        >>> embed("slide.svs").vector.shape  # doctest: +SKIP
        (32,)
    """
    declared = slide.mpp if isinstance(slide, SlideFile) else slide_mpp
    if declared is not None:
        check_mpp(declared, what="resolution of the slide (slide_mpp)")
    if isinstance(slide_encoder, str):
        slide_encoder = load_slide_encoder(
            slide_encoder, weights=slide_weights, readout=readout, layers=layers, device=work.device
        )
    if isinstance(tile_encoder, str):
        tile_encoder = load_trained_tile_encoder(tile_encoder, weights=tile_weights, device=work.device)
    if recipe is None:
        side, mpp = tile_settings(tile_encoder, tile=None, mpp=None)
        recipe = TileRecipe(mpp=mpp, tile=side)
    if not any_tiles:
        source = TileSource(encoder=tile_encoder.name, fingerprint=tile_encoder.fingerprint, mpp=recipe.mpp)
        require_tiles(slide_encoder, source, what="the tiles to be made")
    if not isinstance(slide, SlideFile):
        slide = SlideFile(slide_id=slide_id_of(Path(slide)), path=Path(slide).absolute(), mpp=declared)
    with TemporaryDirectory(prefix="oncoweave-") as scratch:
        folder = Path(scratch) if work.bags is None else Path(work.bags)
        result = embed_slide(slide, folder, encoder=tile_encoder, recipe=recipe, options=work.options)
        bag = read_bag(folder / "bags" / f"{slide.slide_id}.h5")
    dropped = {name: getattr(result, f"{name}_tiles") for name in ARTEFACTS}
    return embed_bag(bag, encoder=slide_encoder, any_tiles=any_tiles, dropped=dropped)


def embed_bag(
    bag: Bag | Path | str, *, encoder: SlideEncoder, any_tiles: bool = False, dropped: Mapping[str, int] | None = None
) -> SlideEmbedding:
    """Embed a slide whose tiles are encoded already; neither the order of the tiles nor that of slides changes a number.

    Args:
        bag: a bag, or where it is.
        encoder: the slide encoder.
        any_tiles: encode tiles that the slide encoder was not trained on.
        dropped: tiles left out when the bag was made, by reason; a bag itself does not say.

    Raises:
        ConfigError: the tiles are not those that the slide encoder was trained on.
        DataError: the bag cannot be read, its width is not the encoder's, or its coordinates are no grid of tiles.
    """
    bag = bag if isinstance(bag, Bag) else read_bag(bag)
    name = f"bag of slide {bag.attrs.slide_id!r}"
    if not any_tiles:
        require_tiles(encoder, tile_source(bag.attrs), what=f"the tiles in the {name}")
    try:
        places = cells(torch.from_numpy(bag.coords / tile_pitch(bag)), grid=encoder.module.config.grid)
        encoded = encoder.encode(bag.features, places.numpy())
    except ValueError as error:
        msg = f"{name}: {error}"
        raise DataError(msg) from error
    return SlideEmbedding(
        slide_id=bag.attrs.slide_id,
        vector=encoded.vector,
        layers=encoded.layers,
        tokens=encoded.tokens,
        coords=bag.coords[encoded.order],
        shares=encoded.shares,
        columns=encoder.columns,
        readout=encoder.readout,
        tile_side=tile_side(bag),
        mpp=bag.attrs.mpp,
        level0_mpp=bag.attrs.level0_mpp,
        tile_encoder=bag.attrs.encoder or "unknown",
        tile_fingerprint=bag.attrs.encoder_fingerprint,
        slide_encoder=encoder.name,
        slide_fingerprint=encoder.fingerprint,
        fingerprint=embedding_fingerprint(bag, encoder=encoder),
        dropped=dropped,
    )


def load_trained_tile_encoder(
    name: str, *, weights: Path | str = BUILTIN, device: str = "cpu", precision: str = "fp32"
) -> TileEncoder:
    """Load a tile encoder with weights from a file or, by ``builtin``, those of the package; never with random ones.

    Raises:
        ConfigError: there are none, they do not fit, or the device is not there.
    """
    module_file = shelf.load("encoders", name)
    if str(weights) != BUILTIN:
        return load_tile_encoder(name, weights=Path(weights), device=device, precision=precision)
    if "generator" not in module_file.build.__annotations__:  # nothing is drawn: it has no weights
        return load_tile_encoder(name, device=device, precision=precision)
    key = name.partition("/")[2] or next(iter(module_file.VARIANTS))
    path, _ = builtin_weights(f"{name.partition('/')[0]}/{key}")
    return load_tile_encoder(name, weights=path, device=device, precision=precision)


def tile_source(attrs: BagAttrs) -> TileSource:
    """Say where a bag's tiles come from."""
    return TileSource(encoder=attrs.encoder or UNNAMED, fingerprint=attrs.encoder_fingerprint, mpp=attrs.mpp)


def tile_side(bag: Bag) -> float:
    """Side of a bag's tiles in level-0 pixels: exact where resolutions are stated, else as stated, else the least step."""
    attrs = bag.attrs
    if attrs.patch_size and attrs.mpp and attrs.level0_mpp:
        return attrs.patch_size * attrs.mpp / attrs.level0_mpp
    return attrs.patch_size_level0 or tile_pitch(bag)


def embedding_fingerprint(bag: Bag | BagHead, *, encoder: SlideEncoder) -> str:
    """Hash everything that decides a slide's vector: its bag, the slide encoder and the readout."""
    own = bag.attrs.fingerprint
    if own is None and isinstance(bag, Bag):
        digest = hashlib.sha256(np.ascontiguousarray(bag.features).tobytes())
        digest.update(np.ascontiguousarray(bag.coords).tobytes())
        digest.update(json.dumps(asdict(bag.attrs), sort_keys=True).encode())
        own = digest.hexdigest()
    parts = [own, encoder.fingerprint, encoder.readout, list(encoder.layers)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
