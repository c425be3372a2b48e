"""Pictures of a slide's tiles: their share in the slide's vector, what is alike, and values that somebody else computed."""

from contextlib import closing
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float
from PIL import Image

from oncoweave.core.errors import ConfigError, DataError, unknown_name
from oncoweave.data.bags import Bag, read_bag
from oncoweave.data.tables import read_table
from oncoweave.train.slide_embedding import embed_bag, tile_side
from oncoweave.train.slide_encoder import SlideEncoder
from oncoweave.wsi.files import SlideFile
from oncoweave.wsi.heatmap import (
    Caption,
    Thumbnail,
    TileGrid,
    draw_components,
    draw_values,
    principal_components,
    read_slide_thumbnail,
)
from oncoweave.wsi.readers import Slide, open_slide

Show = Literal["share", "context", "tiles"]
"""``share`` in the slide's vector; principal components of the tiles in their ``context``, or of the ``tiles`` by themselves."""

_COMPONENTS = "Tiles of like colour are alike to {name}. A colour means nothing by itself, and another on another slide."


def draw_slide(
    slide: SlideFile,
    bag: Bag | Path,
    *,
    show: str,
    encoder: SlideEncoder | None = None,
    any_tiles: bool = False,
    reader: str = "auto",
) -> Image.Image:
    """Draw what the encoders make of a slide.

    Args:
        slide: the slide that the bag was made of.
        bag: its tiles.
        show: what is drawn, see :data:`Show`.
        encoder: the slide encoder; ``tiles`` needs none.
        any_tiles: encode tiles that the slide encoder was not trained on.
        reader: slide reader.

    Raises:
        UnknownNameError: there is no such picture.
        ConfigError: there is no encoder, it reads out the class token, of which tiles have no share, or it refuses the tiles.
        SlideError: the slide cannot be read.
        DataError: the bag cannot be read, or was not made of this slide.
    """
    if show not in get_args(Show):
        raise unknown_name("picture of tiles", show, get_args(Show))
    bag = bag if isinstance(bag, Bag) else read_bag(bag)
    thumbnail = _thumbnail(slide, bag, reader)
    if show == "tiles":
        tiles = TileGrid(coords=bag.coords, side=tile_side(bag))
        name = bag.attrs.encoder or "the tile encoder"
        return _components(thumbnail, tiles, _standardised(bag.features), title="Tiles by themselves", name=name)
    if encoder is None:
        msg = f"picture {show!r} of slide {slide.slide_id!r} needs a slide encoder (--slide-encoder)"
        raise ConfigError(msg)
    if show == "share" and encoder.pool == "cls":
        msg = "the class token is no mean of tiles, so that they have no share in it; read out by mean or layers (--readout)"
        raise ConfigError(msg)
    embedding = embed_bag(bag, encoder=encoder, any_tiles=any_tiles)
    tiles = TileGrid(coords=embedding.coords, side=embedding.tile_side)
    if embedding.shares is None or show == "context":
        return _components(thumbnail, tiles, embedding.tokens, title="Tiles in their context", name=encoder.name)
    caption = Caption(
        title="Share of each tile in the slide's vector",
        unit="times an equal share",
        note=(
            f"{encoder.name}, readout {encoder.readout}, {len(embedding):,} tiles. 1 is an equal share; below 0 a tile points"
            " away from the vector. Shares sum to the whole. This is what the vector is made of, not what speaks for a disease."
        ),
    )
    return draw_values(thumbnail, tiles, embedding.shares * len(embedding), caption=caption)


def draw_table(
    slide: SlideFile, bag: Bag | Path, table: pd.DataFrame, *, column: str = "value", reader: str = "auto"
) -> Image.Image:
    """Draw values of tiles that somebody else computed.

    Args:
        slide: the slide that the bag was made of.
        bag: its tiles.
        table: rows ``slide_id``, ``x``, ``y`` (a tile's top-left corner in level-0 pixels) and ``column``; see ``read_values``.
        column: what is drawn.
        reader: slide reader.

    Raises:
        SlideError: the slide cannot be read.
        DataError: the bag cannot be read, or the table has no value for the slide, two for a tile, or one where no tile is.
    """
    bag = bag if isinstance(bag, Bag) else read_bag(bag)
    values = values_of_tiles(bag, table, slide_id=slide.slide_id, column=column)
    absent = int(np.isnan(values).sum())
    note = f"{len(values):,} tiles" + (f", {absent:,} of them without a value (grey)" if absent else "")
    caption = Caption(title=column, unit=column, note=note)
    return draw_values(_thumbnail(slide, bag, reader), TileGrid(coords=bag.coords, side=tile_side(bag)), values, caption=caption)


def read_values(path: Path, *, column: str = "value") -> pd.DataFrame:
    """Read a CSV or parquet table of values of tiles.

    Raises:
        DataError: it cannot be read, or lacks ``slide_id``, ``x``, ``y`` or the column; or one of them is no number.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        try:
            table = pd.read_csv(path, dtype={"slide_id": str})
        except (ValueError, OSError) as error:
            msg = f"{path}: cannot be read as a CSV table: {' '.join(str(error).split())}"
            raise DataError(msg) from error
    else:
        table = read_table(path)
    wanted = ("slide_id", "x", "y", column)
    missing = [name for name in wanted if name not in table]
    if missing:
        msg = f"{path}: wanted columns {', '.join(wanted)}, it lacks {', '.join(missing)}; it has {list(table.columns)[:10]}"
        raise DataError(msg)
    for name in wanted[1:]:
        if not pd.api.types.is_numeric_dtype(table[name]):
            msg = f"{path}: column {name!r} holds {table[name].iloc[0]!r}, wanted numbers"
            raise DataError(msg)
    return table.astype({"slide_id": str})


def values_of_tiles(bag: Bag, table: pd.DataFrame, *, slide_id: str, column: str) -> Float[np.ndarray, " tile"]:
    """Find the value of each tile of a bag by its corner; NaN where the table has none.

    Raises:
        DataError: no row is of the slide, two are of one tile, or one is where no tile is.
    """
    own = table[table["slide_id"] == slide_id]
    corners = pd.MultiIndex.from_frame(own[["x", "y"]].astype(float))
    tiles = pd.MultiIndex.from_arrays(list(bag.coords.T.astype(float)), names=["x", "y"])
    if not len(own) or corners.has_duplicates or not corners.isin(tiles).all():
        if not len(own):
            fault = f"no row of it, but of {table['slide_id'].nunique()} other slides"
        elif corners.has_duplicates:
            fault = f"two values for the tile at {_corner(corners[corners.duplicated()])}"
        else:
            strange = ~corners.isin(tiles)
            fault = (
                f"{int(strange.sum())} of {len(own)} values where the bag has no tile, first at {_corner(corners[strange])};"
                " x and y are a tile's top-left corner in level-0 pixels"
            )
        msg = f"values of slide {slide_id!r}: {fault}"
        raise DataError(msg)
    return pd.Series(own[column].to_numpy(dtype=np.float64), index=corners).reindex(tiles).to_numpy()


def _corner(corners: pd.MultiIndex) -> str:
    """First of some corners, as a person writes it."""
    x, y = corners.to_frame().to_numpy()[0]
    return f"({x:g}, {y:g})"


def _thumbnail(slide: SlideFile, bag: Bag, reader: str) -> Thumbnail:
    with closing(open_slide(slide.path, reader=reader)) as source:
        _require_same(source, bag)
        return read_slide_thumbnail(source)


def _require_same(source: Slide, bag: Bag) -> None:
    size = (bag.attrs.level0_width, bag.attrs.level0_height)
    if None not in size and size != source.dimensions:
        msg = (
            f"{source.path.name} has {source.dimensions[0]} x {source.dimensions[1]} px, and the bag was made of a slide of"
            f" {size[0]} x {size[1]} px; give that one"
        )
        raise DataError(msg)


def _components(
    thumbnail: Thumbnail, tiles: TileGrid, tokens: Float[np.ndarray, "tile dim"], *, title: str, name: str
) -> Image.Image:
    components, parts = principal_components(tokens)
    caption = Caption(title=f"{title}: first three principal components", note=_COMPONENTS.format(name=name))
    return draw_components(thumbnail, tiles, components, caption=caption, parts=parts)


def _standardised(features: Float[np.ndarray, "tile dim"]) -> Float[np.ndarray, "tile dim"]:
    """Features of a tile encoder may have units of their own; each counts alike."""
    values = features.astype(np.float64)
    spread = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(spread > 1e-6 * np.maximum(1.0, np.abs(values.mean(axis=0))), spread, np.inf)
