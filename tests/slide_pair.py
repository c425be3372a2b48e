"""A small slide encoder with weights and card in a file, and bags of a given tile encoder, for tests."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from oncoweave.core.encoder_card import EncoderCard, TileSource, write_card
from oncoweave.data.bags import Bag, BagAttrs
from oncoweave.encoders.longnet import VARIANTS, LongNet

TILES = TileSource(encoder="colour/tiny", fingerprint="f" * 64, mpp=0.5)


def network(dim_in: int = 6, *, seed: int = 0) -> LongNet:
    """LongNet whose LayerNorms are not those of the start either."""
    drawn = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        net = LongNet(VARIANTS["tiny"], dim_in=dim_in)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=drawn) * 0.2 + (parameter.dim() == 1) * 0.5)
    return net.eval()


def write_weights(path: Path, net: LongNet, tiles: TileSource | None = TILES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), path)
    write_card(path, EncoderCard(encoder="longnet/tiny", tiles=tiles, recipe="none"))
    return path


def bag(slide_id: str = "s1", *, tiles: int = 40, dim: int = 6, seed: int = 0, source: TileSource = TILES, shift=0.0) -> Bag:
    """Some tiles of a grid of 10 x 10, of 512 level-0 pixels each."""
    drawn = np.random.default_rng(seed)
    cell = drawn.permutation(100)[:tiles]
    return Bag(
        features=(drawn.normal(size=(tiles, dim)) + shift).astype(np.float16),
        coords=np.stack([cell % 10, cell // 10], axis=1).astype(np.int64) * 512,
        tissue_fraction=np.ones(tiles, dtype=np.float32),
        attrs=BagAttrs(
            slide_id=slide_id,
            encoder=source.encoder,
            encoder_fingerprint=source.fingerprint,
            mpp=source.mpp,
            level0_mpp=0.25,
            patch_size=256,
            patch_size_level0=512.0,
            overlap=0,
            level0_width=5120,
            level0_height=5120,
            fingerprint=f"{slide_id}-{seed}-{tiles}",
        ),
    )
