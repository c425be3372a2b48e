"""What modalities weigh where their tokens are pooled together: alike, however many tokens each has."""

import pytest
import torch

from oncoweave.core import shelf
from oncoweave.nn.attention_path import mean_of_means
from oncoweave.nn.token_sets import LEARNED, heard
from oncoweave.nn.tokens import Tokens

SPANS = {"rna": slice(0, 3), "record": slice(3, 4), LEARNED: slice(4, 6)}


def test_shares_are_even_over_modalities_and_learned_tokens_weigh_where_there_is_none():
    keep = torch.tensor([[1, 1, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    expected = [[0.25, 0.25, 0, 0.5, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0.5, 0.5], [0] * 6]
    assert mean_of_means(heard(keep, SPANS), SPANS).tolist() == expected


@pytest.mark.parametrize("fusion", ["mcat", "motcat", "survpath"])
def test_one_token_is_heard_beside_fifty(fusion):
    module, generator = shelf.load("fusion", fusion), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    dims = {"slide": 32, "rna": 32, "record": 32}
    network = module.build(module.Config(), dims=dims, dim_out=32, bags=frozenset({"slide"})).eval()

    def tokens(count):
        patient = torch.randn(32, 1, 32, generator=generator)
        return Tokens(values=patient + 0.3 * torch.randn(32, count, 32, generator=generator), keep=torch.ones(32, count).bool())

    given = {"slide": tokens(60), "rna": tokens(50), "record": tokens(1)}
    moved = {}
    with torch.no_grad():
        for name in ("rna", "record"):
            rolled = Tokens(values=given[name].values.roll(1, 0), keep=given[name].keep)
            moved[name] = float((network(given | {name: rolled}) - network(given)).pow(2).mean().sqrt())
    assert moved["record"] > 0.5 * moved["rna"]
