"""Gene sets as tokens: the batched products against a loop over the sets, what is not measured, and the files sets come from."""

import pytest
import torch
from torch.nn import functional as F

from oncoweave.core.errors import DataError
from oncoweave.data.gmt import REST, find_gmt, place_sets, read_gmt
from oncoweave.encoders import pathways
from oncoweave.nn.gene_sets import SetLinear
from oncoweave.nn.tokens import Tokens

GENES = tuple(f"G{i}" for i in range(30))


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def gmt(tmp_path):
    path = tmp_path / "sets.gmt"
    lines = ["TWO\tabout\tG3\tG7", "MANY\t\t" + "\t".join(GENES[5:22]), "ONE\thttp://x\tG0", "THREE\ta\tG1\tG7\tG9\tUNKNOWN"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _build(gmt, **settings):
    config = pathways.Config(gene_sets=str(gmt), **{"smallest": 1, "width": 4, "dropout": 0.0} | settings)
    return pathways.build(config, dim_in=1, num_tokens=len(GENES), dim_out=3, feature_names=GENES).double().eval()


def _measured(batch=5, share=0.8):
    return Tokens(values=torch.randn(batch, len(GENES), 1).double(), keep=torch.rand(batch, len(GENES)) < share)


def test_sets_at_once_equal_a_loop_over_them():
    sets = [torch.randperm(40)[:size].tolist() for size in (1, 2, 3, 4, 5, 8, 9, 17, 33, 40, 2)]
    layer = SetLinear(sets, num_inputs=40, width=6).double()
    with torch.no_grad():
        layer.bias.normal_()
    values = torch.randn(7, 40).double()
    start, expected = 0, []
    for s, members in enumerate(sets):
        expected.append(values[:, members] @ layer.weight[start : start + len(members)] + layer.bias[s])
        start += len(members)
    torch.testing.assert_close(layer(values), torch.stack(expected, dim=1), rtol=0, atol=1e-12)
    keep = torch.rand(7, 40) < 0.05
    assert torch.equal(layer.any_kept(keep), torch.stack([keep[:, m].any(dim=1) for m in sets], dim=1))


def test_gradients_at_once_equal_those_of_a_dense_masked_layer():
    sets = [[0, 3, 4], [1], [4, 3, 2, 5, 0]]
    layer = SetLinear(sets, num_inputs=6, width=2).double()
    values = torch.randn(5, 6).double()
    dense = torch.zeros(6, 3, 2).double()
    place = [(i, s) for s, members in enumerate(sets) for i in members]
    dense[[i for i, _ in place], [s for _, s in place]] = layer.weight.detach()
    dense.requires_grad_()
    torch.einsum("bi,isd->bsd", values, dense).square().sum().backward()
    layer(values).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, torch.stack([dense.grad[i, s] for i, s in place]), rtol=0, atol=1e-12)


def test_tokens_are_small_networks_over_the_genes_of_each_set(gmt):
    network, given = _build(gmt, rest=False), _measured()
    encoded = network(given)
    sets = place_sets(read_gmt(gmt), GENES)
    start = 0
    for s, members in enumerate(sets.values()):
        weight = network.networks.hidden.weight[start : start + len(members)]
        hidden = F.elu(given.clean[:, list(members), 0] @ weight + network.networks.hidden.bias[s])
        kept = given.keep[:, list(members)].any(dim=1)
        assert torch.equal(encoded.keep[:, s], kept)
        expected = hidden @ network.weight[s] + network.bias[s]
        torch.testing.assert_close(encoded.values[kept, s], expected[kept], rtol=0, atol=1e-12)
        start += len(members)
    assert network.names == ("TWO", "MANY", "ONE", "THREE")


def test_a_set_none_of_whose_genes_was_measured_is_no_token(gmt):
    network, given = _build(gmt), _measured(share=2.0)
    given.keep[0, [3, 7]] = False
    given.keep[1, 3] = False
    keep = network(given).keep
    two = network.names.index("TWO")
    assert keep[:, two].tolist() == [False, True, True, True, True]
    assert keep.sum(dim=1).tolist() == [4, 5, 5, 5, 5]


def test_masked_hidden_units_see_the_genes_of_their_set_only(gmt):
    network = _build(gmt, masked=True)
    values = torch.randn(1, len(GENES), 1).double().requires_grad_()
    hidden = network.networks(Tokens(values=values, keep=torch.ones(1, len(GENES), dtype=torch.bool)))
    sets = place_sets(read_gmt(gmt), GENES, rest=True)
    for s, members in enumerate(sets.values()):
        (slope,) = torch.autograd.grad(hidden.values[0, s].sum(), values, retain_graph=True)
        assert set(slope[0, :, 0].nonzero()[:, 0].tolist()) == set(members)


def test_masked_gives_one_token_a_patient_and_none_without_any_gene(gmt):
    given = _measured()
    given.keep[2] = False
    encoded = _build(gmt, masked=True)(given)
    assert encoded.keep[:, 0].tolist() == [True, True, False, True, True]
    assert encoded.values.shape == (5, 1, 3)


def test_columns_are_placed_by_their_gene():
    sets = {"A": ("TP53", "KRAS"), "B": ("EGFR", "TP53"), "C": ("MYC", "BRAF", "NRAS")}
    columns = ("TP53_mut", "EGFR_cnv", "TP53_cnv", "burden mut", "KRAS_mut")
    assert place_sets(sets, columns) == {"A": (0, 2, 4), "B": (1, 0, 2)}
    assert place_sets(sets, columns, rest=True) == {"A": (0, 2, 4), "B": (1, 0, 2), REST: (3,)}
    assert place_sets(sets, columns[:4], smallest=3, rest=True) == {"B": (1, 0, 2), REST: (3,)}
    with pytest.raises(DataError, match=r"none of 3 gene sets has 4 or more of the 5 columns \(4 of which are of a set"):
        place_sets(sets, columns, smallest=4)


def test_hallmarks_come_with_oncoweave():
    sets = read_gmt(find_gmt("hallmark"))
    assert len(sets) == 50
    assert "VEGFA" in sets["HALLMARK_HYPOXIA"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A\tx\tG1\n\nA\tx\tG2\n", r"sets.gmt, line 3: the gene set 'A' stands there twice"),
        ("A\tx\n", r"line 1: wanted name, description and genes separated by tabs, got 'A\\tx'"),
        ("A G1 G2\n", "line 1: wanted name, description and genes"),
        ("\n", "no gene set in it"),
        ("\tx\tG1\n", r"line 1: wanted name, description and genes"),
    ],
)
def test_files_that_are_no_gene_sets_are_refused(tmp_path, text, message):
    path = tmp_path / "sets.gmt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_gmt(path)
    with pytest.raises(DataError, match=message) as raised:
        pathways.build(pathways.Config(gene_sets=str(path)), dim_in=1, num_tokens=1, dim_out=3, feature_names=("G1",))
    assert "If they do" not in str(raised.value)


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_bytes("A\tMenière\tG1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"sets\.gmt: no text in UTF-8 \(invalid continuation byte at byte 6\)"):
        read_gmt(path)


def test_unknown_gene_sets_and_values_without_names_are_refused(gmt):
    with pytest.raises(DataError, match=r"gene sets 'halmark': neither a file nor .* \(hallmark\)"):
        find_gmt("halmark")
    with pytest.raises(ValueError, match="30 tokens of width 1 and 4 names"):
        pathways.build(pathways.Config(gene_sets=str(gmt)), dim_in=1, num_tokens=30, dim_out=3, feature_names=GENES[:4])


def test_weights_of_other_gene_sets_are_refused(gmt, tmp_path):
    other = tmp_path / "other.gmt"
    other.write_text("TWO\tx\tG3\tG7\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="size mismatch"):
        _build(gmt).load_state_dict(_build(other).state_dict(), strict=False)


def test_names_beyond_the_tokens_are_not_columns(gmt):
    """A block may have more columns than there are tokens (indicators), all named after them."""
    config = pathways.Config(gene_sets=str(gmt), smallest=1)
    network = pathways.build(config, dim_in=1, num_tokens=2, dim_out=3, feature_names=("G3", "G0", "G1"))
    assert network.names == ("TWO", "ONE")
