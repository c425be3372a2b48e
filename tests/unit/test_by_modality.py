"""Networks of modalities of any name: those that torch refuses for modules, and those that are names of our own."""

import pytest
import torch
from torch import nn

from oncoweave.core import shelf
from oncoweave.model import ModalityShape, Model, ModelConfig
from oncoweave.nn.by_modality import ByModality
from oncoweave.nn.token_sets import LEARNED
from oncoweave.nn.tokens import Tokens

REFUSED = ("lab.a", "lab.b.c", *sorted(name for name in dir(nn.ModuleDict()) if name[0] != "_"))


def network(*names: str) -> Model:
    shape = ModalityShape(encoder="linear", dim=1, num_tokens=3)
    return Model(ModelConfig(modalities=dict.fromkeys(names, shape), fusion="mean", num_outputs=1, width=4)).eval()


def tokens(*names: str) -> dict[str, Tokens]:
    return {name: Tokens(values=torch.randn(2, 3, 1), keep=torch.ones(2, 3, dtype=torch.bool)) for name in names}


def test_names_that_torch_refuses_are_modalities_of_a_network_and_of_its_state():
    first, second, given = network(*REFUSED), network(*REFUSED), tokens(*REFUSED)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second(given), first(given))
    assert list(first.encode(given)) == list(REFUSED)
    assert len({id(first.encoders[name]) for name in REFUSED}) == len(REFUSED)


def test_other_names_stand_in_the_state_as_they_did():
    names = ("rna", "ct_2", "a-b", "a+b", "Labs")
    parts = {name: nn.Linear(1, 2) for name in names}
    assert ByModality(parts).state_dict().keys() == nn.ModuleDict(parts).state_dict().keys()


@pytest.mark.parametrize("fusion", ["mcat", "motcat", "survpath"])
def test_no_modality_is_overwritten_by_the_tokens_that_are_learned(fusion):
    module = shelf.load("fusion", fusion)
    given = {"learned": tokens("a")["a"], "slide": tokens("a")["a"]}
    built = module.build(module.Config(), dims={"learned": 1, "slide": 1}, dim_out=4, bags=frozenset({"slide"})).eval()
    other = given | {"learned": Tokens(values=given["learned"].values + 1, keep=given["learned"].keep)}
    assert not torch.allclose(built(given), built(other))
    assert {f"{asks}->slide" for asks in ("learned", LEARNED)} <= built.attention(given).keys()
    assert list(built.attention_path(given).spans) == ["learned", "slide"]
