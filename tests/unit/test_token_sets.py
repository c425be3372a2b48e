"""What modalities weigh where their tokens are pooled together: alike, however many tokens each has."""

import pytest
import torch

from oncoweave.core import shelf
from oncoweave.nn.tokens import Tokens


@pytest.mark.parametrize("fusion", ["mcat", "motcat", "survpath"])
def test_modalities_and_learned_tokens_weigh_alike_however_many_tokens_each_has(fusion):
    module = shelf.load("fusion", fusion)
    network = module.build(module.Config(), dims={"slide": 8, "rna": 8, "record": 8}, dim_out=1, bags=frozenset({"slide"})).eval()

    def tokens(keep):
        keep = torch.tensor(keep).bool()
        return Tokens(values=torch.randn(*keep.shape, 8), keep=keep)

    rna = tokens([[1, 1, 0], [0, 0, 0], [0, 0, 0]])
    slide = tokens([[0, 0], [0, 0], [1, 1]])  # is read by the other half of the vector
    path = network.attention_path({"slide": slide, "rna": rna, "record": tokens([[1], [1], [0]])})
    shares = torch.stack([path.readout[:, path.spans[name]].sum(dim=1) for name in ("rna", "record")], dim=1)
    learned = path.readout[:, 4:8].sum(dim=1)  # after three of rna and one of record
    torch.testing.assert_close(shares, torch.tensor([[1 / 3, 1 / 3], [0.0, 0.5], [0.0, 0.0]]))
    torch.testing.assert_close(learned, torch.tensor([1 / 3, 0.5, 0.5]))


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
