"""The shapes written in signatures are really checked while the tests run."""

import pytest
import torch

from oncoweave.nn.tokens import Tokens


def test_a_mask_of_numbers_is_refused_by_its_annotation():
    with pytest.raises(Exception, match="keep"):
        Tokens(values=torch.zeros(2, 3, 4), keep=torch.ones(2, 3))
