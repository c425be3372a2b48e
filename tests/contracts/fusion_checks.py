"""What every fusion network must do, as plain functions, so that planted faults can be shown to fail them too.

A check takes ``build(dims, dim_out)``, which makes a freshly initialised network, and a generator; it raises AssertionError.
"""

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from oncoweave.nn.tokens import Tokens

DIMS = {"clinical": 5, "slide.he": 8, "rna": 3}
BAGS = frozenset({"slide.he"})
SUBSETS = [set(s) for k in range(1, len(DIMS) + 1) for s in itertools.combinations(DIMS, k)]
DIM_OUT = 8
GARBAGE = (1e6, float("nan"), float("inf"), float("-inf"))
N = 12

Build = Callable[[Mapping[str, int], int], nn.Module]
Batch = dict[str, Tokens]


# ---- what is fed


def fresh(build: Build, dims: Mapping[str, int] = DIMS, dim_out: int = DIM_OUT, *, seed: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(dict(dims), dim_out).eval()


def ready(build: Build) -> nn.Module:
    """A network in evaluation whose parameters are all moved, so that a start at zero hides nothing."""
    network = fresh(build)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def who_has_what(rng: np.random.Generator, n: int = N) -> np.ndarray:
    """Every pattern of the non-empty subsets, then at random; ``[n, modality]``."""
    rows = [[m in s for m in DIMS] for s in SUBSETS]
    rows += [row if any(row) else [True] * len(DIMS) for row in (rng.random((n - len(rows), len(DIMS))) < 0.7).tolist()]
    return np.array(rows[:n])


def draw(rng: np.random.Generator, who: np.ndarray, *, longest: int = 5, dims: Mapping[str, int] = DIMS) -> Batch:
    """Ragged rows with holes: what is kept lies anywhere, patients differ in how much; who lacks a modality keeps nothing."""
    result = {}
    for j, (m, d) in enumerate(dims.items()):
        keep = rng.random((len(who), longest)) < 0.6
        keep[np.arange(len(who)), rng.integers(0, longest, len(who))] = True
        values = torch.tensor(rng.normal(size=(len(who), longest, d)), dtype=torch.float32)
        result[m] = Tokens(values=values, keep=torch.from_numpy(keep & who[:, j : j + 1]))
    return result


def rows(tokens: Batch, index) -> Batch:
    return {m: t.take(torch.as_tensor(index)) for m, t in tokens.items()}


def fill(tokens: Batch, value: float, dtype: torch.dtype = torch.float32) -> Batch:
    """Put a value wherever nothing is kept."""
    return {
        m: Tokens(values=torch.where(t.keep.unsqueeze(-1), t.values, value).to(dtype), keep=t.keep) for m, t in tokens.items()
    }


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def training_loss(network: nn.Module, tokens: Batch) -> Tensor:
    """A loss that all that is trained takes part in: outputs or views along a fixed direction, and the network's own penalty."""
    if hasattr(network, "views"):
        views = network.views(tokens)
        outputs = torch.where(views.keep.unsqueeze(-1), views.outputs, 0.0)
        penalty = views.penalty
        weight = torch.tensor(views.weight, dtype=outputs.dtype)
    else:
        outputs, weight, penalty = network(tokens).unsqueeze(1), torch.ones(1, dtype=torch.float64), None
    probe = torch.linspace(-1.0, 1.3, outputs.shape[-1], dtype=outputs.dtype)
    loss = (((outputs - 0.3) @ probe).pow(2).sum(dim=0) * weight.to(outputs.dtype)).sum()
    if hasattr(network, "forward_with_penalty"):
        penalty = network.forward_with_penalty(tokens)[1]
    return loss if penalty is None else loss + penalty.sum()


def gradients(network: nn.Module, tokens: Batch) -> dict[str, float]:
    """Largest absolute gradient of each parameter, in double precision: what is zero in theory is then zero to 1e-12."""
    network = network.double()
    network.zero_grad()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        training_loss(network, fill(tokens, 0.0, torch.float64)).backward()
    return {name: 0.0 if p.grad is None else float(p.grad.abs().max()) for name, p in network.named_parameters()}


# ---- what is checked


def masked_equals_deleted(build: Build, rng: np.random.Generator) -> None:
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    output = network(tokens)
    for row in range(N):
        cut = {}
        for m, t in tokens.items():
            kept = t.keep[row].nonzero()[:, 0]
            # a table's tokens stay in their places: only what pads behind the last is deleted
            index = kept if m in BAGS else torch.arange(int(kept.max()) + 1 if len(kept) else 0)
            index = index if len(index) else torch.tensor([0])
            cut[m] = Tokens(values=t.clean[row : row + 1, index], keep=t.keep[row : row + 1, index])
        same(network(cut)[0], output[row])


def garbage_under_the_mask_has_no_influence(build: Build, rng: np.random.Generator) -> None:
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    clean = network(fill(tokens, 0.0))
    for value in GARBAGE:
        spoiled = fill(tokens, value)
        for t in spoiled.values():
            t.values.requires_grad_()
        torch.testing.assert_close(network(spoiled), clean, rtol=0, atol=0)
        network.zero_grad()
        training_loss(network, spoiled).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters()), "a weight's gradient is not finite"
        for m, t in spoiled.items():
            assert (t.values.grad[~t.keep] == 0).all(), f"{m}: a gradient flows into what is masked"
            assert t.values.grad.isfinite().all(), f"{m}: the gradient of a token is not finite"


def every_subset_is_defined_and_differs(build: Build, rng: np.random.Generator) -> None:
    network, full = ready(build), draw(rng, np.ones((1, len(DIMS)), dtype=bool))
    seen = []
    for subset in SUBSETS:
        some = {m: Tokens(values=t.values, keep=t.keep & (m in subset)) for m, t in full.items()}
        seen.append(network(some)[0].detach())
    outputs = torch.stack(seen)
    assert outputs.isfinite().all()
    distances = torch.cdist(outputs, outputs) + torch.eye(len(SUBSETS))
    assert distances.min() > 1e-4, "two subsets of modalities give the same answer"


def built_for_any_subset_it_is_defined(build: Build, rng: np.random.Generator) -> None:
    """A study may leave modalities out: one alone, only bags, only tables are networks too, and tell patients apart."""
    tokens = draw(rng, np.ones((4, len(DIMS)), dtype=bool))
    for subset in SUBSETS:
        network = fresh(build, {m: d for m, d in DIMS.items() if m in subset})
        output = network({m: t for m, t in tokens.items() if m in subset})
        assert output.isfinite().all()
        assert torch.cdist(output, output).add(torch.eye(4)).min() > 1e-5, f"{sorted(subset)}: two patients get the same answer"


def mixed_availability_equals_one_by_one(build: Build, rng: np.random.Generator) -> None:
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    output = network(tokens)
    same(torch.cat([network(rows(tokens, [i])) for i in range(N)]), output)


def length_of_padding_does_not_matter(build: Build, rng: np.random.Generator) -> None:
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    longer = {
        m: Tokens(
            values=torch.cat([t.values, torch.full((N, extra, DIMS[m]), 7.0)], dim=1),
            keep=torch.cat([t.keep, torch.zeros(N, extra, dtype=torch.bool)], dim=1),
        )
        for extra, (m, t) in zip((2, 9, 4), tokens.items(), strict=True)
    }
    same(network(longer), network(tokens))


def order_of_patients_is_followed(build: Build, rng: np.random.Generator) -> None:
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    order = rng.permutation(N)
    same(network(rows(tokens, order)), network(tokens)[order])


def order_inside_a_bag_does_not_matter(build: Build, rng: np.random.Generator) -> None:
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    order = torch.from_numpy(rng.permutation(5))
    shuffled = {m: Tokens(values=t.values[:, order], keep=t.keep[:, order]) if m in BAGS else t for m, t in tokens.items()}
    same(network(shuffled), network(tokens))


def order_of_the_mapping_does_not_matter(build: Build, rng: np.random.Generator) -> None:
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    same(network(dict(reversed(tokens.items()))), network(tokens))


def inputs_are_not_changed(build: Build, rng: np.random.Generator) -> None:
    network, given = ready(build), draw(rng, who_has_what(rng))
    before = {m: (t.values.clone(), t.keep.clone()) for m, t in given.items()}
    network(given)
    network.train()
    training_loss(network, given)
    assert list(given) == list(before)
    assert all(torch.equal(t.values, before[m][0]) and torch.equal(t.keep, before[m][1]) for m, t in given.items())


def empty_patients_wrong_widths_and_names_are_refused(build: Build, rng: np.random.Generator) -> None:
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    nobody = {m: Tokens(values=t.values, keep=t.keep.clone()) for m, t in tokens.items()}
    for t in nobody.values():
        t.keep[4] = False
    refuses(network, nobody, "row 4 of the batch has no modality")
    for m, d in DIMS.items():
        for width in (1, d - 1, d + 1):
            wide = Tokens(values=torch.ones(N, 5, width), keep=tokens[m].keep)
            refuses(network, tokens | {m: wide}, f"modality '{m}': wanted tokens of width {d}, got {width}")
    refuses(network, {m: t for m, t in tokens.items() if m != "slide.he"}, r"got .'clinical', 'rna'.")
    refuses(network, tokens | {"petscan": tokens["rna"]}, "'petscan'")
    refuses(network, tokens | {"rna": tokens["rna"].take(torch.arange(3))}, "one batch size")


def refuses(network: nn.Module, tokens: Batch, match: str) -> None:
    try:
        with pytest.raises(ValueError, match=match):
            network(tokens)
    except pytest.fail.Exception:  # pytest's own failure is no AssertionError
        msg = f"tokens were not refused with {match!r}"
        raise AssertionError(msg) from None


def bfloat16_is_finite(build: Build, rng: np.random.Generator) -> None:
    network, tokens = ready(build).bfloat16(), draw(rng, who_has_what(rng))
    half = fill(tokens, 1e6, torch.bfloat16)
    output = network(half)
    assert (output.dtype, bool(output.isfinite().all())) == (torch.bfloat16, True)
    training_loss(network, half).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def every_parameter_gets_a_gradient(build: Build, rng: np.random.Generator) -> None:
    largest = gradients(ready(build).train(), draw(rng, who_has_what(rng, 24)))
    assert [name for name, value in largest.items() if value < 1e-10] == []


def weights_of_an_absent_modality_get_no_gradient(build: Build, rng: np.random.Generator) -> None:
    """What a patient lacks teaches nothing: weights that only one modality moves when alone stay when it alone is absent."""
    network = ready(build)
    alone = {}
    for m in DIMS:
        largest = gradients(network, draw(rng, np.array([[name == m for name in DIMS]] * 6)))
        alone[m] = {name for name, value in largest.items() if value > 1e-10}
    for absent in DIMS:
        own = {m: alone[m] - set().union(*(alone[other] for other in DIMS if other != m)) for m in DIMS}
        assert own[absent], f"no weight belongs to {absent!r} alone"
        largest = gradients(network, draw(rng, np.array([[name != absent for name in DIMS]] * 6)))
        assert [name for name in own[absent] if largest[name] != 0] == []
        assert [name for m in DIMS if m != absent for name in own[m] if largest[name] == 0] == []


def saved_and_loaded_is_the_same(build: Build, rng: np.random.Generator) -> None:
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    again = fresh(build, seed=99)
    again.load_state_dict(load(save({k: v.clone() for k, v in network.state_dict().items()})))
    torch.testing.assert_close(again(tokens), network(tokens), rtol=0, atol=0)


def evaluation_is_deterministic(build: Build, rng: np.random.Generator) -> None:
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    first = network(tokens)
    with torch.random.fork_rng():
        torch.manual_seed(12345)
        torch.testing.assert_close(network(tokens), first, rtol=0, atol=0)


def talking_changes_nothing(build: Build, rng: np.random.Generator) -> None:
    """What a flag lets a network say must not change what it computes, for batches that lack a modality altogether too."""
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    if not any(hasattr(module, "verbose") for module in network.modules()):
        pytest.skip("nothing in it talks")
    batches = [tokens, *(rows(tokens, [i]) for i in range(len(SUBSETS)))]
    first = [network(batch) for batch in batches]
    for module in network.modules():
        if hasattr(module, "verbose"):
            module.verbose = not module.verbose
    for batch, output in zip(batches, first, strict=True):
        torch.testing.assert_close(network(batch), output, rtol=0, atol=0)


def penalties_follow_the_mask(build: Build, rng: np.random.Generator) -> None:
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    if not hasattr(network, "forward_with_penalty"):
        pytest.skip("it has no loss of its own")
    output, penalty = network.forward_with_penalty(tokens)
    torch.testing.assert_close(output, network(tokens), rtol=0, atol=0)
    assert penalty.shape == (N,)
    torch.testing.assert_close(network.forward_with_penalty(fill(tokens, float("nan")))[1], penalty, rtol=0, atol=0)
    same(torch.cat([network.forward_with_penalty(rows(tokens, [i]))[1] for i in range(N)]), penalty)


def attention_follows_the_mask(build: Build, rng: np.random.Generator) -> None:
    network, tokens = attentive(build), draw(rng, who_has_what(rng))
    maps = network.attention(fill(tokens, float("nan")))
    assert maps
    for name, weights in maps.items():
        _check_map(name, weights, tokens)
    whole = {}  # a softmax may reach over several modalities, each of which has a map
    for name, weights in maps.items():
        query = name.partition("->")[0]
        whole[query] = whole.get(query, 0) + weights.sum(dim=-1)
    for name, weights in maps.items():
        assert _ones(weights.sum(dim=-1)) or _ones(whole[name.partition("->")[0]]), f"{name}: weights do not sum to one"


def attentive(build: Build) -> nn.Module:
    network = ready(build)
    if not hasattr(network, "attention"):
        pytest.skip("it returns no attention")
    return network


def _ones(total: Tensor) -> bool:
    return bool(((total - 1).abs() < 1e-5).logical_or(total == 0).all())


OF_THE_NETWORK = ("summary", "latents", "(learned)")
"""Ends of a map that are no patient's: a summary, latents, learned queries."""
VECTORS = "tokens"
"""The end of a map that is a summary and then a vector a modality."""


def _check_map(name: str, weights: Tensor, tokens: Batch) -> None:
    assert weights.ndim == 4, f"{name}: wanted [batch, head, query, key], got {tuple(weights.shape)}"
    assert len(weights) == N
    for end, axis in zip(_ends(name), (2, 3), strict=True):
        if end in OF_THE_NETWORK:
            continue
        keep = _vectors_there(tokens) if end == VECTORS else tokens[end].keep
        before = weights.shape[axis] - keep.shape[1]  # a summary may stand before a modality's tokens
        assert before in (0, 1), f"{name}: {weights.shape[axis]} places along {end}, wanted {keep.shape[1]}, or one more"
        keep = torch.cat([keep.any(dim=1, keepdim=True).expand(-1, before), keep], dim=1)
        gone = ~keep[:, None, :, None] if axis == 2 else ~keep[:, None, None, :]
        assert (weights[gone.expand_as(weights)] == 0).all(), f"{name}: something masked gets weight"
    assert (weights[~_have_both(name, tokens)] == 0).all(), f"{name}: a patient who lacks one end has weights"


def attention_reaches_all_that_a_patient_has(build: Build, rng: np.random.Generator) -> None:
    """Between any two modalities that have a map; not asked where a setting says who attends to whom."""
    network, tokens = attentive(build), draw(rng, who_has_what(rng))
    for name, weights in network.attention(tokens).items():
        total = weights[_have_both(name, tokens)].flatten(start_dim=1).sum(dim=1)
        assert (total > 0).all(), f"{name}: a patient who has both ends has no weights"


def _vectors_there(tokens: Batch) -> Tensor:
    present = torch.stack([t.present for t in tokens.values()], dim=1)
    return torch.cat([torch.ones_like(present[:, :1]), present], dim=1)


def _ends(name: str) -> tuple[str, str]:
    query, _, key = name.rpartition(":")[2].partition("->")  # "2:rna->slide" is of block 2
    return query, key


def _have_both(name: str, tokens: Batch) -> Tensor:
    present = torch.ones(N, dtype=torch.bool)
    for end in _ends(name):
        if end in tokens:
            present = present & tokens[end].keep.any(dim=1)
    return present


CHECKS = (
    masked_equals_deleted,
    garbage_under_the_mask_has_no_influence,
    every_subset_is_defined_and_differs,
    built_for_any_subset_it_is_defined,
    mixed_availability_equals_one_by_one,
    length_of_padding_does_not_matter,
    order_of_patients_is_followed,
    order_inside_a_bag_does_not_matter,
    order_of_the_mapping_does_not_matter,
    inputs_are_not_changed,
    empty_patients_wrong_widths_and_names_are_refused,
    bfloat16_is_finite,
    every_parameter_gets_a_gradient,
    weights_of_an_absent_modality_get_no_gradient,
    saved_and_loaded_is_the_same,
    evaluation_is_deterministic,
    talking_changes_nothing,
    penalties_follow_the_mask,
    attention_follows_the_mask,
    attention_reaches_all_that_a_patient_has,
)
"""Every intermediate fusion and every hybrid network passes all of these."""
