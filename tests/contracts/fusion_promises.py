"""What some fusions promise beside the checks that all pass: a scale, views, an average, a rate of dropout."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from fusion_checks import DIM_OUT, DIMS, Batch, Build, N, draw, fill, fresh, ready, rows, same, who_has_what
from torch import nn

from oncoweave.nn.tokens import Tokens


def output_starts_at_a_sane_scale(build: Build, rng: np.random.Generator) -> None:
    """Tokens of unit variance, all present: outputs differ among patients by a standard deviation of .1 to 10, narrow or wide."""
    for dims, dim_out in ((DIMS, DIM_OUT), (dict.fromkeys(DIMS, 64), 64)):
        network = fresh(build, dims, dim_out)
        tokens = {
            m: Tokens(values=torch.tensor(rng.normal(size=(64, 1, d)), dtype=torch.float32), keep=torch.ones(64, 1).bool())
            for m, d in dims.items()
        }
        output = network(tokens)
        assert output.shape == (64, dim_out)
        spread = float(output.detach().std(dim=0).mean())
        assert 0.1 < spread < 10, f"outputs of width {dim_out} start with a standard deviation of {spread:.3g}"


def views_follow_the_mask(build: Build, rng: np.random.Generator) -> None:
    """Hybrid networks: the first view is the fused output of every patient; what is not kept is finite and has no influence."""
    network, tokens = ready(build), draw(rng, who_has_what(rng))
    views, output = network.views(tokens), network(tokens)
    assert views.outputs.shape == (*views.keep.shape, output.shape[1])
    assert len(views.weight) == views.keep.shape[1]
    assert views.keep[:, 0].all()
    assert views.outputs.isfinite().all()
    torch.testing.assert_close(views.outputs[:, 0], output, rtol=0, atol=0)
    torch.testing.assert_close(network.views(fill(tokens, float("nan"))).outputs, views.outputs, rtol=0, atol=0)
    for i in range(N):
        one = network.views(rows(tokens, [i]))
        assert torch.equal(one.keep[0], views.keep[i])
        same(one.outputs[0], views.outputs[i])


def identical_vectors_give_the_same_however_many_are_present(build: Build, rng: np.random.Generator) -> None:
    """For operators that promise an average: five modalities that say the same, by the same weights, say it as one does."""
    network = fresh(build, dict.fromkeys("abcde", 4))
    share_weights(network, 5)
    vector = torch.tensor(rng.normal(size=(1, 1, 4)), dtype=torch.float32)
    outputs = []
    for count in range(1, 6):
        keep = [torch.tensor([[j < count]]) for j in range(5)]
        outputs.append(network({m: Tokens(values=vector, keep=k) for m, k in zip("abcde", keep, strict=True)}))
    same(torch.cat(outputs), outputs[0].expand(5, -1))


def share_weights(network: nn.Module, count: int) -> None:
    """Give all of ``count`` modalities the weights of the first, wherever a network keeps some for each of them."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.ModuleList | nn.ModuleDict) and len(module) == count:
                first, *others = module.values() if isinstance(module, nn.ModuleDict) else module
                for other in others:
                    other.load_state_dict(first.state_dict())
            for weight in module.parameters(recurse=False):
                if len(weight) == count:
                    weight.copy_(weight[:1].expand_as(weight))


def modality_dropout_drops_at_its_rate(drop: Callable[[Batch, float], Mapping[str, Tokens]], rng: np.random.Generator) -> None:
    """Of 2, 3 or 6 modalities: a patient keeps something, each is dropped as often as theory says, what stays is as it was.

    Where all k that a patient has would go, one stays at random: a modality is dropped with probability p - p^k / k.
    """
    n = 4000
    for count in (2, 3, 6):
        dims, rates = {f"m{i}": 2 for i in range(count)}, []
        tokens = draw(rng, np.ones((n, count), dtype=bool), longest=2, dims=dims)
        for chance in (0.3, 0.5, 0.7, 0.9):
            with torch.random.fork_rng():
                torch.manual_seed(6)
                dropped = drop(tokens, chance)
            present = torch.stack([t.present for t in dropped.values()], dim=1)
            assert present.any(dim=1).all(), "a patient lost everything"
            wanted = chance - chance**count / count
            rates.append(float(1 - present.float().mean()))
            for m, t in dropped.items():
                share = 1 - float(t.present.float().mean())
                error = (wanted * (1 - wanted) / n) ** 0.5
                told = f"{m} of {count}: dropped from {share:.1%} of the patients at a chance of {chance}, wanted {wanted:.1%}"
                assert abs(share - wanted) < 3 * error, told
                assert not (t.keep & ~tokens[m].keep).any()
                assert torch.equal(t.values[t.keep], tokens[m].values[t.keep]), f"{m}: what is kept was changed"
        assert rates == sorted(rates), f"of {count} modalities, a higher chance drops less: {rates}"
