"""The way of attention through every fusion that has any: sums, masks, patients alone, and closed forms of one layer."""

import inspect

import pytest
import torch
from torch import nn

from oncoweave.core import shelf
from oncoweave.explain.attention import FOLLOWED
from oncoweave.explain.rollout import last_block, roll_out, to_modalities
from oncoweave.nn.attention_path import AttentionPath
from oncoweave.nn.guided import SetTransformer
from oncoweave.nn.tokens import Tokens

DIMS = {"rna": 3, "slide": 4, "clinical": 2}
SIZES = {"rna": 3, "slide": 6, "clinical": 1}
PRESENT = [("rna", "slide", "clinical"), ("slide",), ("rna", "clinical"), ("clinical",)]
BAGS = frozenset({"slide"})


def built(name: str, *, dims=DIMS, bags=BAGS, **settings):
    module = shelf.load("fusion", name)
    given = {"bags": bags} if "bags" in inspect.signature(module.build).parameters else {}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return module.build(module.Config(**settings), dims=dict(dims), dim_out=8, **given).eval()


def drawn() -> dict[str, Tokens]:
    """Four patients, who have what :data:`PRESENT` says; every second tile of the first is masked; NaN under every mask."""
    generator, tokens = torch.Generator().manual_seed(0), {}
    for name, dim in DIMS.items():
        keep = torch.tensor([name in names for names in PRESENT])[:, None].expand(-1, SIZES[name]).clone()
        if name == "slide":
            keep[0, ::2] = False
        values = torch.randn(len(PRESENT), SIZES[name], dim, generator=generator)
        tokens[name] = Tokens(values=values.where(keep.unsqueeze(-1), torch.nan), keep=keep)
    return tokens


@torch.no_grad()
def followed(network, tokens: dict[str, Tokens]) -> tuple[AttentionPath, dict[str, torch.Tensor]]:
    path = network.attention_path(tokens)
    cut = to_modalities(path, roll_out(path, path.readout))
    return path, {name: part[:, -tokens[name].keep.shape[1] :] for name, part in cut.items()}


def test_what_can_be_followed_is_all_that_says_so():
    can = []
    for name in shelf.names("fusion"):
        if "attention_path" in inspect.getsource(shelf.load("fusion", name)) or name in ("mcat", "motcat"):
            can.append(name)
    assert tuple(can) == FOLLOWED


@pytest.mark.parametrize("name", FOLLOWED)
def test_rollout_sums_to_one_over_kept_tokens_and_a_masked_one_gets_none(name):
    network, tokens = built(name), drawn()
    path, received = followed(network, tokens)
    summary = name == "bottleneck"  # whose modalities have a summary token, which is not the patient's
    torch.testing.assert_close(path.readout.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(roll_out(path, path.readout).sum(dim=1), torch.ones(4))
    total = torch.stack([part.sum(dim=1) for part in received.values()]).sum(dim=0)
    assert (total < 1).all() if summary else torch.allclose(total, torch.ones(4), atol=1e-6)
    for modality, part in received.items():
        assert (part[~tokens[modality].keep] == 0).all()
        assert (part[tokens[modality].keep] > 0).all()
    if path.last_alone:
        torch.testing.assert_close(last_block(path, path.readout).sum(dim=1), torch.ones(4))


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_patient_alone_is_followed_as_in_the_batch(name):
    network, tokens = built(name), drawn()
    _, together = followed(network, tokens)
    for row in range(4):
        _, alone = followed(network, {m: t.take(torch.tensor([row])) for m, t in tokens.items()})
        for modality, part in alone.items():
            torch.testing.assert_close(part[0], together[modality][row], atol=1e-6, rtol=1e-5)


def test_one_layer_of_full_attention_is_its_attention_with_the_residual():
    network, tokens = built("mmp", depth=1, dropout=0.0), drawn()
    path, received = followed(network, tokens)
    ((part,),) = path.steps
    wanted = (path.readout + torch.einsum("bq,bqk->bk", path.readout, part.weights)) / 2
    torch.testing.assert_close(torch.cat(list(received.values()), dim=1), wanted)
    for a, b in [(a, b) for a in DIMS for b in DIMS]:
        torch.testing.assert_close(part.weights[:, path.spans[a], path.spans[b]], network.attention(tokens)[f"{a}->{b}"].mean(1))


def test_one_layer_over_vectors_is_the_summarys_attention_spread_over_each_mean():
    network, tokens = built("modality_transformer", depth=1), drawn()
    _, received = followed(network, tokens)
    summary = network.attention(tokens)["0:tokens->tokens"].mean(dim=1)[:, 0, 1:]
    for index, name in enumerate(DIMS):
        keep = tokens[name].keep.float()
        spread = keep / keep.sum(dim=1, keepdim=True).clamp(min=1)
        torch.testing.assert_close(received[name], (summary / summary.sum(dim=1, keepdim=True))[:, index : index + 1] * spread)


def test_one_round_of_latents_over_one_modality_is_what_they_read():
    network = built("perceiver", dims={"rna": 3}, bags=frozenset(), depth=1)
    tokens = {"rna": drawn()["rna"].take(torch.tensor([0, 2]))}
    path, received = followed(network, tokens)
    among, reading = path.steps[1][0].weights, network.attention(tokens)["latents->rna"].mean(dim=1)
    latents = (1 + among.sum(dim=1)) / 2 / 16
    torch.testing.assert_close(received["rna"], torch.einsum("bq,bqk->bk", latents, reading))
    assert roll_out(path, path.readout)[:, :3].sum(dim=1).tolist() == pytest.approx([0.5, 0.5])


def test_rounds_leave_the_latents_of_a_patient_without_the_modality_as_they_are():
    network = built("perceiver", depth=1)
    path, received = followed(network, drawn())
    own = roll_out(path, path.readout)[:, sum(SIZES.values()) :].sum(dim=1)
    assert own.tolist() == pytest.approx([1 / 8, 1 / 2, 1 / 4, 1 / 2])  # half of them is carried past each reading
    torch.testing.assert_close(
        received["rna"][2].sum(), torch.tensor(1 / 3)
    )  # read first, halved by clinical, which is read last


@pytest.mark.parametrize("name", ["mcat", "motcat"])
def test_without_set_transformers_half_stays_with_who_asks_and_half_is_what_they_read(name):
    network, tokens = built(name, depth=1), drawn()
    for part in network.modules():
        if isinstance(part, SetTransformer):
            part.blocks = nn.ModuleList()
    path, _ = followed(network, tokens)
    raw = roll_out(path, path.readout)
    asking = 3 + 1 + 4  # genes, clinical, learned
    assert raw[:, :asking].sum(dim=1).tolist() == pytest.approx([0.5, 0.5, 1.0, 1.0])
    reading = path.steps[0][0].weights
    wanted = torch.einsum("bq,bqk->bk", path.readout[:, asking : 2 * asking], reading)
    torch.testing.assert_close(raw[:, path.spans["slide"]], wanted)
    torch.testing.assert_close(reading[:, :3], network.attention(tokens)["rna->slide"].mean(dim=1))


def test_tiles_of_survpath_reach_each_other_by_the_few_alone():
    network, tokens = built("survpath", depth=1), drawn()
    path, _ = followed(network, tokens)
    few, many = path.steps[0]
    count = len(few.queries)
    dense = torch.zeros(4, path.readout.shape[1], path.readout.shape[1])
    dense[:, :count], dense[:, count:, :count] = few.weights, many.weights
    wanted = (path.readout + torch.einsum("bq,bqk->bk", path.readout, dense)) / 2
    torch.testing.assert_close(roll_out(path, path.readout), wanted)
    maps = network.attention(tokens)
    torch.testing.assert_close(dense[:, path.spans["slide"], path.spans["rna"]], maps["slide->rna"].mean(dim=1))


def test_streams_without_bottlenecks_share_alike_and_with_them_exchange():
    apart, tokens = built("bottleneck"), drawn()
    apart.bottlenecks = nn.Parameter(apart.bottlenecks[:0].detach())
    path, _ = followed(apart, tokens)
    shares = torch.stack([part.sum(dim=1) for part in to_modalities(path, roll_out(path, path.readout)).values()], dim=1)
    has = torch.stack([t.present for t in tokens.values()], dim=1).float()
    torch.testing.assert_close(shares, has / has.sum(dim=1, keepdim=True))
    path, _ = followed(built("bottleneck"), tokens)
    start = torch.zeros_like(path.readout)
    start[:, path.spans["rna"].start] = 1.0
    other = roll_out(path, start)[:, path.spans["slide"]].sum(dim=1)
    assert other[0] > 0
    assert other[2] == 0  # has no slide
