"""Tokens: padding, cleaning and the refusals."""

import numpy as np
import pytest
import torch

from oncoweave.core import shelf
from oncoweave.model import ModalityShape, Model, ModelConfig
from oncoweave.nn.text import token_ids
from oncoweave.nn.tokens import Tokens, from_table, pad, require_count, require_shape


def test_pad_keeps_ragged_rows_and_absent_patients_apart():
    tokens = pad([torch.tensor([[1.0], [2.0]]), None, torch.tensor([[3.0]])], 1)
    assert tokens.keep.tolist() == [[True, True], [False, False], [True, False]]
    assert tokens.clean.squeeze(-1).tolist() == [[1.0, 2.0], [0.0, 0.0], [3.0, 0.0]]
    assert tokens.present.tolist() == [True, False, True]


def test_a_batch_of_absent_patients_has_one_column():
    assert pad([None, None], 3).values.shape == (2, 1, 3)


def test_pad_refuses_another_width():
    with pytest.raises(ValueError, match="row 1 has tokens of width 2, wanted 3"):
        pad([torch.ones(1, 3), torch.ones(4, 2)], 3)


def test_clean_stops_nan_in_both_directions():
    values = torch.tensor([[[torch.nan], [2.0]]], requires_grad=True)
    Tokens(values=values, keep=torch.tensor([[False, True]])).clean.sum().backward()
    assert values.grad.squeeze().tolist() == [0.0, 1.0]


def test_values_and_keep_of_different_sizes_are_refused():
    with pytest.raises((ValueError, TypeError)):
        Tokens(values=torch.ones(2, 3, 1), keep=torch.ones(2, 4, dtype=torch.bool))


def test_table_to_tokens_keeps_what_was_measured():
    tokens = from_table(np.array([[1.5, np.nan], [np.nan, np.nan]]))
    assert tokens.keep.tolist() == [[True, False], [False, False]]
    assert tokens.values.squeeze(-1).tolist() == [[1.5, 0.0], [0.0, 0.0]]


def test_shapes_that_differ_are_refused():
    tokens = pad([torch.ones(2, 3)], 3)
    require_shape(tokens, dim=3, num_tokens=2)
    with pytest.raises(ValueError, match="wanted any number of tokens of width 4 a patient, got 2 of width 3"):
        require_shape(tokens, dim=4)
    with pytest.raises(ValueError, match="wanted 5 tokens of width 3 a patient, got 2 of width 3"):
        require_shape(tokens, dim=3, num_tokens=5)
    with pytest.raises(ValueError, match="encoder 'snn' needs the same number of tokens"):
        require_count(None, "snn")


def test_token_ids_are_whole_numbers_of_the_vocabulary():
    def ids(*row: float) -> Tokens:
        return pad([torch.tensor(row, dtype=torch.float32).unsqueeze(-1), None], 1)

    assert token_ids(ids(0, 9), size=10).tolist() == [[0, 9], [0, 0]]
    for row, wrong in (((1.0, 10.0), "10.0"), ((0.5,), "0.5"), ((-1.0,), "-1.0")):
        with pytest.raises(ValueError, match=f"from 0 to 9, got {wrong}"):
            token_ids(ids(*row), size=10)


@pytest.mark.parametrize("fusion", ["mean", "mdt", "low_rank"])
def test_double_precision_is_named_where_weights_are_single(fusion):
    module = shelf.load("fusion", fusion)
    bags = {"bags": frozenset()} if module.READS == "tokens" else {}
    network = module.build(module.Config(), dims={"rna": 4}, dim_out=8, **bags)
    tokens = {"rna": Tokens(values=torch.ones(2, 3, 4, dtype=torch.float64), keep=torch.ones(2, 3, dtype=torch.bool))}
    with pytest.raises(ValueError, match=r"modality 'rna': wanted tokens of torch.float32.* got torch.float64"):
        network(tokens)
    assert network.double()(tokens).dtype == torch.float64


def test_a_model_names_double_precision_before_it_encodes():
    shape = ModalityShape(encoder="linear", dim=1, num_tokens=3)
    model = Model(ModelConfig(modalities={"labs": shape}, fusion="mean", num_outputs=1, width=8))
    tokens = {"labs": Tokens(values=torch.ones(2, 3, 1, dtype=torch.float64), keep=torch.ones(2, 3, dtype=torch.bool))}
    with pytest.raises(ValueError, match=r"modality 'labs': wanted tokens of torch.float32"):
        model(tokens)
