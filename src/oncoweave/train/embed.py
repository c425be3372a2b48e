"""Slides to bags: read tiles, encode them, publish one bag a slide, and record what became of every slide."""

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8

from oncoweave.core.errors import ConfigError, DataError, SlideError
from oncoweave.core.files import locked, require_file_name
from oncoweave.data.bags import Bag, BagAttrs, BagHead, read_head, write_bag
from oncoweave.train.slide_record import SlideRecord, SlideResult
from oncoweave.train.tile_encoder import TileEncoder
from oncoweave.wsi.files import SlideFile, identity
from oncoweave.wsi.preview import write_preview
from oncoweave.wsi.readers import Slide, open_slide, require_mpp
from oncoweave.wsi.stain import Macenko, Reinhard, fit_stain, normalise
from oncoweave.wsi.tiling import TileRecipe, Tiling, is_blurred, lay_tiles, none_left, read_tile

_TILING_REVISION = 1
"""Raised when equal recipes give other tiles; part of a bag's fingerprint."""
_STAIN_SAMPLE = 32

T = TypeVar("T")


def _silent(slide_id: str, done: int, total: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedOptions:
    """How the work is done; none of it changes what comes out."""

    batch: int = 32
    """Tiles encoded at once."""
    readers: int = 2
    """Threads that read and decode while the encoder works."""
    reader: str = "auto"
    """Slide reader to use."""
    previews: bool = True
    progress: Callable[[str, int, int], None] = _silent
    """Called with slide id, tiles done, tiles in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Encoded:
    features: Float[np.ndarray, "tile dim"]
    kept: Int64[np.ndarray, " tile"]
    blurred: Int64[np.ndarray, "_ 2"]


def embed_slides(
    slides: Sequence[SlideFile],
    folder: Path | str,
    *,
    encoder: TileEncoder,
    recipe: TileRecipe,
    options: EmbedOptions = EmbedOptions(),
) -> SlideRecord:
    """Embed slides into ``folder``: ``bags/<id>.h5``, ``previews/<id>.png``, ``slides.parquet`` and ``summary.json``.

    A slide that cannot be embedded is recorded with its reason and the rest go on. The record is published after every slide
    and bags appear whole, so a killed run goes on where it stood: a bag of equal recipe, encoder and slide file is kept, any
    other is made again.

    Raises:
        ConfigError: the encoder cannot take tiles of this size, another run writes to the folder, or a bag that oncoweave did
            not write stands where one of these would go.
    """
    folder = Path(folder)
    _try_encoder(encoder, recipe)
    for slide in slides:
        _head(_bag_path(folder, slide))
    with locked(folder):
        record = SlideRecord.resume(folder, encoder=encoder, recipe=recipe, slides=[s.slide_id for s in slides])
        for slide in slides:
            record.add(_embed_or_record(slide, folder, record, encoder=encoder, recipe=recipe, options=options))
        record.publish()
    return record


def embed_slide(
    slide: SlideFile,
    folder: Path | str,
    *,
    encoder: TileEncoder,
    recipe: TileRecipe,
    options: EmbedOptions = EmbedOptions(),
) -> SlideResult:
    """Embed one slide into ``folder``.

    Raises:
        SlideError: the slide cannot be read, states no resolution, or has no tile worth keeping.
        DataError: the slide's id is no plain file name.
    """
    folder, started = Path(folder), time.monotonic()
    bag_path = _bag_path(folder, slide)
    with closing(open_slide(slide.path, reader=options.reader)) as source, _cores_left(to=options.readers):
        level0 = require_mpp(source, declared=slide.mpp)
        tiling = lay_tiles(source, level0=level0, recipe=recipe)
        preview = folder / "previews" / f"{slide.slide_id}.png"
        if options.previews:
            write_preview(preview, tiling)
        if tiling.reason:
            raise SlideError(f"{slide.path.name}: {tiling.reason}")
        stain = _fit_stain(source, tiling, recipe)
        encoded = _encode(source, slide.slide_id, tiling, stain, encoder=encoder, recipe=recipe, options=options)
        if options.previews and len(encoded.blurred):
            write_preview(preview, tiling, blurred=encoded.blurred)
        if not len(encoded.kept):
            raise none_left(blurred=len(encoded.blurred))
        attrs = BagAttrs(
            slide_id=slide.slide_id,
            encoder=encoder.name,
            encoder_fingerprint=encoder.fingerprint,
            mpp=recipe.mpp,
            level0_mpp=level0,
            patch_size=recipe.tile,
            patch_size_level0=float(round(tiling.side)),
            overlap=round(recipe.tile * recipe.overlap),
            level0_width=source.dimensions[0],
            level0_height=source.dimensions[1],
            recipe=json.dumps(asdict(recipe), sort_keys=True),
            fingerprint=bag_fingerprint(slide, encoder=encoder, recipe=recipe, reader=options.reader),
        )
        bag = Bag(
            features=encoded.features,
            coords=tiling.coords[encoded.kept],
            tissue_fraction=tiling.tissue_fraction[encoded.kept],
            attrs=attrs,
        )
        write_bag(bag_path, bag)
        dropped = {name: len(corners) for name, corners in tiling.dropped.items()}
        return SlideResult(
            slide_id=slide.slide_id,
            status="done",
            tiles=len(bag),
            seconds=round(time.monotonic() - started, 3),
            mpp=level0,
            mpp_declared=source.mpp is None,
            enlarged=max(1.0, level0 / recipe.mpp),
            reader=source.reader,
            width=source.dimensions[0],
            height=source.dimensions[1],
            tissue=float(tiling.overview.tissue.mean()),
            pen=float(tiling.overview.pen.mean()),
            pen_tiles=dropped.get("pen", 0),
            blood_tiles=dropped.get("blood", 0),
            fold_tiles=dropped.get("fold", 0),
            blur_tiles=len(encoded.blurred),
        )


def bag_fingerprint(slide: SlideFile, *, encoder: TileEncoder, recipe: TileRecipe, reader: str) -> str:
    """Hash everything that decides what is in a bag: tiles, encoder, slide file and the resolution declared for it."""
    parts = [_TILING_REVISION, asdict(recipe), encoder.fingerprint, identity(slide.path), slide.mpp, reader]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _embed_or_record(
    slide: SlideFile, folder: Path, record: SlideRecord, *, encoder: TileEncoder, recipe: TileRecipe, options: EmbedOptions
) -> SlideResult:
    started = time.monotonic()
    bag_path = _bag_path(folder, slide)
    stale = ""
    try:
        head = _head(bag_path)
        if head is not None and head.attrs.fingerprint == bag_fingerprint(
            slide, encoder=encoder, recipe=recipe, reader=options.reader
        ):
            return record.reused(slide.slide_id, head)
        if bag_path.exists():
            bag_path.unlink()
            stale = "; the bag of an earlier recipe that stood here was removed"
        return embed_slide(slide, folder, encoder=encoder, recipe=recipe, options=options)
    except (SlideError, DataError, OSError) as error:
        reason = str(error) + stale
        return SlideResult(slide_id=slide.slide_id, status="failed", reason=reason, seconds=round(time.monotonic() - started, 3))


def _bag_path(folder: Path, slide: SlideFile) -> Path:
    return folder / "bags" / f"{require_file_name(slide.slide_id, where=f'{slide.path}, slide id')}.h5"


def _head(path: Path) -> BagHead | None:
    if not path.exists():
        return None
    try:
        head = read_head(path)
    except DataError:
        return None  # damaged since it was published; it is made again
    if head.attrs.dialect != "oncoweave":
        msg = f"{path}: already there and not written by oncoweave ({head.attrs.dialect} layout); choose another --out"
        raise ConfigError(msg)
    return head


def _try_encoder(encoder: TileEncoder, recipe: TileRecipe) -> None:
    try:
        encoder.encode(torch.zeros(1, 3, recipe.tile, recipe.tile, dtype=torch.uint8))
    except (ValueError, RuntimeError) as error:
        msg = f"encoder {encoder.name} cannot take tiles of {recipe.tile} px (--tile): {error}"
        raise ConfigError(msg) from error


def _fit_stain(source: Slide, tiling: Tiling, recipe: TileRecipe) -> Macenko | Reinhard | None:
    if recipe.stain == "none":
        return None
    some = np.linspace(0, len(tiling.coords) - 1, min(_STAIN_SAMPLE, len(tiling.coords))).round().astype(int)
    tiles = [read_tile(source, tiling.coords[i], side=tiling.side, recipe=recipe) for i in some]
    return fit_stain(recipe.stain, tiles)


def _encode(
    source: Slide,
    slide_id: str,
    tiling: Tiling,
    stain: Macenko | Reinhard | None,
    *,
    encoder: TileEncoder,
    recipe: TileRecipe,
    options: EmbedOptions,
) -> _Encoded:
    def load(index: int) -> UInt8[np.ndarray, "height width 3"] | None:
        tile = read_tile(source, tiling.coords[index], side=tiling.side, recipe=recipe)
        if is_blurred(tile, level0=tiling.level0, recipe=recipe):
            return None
        return tile if stain is None else normalise(tile, stain)

    features: list[Float[np.ndarray, "tile dim"]] = []
    kept: list[int] = []
    blurred: list[int] = []
    waiting: list[UInt8[np.ndarray, "height width 3"]] = []
    total = len(tiling.coords)
    for index, tile in enumerate(_in_order(load, total, options=options)):
        if tile is None:
            blurred.append(index)
        else:
            kept.append(index)
            waiting.append(tile)
        if waiting and (len(waiting) == options.batch or index == total - 1):
            batch = torch.from_numpy(np.stack(waiting)).permute(0, 3, 1, 2)
            with np.errstate(over="ignore"):  # a value too large for float16 becomes infinite, which the bag refuses by name
                features.append(encoder.encode(batch).numpy().astype(np.float16))
            waiting.clear()
        options.progress(slide_id, index + 1, total)
    return _Encoded(
        features=np.concatenate(features) if features else np.empty((0, encoder.dim), dtype=np.float16),
        kept=np.array(kept, dtype=np.int64),
        blurred=tiling.coords[np.array(blurred, dtype=np.int64)],
    )


@contextmanager
def _cores_left(*, to: int) -> Iterator[None]:
    """Leave ``to`` readers their cores: torch's threads spin while they wait, thrice the time where cores are short."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, (os.cpu_count() or 1) - to)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_order(load: Callable[[int], T], total: int, *, options: EmbedOptions) -> Iterator[T]:
    """Load in threads and yield in order; at most four batches lie ready, so memory does not grow with the slide."""
    pool = ThreadPoolExecutor(max_workers=options.readers, thread_name_prefix="tiles")
    ready: deque[Future[T]] = deque()
    try:
        for index in range(total):
            if len(ready) >= 4 * options.batch:
                yield ready.popleft().result()
            ready.append(pool.submit(load, index))
        while ready:
            yield ready.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
