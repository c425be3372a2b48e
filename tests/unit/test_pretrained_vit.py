"""Films through a vision transformer from a file: its own numbers, other image sizes, files that do not fit, and a study."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from oncoweave.core.errors import ConfigError
from oncoweave.core.shelf import variant
from oncoweave.encoders import pretrained_vit, vit
from oncoweave.nn.tokens import Tokens
from oncoweave.train.finetune import load_start, start_settings


def transformer(*, image: int = 64, layer_scale: float | None = 0.3) -> vit.VisionTransformer:
    config = vit.Config(image=image, patch=16, dim=64, depth=3, heads=1, hidden=256, layer_scale=layer_scale)
    network = vit.build(config, generator=torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("bias", "pos_embed", "cls_token")):
                parameter.normal_(0.0, 0.3, generator=torch.Generator().manual_seed(len(name)))
    return network


def films(images: torch.Tensor) -> Tokens:
    """Grey images of whole patches as the modality lays them out."""
    side = images.shape[-1] // 16
    values = functional.unfold(images[:, None], kernel_size=16, stride=16).transpose(1, 2)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([x.flatten(), y.flatten(), torch.zeros(side**2)], dim=1).float().expand(len(images), -1, -1)
    return Tokens(values=values, keep=torch.ones(values.shape[:2], dtype=torch.bool), positions=places)


def started(path, name: str = "pretrained_vit/tokens") -> pretrained_vit.PretrainedViT:
    config = dataclasses.replace(variant("encoders", name), **start_settings(path, name))
    network = pretrained_vit.build(config, dim_in=256, num_tokens=None, dim_out=8).eval()
    assert load_start(network, path) is network.lower
    return network


@pytest.mark.parametrize("layer_scale", [None, 0.3])
@torch.no_grad()
def test_one_film_gives_what_the_transformer_gives_of_it_in_three_equal_channels(tmp_path, rng, layer_scale):
    network = transformer(layer_scale=layer_scale)
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    images = torch.from_numpy(rng.normal(size=(2, 64, 64)).astype(np.float32))
    raw = images[:, None] * network.deviation + network.mean  # it standardises by ImageNet's, films come standardised
    encoder = started(tmp_path / "vit.safetensors")
    torch.testing.assert_close(encoder.features(films(images)).values, network.tokens(raw), rtol=1e-4, atol=1e-4)
    assert encoder(films(images)).values.shape == (2, 17, 8)


@torch.no_grad()
def test_positions_of_another_image_size_are_interpolated_and_absent_films_do_not_count(tmp_path, rng):
    network = transformer(image=96)
    grid = network.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (6, 6))
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    encoder = started(tmp_path / "vit.safetensors")
    assert encoder.lower.side == 6
    images = torch.from_numpy(rng.normal(size=(2, 64, 64)).astype(np.float32))
    given = films(images)
    encoder_4 = transformer(image=64)
    weights = network.state_dict()
    resized = functional.interpolate(grid, size=(4, 4), mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)
    encoder_4.load_state_dict(weights | {"pos_embed": torch.cat([network.pos_embed[:, :1], resized], dim=1)})
    wanted = encoder_4.tokens(images[:, None] * network.deviation + network.mean)
    torch.testing.assert_close(encoder.features(given).values, wanted, rtol=1e-4, atol=1e-4)
    absent = dataclasses.replace(
        given,
        keep=given.keep & torch.tensor([[True], [False]]),
        values=given.values * torch.tensor([1.0, torch.nan])[:, None, None],
    )
    both = encoder(absent)
    torch.testing.assert_close(both.values[0], encoder(given).values[0])
    assert not both.keep[1].any()


def test_files_that_do_not_fit_are_refused(tmp_path):
    save_file({"blocks.0.norm1.weight": torch.zeros(4)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="wanted a vision transformer with a class token and a square of positions"):
        start_settings(tmp_path / "other.safetensors", "pretrained_vit")
    torch.save({}, tmp_path / "vit.pth")
    with pytest.raises(ConfigError, match="save the state dict as one"):
        start_settings(tmp_path / "vit.pth", "pretrained_vit")
    weights = transformer().state_dict()
    weights["patch_embed.proj.weight"] = torch.zeros(64, 3, 14, 14)
    save_file(weights, tmp_path / "vit14.safetensors")
    with pytest.raises(ConfigError, match=re.escape("patch_embed.proj.weight (64, 3, 14, 14) where (64, 3, 16, 16) is wanted")):
        started(tmp_path / "vit14.safetensors")
