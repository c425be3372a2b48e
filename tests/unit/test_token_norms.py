"""Scale of tokens before anything is learnt: features alike, measured or not, and values, words and patches alike.

Tokens of one modality that start many times longer than another's drown it in a joint attention.
"""

import dataclasses

import numpy as np
import pytest
import torch

from oncoweave.core import shelf
from oncoweave.encoders import tabular
from oncoweave.encoders.tabular import VARIANTS, FeatureTransformer
from oncoweave.nn.tokens import Tokens
from reference.drawn import shape, tokens

WIDE = 64
EMBEDDINGS = ("tokens", "missing_tokens", "periodic_tokens")


def table(patients: int = 400, features: int = 12, missing: float = 0.3) -> Tokens:
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.normal(size=(patients, features, 1)).astype(np.float32))
    return Tokens(values=values, keep=torch.from_numpy(rng.random((patients, features)) >= missing))


@torch.no_grad()
def network(name: str) -> FeatureTransformer:
    torch.manual_seed(0)
    return tabular.build(dataclasses.replace(VARIANTS[name], width=WIDE), dim_in=1, num_tokens=12, dim_out=WIDE).eval()


@pytest.mark.parametrize("name", EMBEDDINGS)
@torch.no_grad()
def test_tokens_of_all_features_start_at_one_norm(name):
    given = table()
    size = network(name).embed(given).norm(dim=2)
    measured = torch.stack([size[given.keep[:, j], j].square().mean().sqrt() for j in range(12)])
    assert measured.max() / measured.min() < 1.4
    np.testing.assert_allclose(measured.mean(), (2 / 3) ** 0.5, rtol=0.1)  # of weight and bias, each of norm sqrt(1/3)
    if VARIANTS[name].missing:
        unmeasured = size[~given.keep].square().mean().sqrt()
        np.testing.assert_allclose(unmeasured, measured.mean(), rtol=0.1)


CASES = {
    "tabular/missing_tokens": "record",
    "tabular/periodic_tokens": "record",
    "bert/tokens": "report",
    "pretrained_bert/tiny_tokens": "report",
    "film_vit/tokens": "film",
    "project": "slide",
}


@torch.no_grad()
def test_values_words_and_patches_start_at_comparable_norms():
    norms = {}
    for name, kind in CASES.items():
        torch.manual_seed(1)
        dim, num_tokens = shape(kind)
        encoder = shelf.load("encoders", name).build(
            shelf.variant("encoders", name), dim_in=dim, num_tokens=num_tokens, dim_out=WIDE
        )
        encoded = encoder.eval()(tokens(kind))
        norms[name] = float(encoded.values[encoded.keep].square().sum(dim=-1).mean().sqrt())
    assert max(norms.values()) / min(norms.values()) < 2.5, norms


@torch.no_grad()
def test_what_was_not_measured_is_a_token_whose_value_does_not_count():
    given = table(patients=5)
    encoder = network("missing_tokens")
    encoded = encoder(given)
    assert encoded.keep.all()
    plain = network("tokens")(given)
    assert torch.equal(plain.keep[:, 1:], given.keep)
    other = dataclasses.replace(given, values=torch.where(given.keep.unsqueeze(-1), given.values, 7.0))
    assert torch.equal(encoder(other).values, encoded.values)
    measured = dataclasses.replace(other, keep=torch.ones_like(given.keep))
    assert not torch.equal(encoder(measured).values, encoded.values)


@torch.no_grad()
def test_the_periodic_embedding_in_closed_form():
    encoder = network("periodic")
    given = table(patients=3, missing=0.0)
    frequency, weight, bias = (p.numpy().astype(float) for p in (encoder.frequency, encoder.weight, encoder.bias))
    x = given.values.numpy()[:, :, 0].astype(float)
    for patient, feature in ((0, 0), (2, 11)):
        angle = 2 * np.pi * frequency[feature] * x[patient, feature]
        wanted = np.concatenate([np.sin(angle), np.cos(angle)]) @ weight[feature] + bias[feature]
        np.testing.assert_allclose(encoder.embed(given)[patient, feature], wanted, atol=1e-5)
