"""Four faults of published multimodal networks, planted on purpose: the checks that every fusion passes fail on each of them."""

import contextlib
import dataclasses

import pytest
import torch
from fusion_checks import (
    CHECKS,
    empty_patients_wrong_widths_and_names_are_refused,
    length_of_padding_does_not_matter,
    masked_equals_deleted,
    talking_changes_nothing,
)
from fusion_promises import (
    identical_vectors_give_the_same_however_many_are_present,
    modality_dropout_drops_at_its_rate,
)
from torch import nn

from oncoweave.core import shelf
from oncoweave.model import drop_modalities
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.projections import Projections, check_tokens


def mean(dims, dim_out):
    """The healthy control."""
    module = shelf.load("fusion", "mean")
    return module.build(module.Config(), dims=dims, dim_out=dim_out)


class SkipsOnlyAloud(nn.Module):
    """HEALNet: a modality is missing when the whole batch lacks it, and is left out only where that is also announced.

    Otherwise the exception of its cross-attention is swallowed, which makes a wrong width look like a missing modality, and the
    self-attention that should have been skipped runs.
    """

    def __init__(self, dims, dim_out, *, verbose=False):
        super().__init__()
        self.verbose = verbose
        self.state = nn.Parameter(torch.randn(dim_out))
        self.cross = nn.ModuleList(nn.Linear(d, dim_out) for d in dims.values())
        self.own = nn.ModuleList(nn.Linear(dim_out, dim_out) for _ in dims)
        self.names = list(dims)

    def forward(self, tokens):
        present = torch.stack([t.present for t in tokens.values()], dim=1).any(dim=1)
        if not present.all():  # refused, so that what is caught is the width
            msg = f"row {int((~present).nonzero()[0])} of the batch has no modality"
            raise ValueError(msg)
        state = self.state.expand(len(present), -1)
        for name, cross, own in zip(self.names, self.cross, self.own, strict=True):
            missing = not tokens[name].present.any()
            if missing and self.verbose:
                continue
            with contextlib.suppress(RuntimeError, TypeError):
                state = state + cross(None if missing else masked_mean(tokens[name].values, tokens[name].keep))
            state = state + torch.tanh(own(state))
        return state


def drops_in_a_copy(tokens, chance):
    """SurvBoard: zeros are written into what indexing copied, so nothing is dropped, but all is scaled as if it had been."""
    present = torch.stack([t.present for t in tokens.values()], dim=1)
    gone = torch.rand(present.shape) < chance
    result = {}
    for m, (name, t) in enumerate(tokens.items()):
        values = t.values / (1 - chance)
        keep = t.keep.clone()
        keep[torch.arange(len(keep))][gone[:, m]] = False
        result[name] = dataclasses.replace(t, values=values, keep=keep)
    return result


class DividesWrongly(nn.Module):
    """MultiSurv: the mean is over all modalities, absent ones as zeros, and is made up for by the number missing plus one."""

    def __init__(self, dims, dim_out):
        super().__init__()
        self.projections = Projections(dims, dim_out)

    def forward(self, tokens):
        vectors, present = self.projections(tokens)
        return vectors.mean(dim=1) * (1 + (~present).sum(dim=1, keepdim=True))


class MultipliesItsMask(nn.Module):
    """SurvPath: queries, keys and values of what is masked are set to zero, and a zero key still takes its share of a softmax."""

    def __init__(self, dims, dim_out):
        super().__init__()
        self.dims = dims
        self.embed = nn.ModuleList(nn.Linear(d, dim_out, bias=False) for d in dims.values())
        self.mix = nn.Linear(dim_out, 3 * dim_out, bias=False)

    def forward(self, tokens):
        check_tokens(tokens, self.dims)
        keep = torch.cat([tokens[name].keep for name in self.dims], dim=1)
        x = torch.cat([embed(tokens[name].clean) for name, embed in zip(self.dims, self.embed, strict=True)], dim=1)
        query, key, value = (self.mix(x) * keep.unsqueeze(-1)).chunk(3, dim=-1)
        return masked_mean(torch.softmax(query @ key.transpose(1, 2), dim=-1) @ value, keep)


FAULTS = {
    SkipsOnlyAloud: {
        "empty_patients_wrong_widths_and_names_are_refused",
        "masked_equals_deleted",
        "mixed_availability_equals_one_by_one",
        "talking_changes_nothing",
    },
    DividesWrongly: set(),  # only the promise of an average is broken: see below
    MultipliesItsMask: {"length_of_padding_does_not_matter", "masked_equals_deleted"},
    mean: set(),
}


@pytest.mark.parametrize(("build", "caught"), FAULTS.items(), ids=[build.__name__ for build in FAULTS])
def test_which_checks_catch_which_fault(build, caught, rng):
    failed = set()
    for check in CHECKS:
        try:
            check(build, rng)
        except AssertionError:
            failed.add(check.__name__)
        except pytest.skip.Exception:
            continue  # the network has nothing of what is asked
    assert failed == caught


def test_a_skip_that_needs_a_flag_is_caught(rng):
    with pytest.raises(AssertionError, match="not equal"):
        talking_changes_nothing(SkipsOnlyAloud, rng)


def test_a_wrong_width_taken_for_a_missing_modality_is_caught(rng):
    with pytest.raises(AssertionError, match="not refused with \"modality 'clinical': wanted tokens of width 5, got 1\""):
        empty_patients_wrong_widths_and_names_are_refused(SkipsOnlyAloud, rng)


def test_dropout_that_drops_nothing_is_caught(rng):
    with pytest.raises(AssertionError, match=r"dropped from 0.0% of the patients at a chance of 0.3, wanted 25.5%"):
        modality_dropout_drops_at_its_rate(drops_in_a_copy, rng)


def test_dropout_that_takes_everything_back_where_all_would_go_is_caught(rng):
    def takes_back(tokens, chance):
        present = torch.stack([t.present for t in tokens.values()], dim=1)
        kept = present & (torch.rand(present.shape) >= chance)
        kept = torch.where(kept.any(dim=1, keepdim=True), kept, present)
        return {m: dataclasses.replace(t, keep=t.keep & kept[:, [i]]) for i, (m, t) in enumerate(tokens.items())}

    with pytest.raises(AssertionError, match=r"m0 of 2: dropped from 2.\..% of the patients at a chance of 0.3, wanted 25.5%"):
        modality_dropout_drops_at_its_rate(takes_back, rng)


def test_dropout_that_scales_what_it_keeps_is_caught(rng):
    def scales(tokens, chance):
        return {m: dataclasses.replace(t, values=2 * t.values) for m, t in drop_modalities(tokens, chance).items()}

    with pytest.raises(AssertionError, match="what is kept was changed"):
        modality_dropout_drops_at_its_rate(scales, rng)


def test_a_mean_that_divides_wrongly_is_caught(rng):
    with pytest.raises(AssertionError, match="not close"):
        identical_vectors_give_the_same_however_many_are_present(DividesWrongly, rng)


def test_a_mask_that_multiplies_is_caught(rng):
    for check in (masked_equals_deleted, length_of_padding_does_not_matter):
        with pytest.raises(AssertionError, match="not close"):
            check(MultipliesItsMask, rng)
