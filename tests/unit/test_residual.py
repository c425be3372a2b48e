"""Films and volumes by a residual network: patches are put back as they were cut, and the network is the plain one of torch."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from oncoweave.core import shelf
from oncoweave.modalities import film
from oncoweave.modalities.film import Film, Sample
from oncoweave.nn.residual import _cells, _fold

SIDE, PATCH = 224, 16


def tokens_of(*films: np.ndarray):
    sample = Sample(
        patient_id="p", films=tuple(Film(path="", pixels=pixels, view="", spacing_mm=None) for pixels in films), place="here"
    )
    prepared = film.fit([sample])
    return prepared, prepared.collate([sample])


def drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, size=(SIDE, SIDE)).astype(np.uint8)


def test_films_are_put_back_row_by_row_each_by_itself():
    prepared, tokens = tokens_of(drawn(0), drawn(1))
    cells, grid = _cells(tokens, (1, 0, 2))
    picture, inside = _fold(tokens, cells, grid=grid, shape=(PATCH, PATCH, 1))
    assert bool(inside.all())
    for number in (0, 1):
        wanted = (torch.from_numpy(drawn(number).astype(np.float32)) / 255 - prepared.centre) / prepared.scale
        assert torch.allclose(picture[0, 0, :, :, number], wanted, atol=1e-6)


def test_the_network_of_a_film_is_plain_convolutions_of_its_pixels():
    prepared, tokens = tokens_of(drawn(2))
    model = shelf.load("encoders", "cnn2d").build(
        replace(shelf.variant("encoders", "cnn2d/tokens"), dropout=0.0), dim_in=PATCH**2, num_tokens=None, dim_out=5
    )
    x = (torch.from_numpy(drawn(2).astype(np.float32)) / 255 - prepared.centre)[None, None] / prepared.scale

    def convolve(layer, x, stride=1):
        return functional.conv2d(x, layer.weight[..., 0], layer.bias, stride=stride, padding=1)

    def normed(norm, x):
        return norm.norm(x.movedim(1, -1)).movedim(-1, 1)

    for stage in model.stages:
        x = branch = convolve(stage.down, x, stride=2)
        for norm, layer in zip(stage.norms, stage.convolutions, strict=True):
            branch = convolve(layer, functional.gelu(normed(norm, branch)))
        x = x + branch
    patches = model.norm(x.flatten(start_dim=2).transpose(1, 2))
    summary = model.summary(torch.cat([patches.mean(dim=1), patches.amax(dim=1)], dim=1))
    found = model(tokens).values
    assert torch.allclose(found[:, 0], summary, atol=1e-5)
    assert torch.allclose(found[:, 1:], model.cube(patches), atol=1e-5)
