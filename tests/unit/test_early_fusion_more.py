"""Joint and supervised early fusions against what was planted, and against the library that has them for complete blocks."""

import numpy as np
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.fusion import cca, factors, pls
from oncoweave.nn.block_columns import principal_axes
from oncoweave.train.linear_learner import left_out_columns


def _planted(rng, n=300, widths=(12, 20, 16), absent=0.3):
    """One factor behind all blocks and one behind each; blocks but the first are absent at random."""
    z = rng.normal(size=(n, 1 + len(widths)))
    blocks = {}
    for j, width in enumerate(widths):
        loadings = rng.normal(size=(2, width))
        block = z[:, [0, 1 + j]] @ loadings + rng.normal(size=(n, width))
        block[(rng.random(n) < absent) & (j > 0)] = np.nan
        blocks["abc"[j]] = block
    return z, blocks


def _correlation(x, y):
    return np.abs(np.corrcoef(x, y)[0, 1])


def test_factors_find_the_shared_and_the_private_ones_with_blocks_absent(rng):
    z, blocks = _planted(rng)
    fitted = factors.fit(blocks, factors.Config())
    output, explained = fitted.transform(blocks), fitted.explained
    shared = [k for k in range(output.shape[1]) if (explained[:, k] > 0.05).all()]
    assert len(shared) == 1
    assert _correlation(output[:, shared[0]], z[:, 0]) > 0.9
    for j, name in enumerate("abc"):
        has = ~np.isnan(blocks[name]).all(axis=1)
        others = np.delete(explained, j, axis=0).max(axis=0)
        own = np.argmax(explained[j] - others)
        assert others[own] < 0.01
        assert _correlation(output[has, own], z[has, 1 + j]) > 0.75
    # who lacks every block that tells of a factor stands at its mean
    only_a = {"a": blocks["a"][:1], "b": np.full((1, 20), np.nan), "c": np.full((1, 16), np.nan)}
    of_c = np.argmax(explained[2] - explained[:2].max(axis=0))
    assert abs(fitted.transform(only_a)[0, of_c]) < 0.2


def test_factors_of_more_columns_than_patients_are_found_and_switched_off_where_there_are_no_more(rng):
    z, blocks = _planted(rng, n=60, widths=(200, 150), absent=0.2)
    fitted = factors.fit(blocks, factors.Config(max_factors=8))
    assert fitted.blocks["a"].projection.shape == (200, 3)
    best = [max(_correlation(column, factor) for column in fitted.transform(blocks).T) for factor in z.T]
    assert min(best) > 0.8


def test_two_complete_blocks_without_shrinkage_are_plain_cca(rng):
    from sklearn.cross_decomposition import CCA

    _, blocks = _planted(rng, widths=(4, 5), absent=0.0)
    plain = CCA(n_components=2, max_iter=5000, tol=1e-12).fit(blocks["a"], blocks["b"])
    x, y = plain.transform(blocks["a"], blocks["b"])
    output = cca.fit(blocks, cca.Config(components=2, shrinkage=0.0, max_axes=5))
    # 95 % of the variance is all of four or five columns here, or their correlations would differ
    assert output.blocks["a"].axes.shape == (4, 2)
    ours = output.transform(blocks)
    for k in range(2):
        assert _correlation(ours[:, k], x[:, k]) > 0.95
        assert _correlation(ours[:, 2 + k], y[:, k]) > 0.95
    np.testing.assert_allclose(output.agreement[0] - 1, np.corrcoef(x[:, 0], y[:, 0])[0, 1], atol=0.02)


def test_variates_find_what_blocks_share_with_blocks_absent_and_one_block_alone_gives_its_components(rng):
    z, blocks = _planted(rng)
    fitted = cca.fit(blocks, cca.Config(components=3))
    output = fitted.transform(blocks)
    for name in "abc":
        has = ~np.isnan(blocks[name]).all(axis=1)
        first = output[:, fitted.names.index(f"{name} variate 1")]
        assert _correlation(first[has], z[has, 0]) > 0.85
    alone = cca.fit({"a": blocks["a"]}, cca.Config(components=2)).transform({"a": blocks["a"]})
    standard = (blocks["a"] - blocks["a"].mean(axis=0)) / blocks["a"].std(axis=0)
    axes, _ = principal_axes(standard)
    assert _correlation(alone[:, 0], standard @ axes[:, 0]) > 0.999
    assert _correlation(alone[:, 1], standard @ axes[:, 1]) > 0.999


def _target(kind, values, classes=()):
    columns = {"survival": ("time", "event"), "multilabel": ("a", "b")}.get(kind, ("y",))
    unit = "months" if kind == "survival" else None
    endpoint = Endpoint(name="y", kind=kind, columns=columns, classes=classes, time_unit=unit)
    return Target(endpoint=endpoint, values=np.asarray(values, dtype=float))


def test_components_of_one_block_are_those_of_the_library(rng):
    from sklearn.cross_decomposition import PLSRegression

    x = rng.normal(size=(80, 6))
    y = x @ rng.normal(size=6) + rng.normal(size=80)
    ours = pls.fit({"a": x}, pls.Config(components=3), _target("regression", y)).transform({"a": x})
    theirs = PLSRegression(n_components=3).fit(x, y).transform(x)
    for k in range(3):
        assert _correlation(ours[:, k], theirs[:, k]) == pytest.approx(1.0, abs=1e-6)
    assert (ours.var(axis=0).sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["survival", "binary", "multiclass", "multilabel", "ordinal"])
def test_components_tell_of_every_kind_of_outcome_and_skip_the_unknown(kind, rng):
    truth = rng.normal(size=200)
    x = rng.normal(size=(200, 10))
    x[:, 3] += 2 * truth
    classes = ("low", "middle", "high") if kind in ("multiclass", "ordinal") else ()
    values = {
        "survival": np.stack([rng.exponential(np.exp(-truth)), rng.random(200) < 0.7], axis=1),
        "binary": truth > 0,
        "multilabel": np.stack([truth > 0, truth > 1], axis=1),
    }.get(kind, np.digitize(truth, [-0.5, 0.5]))
    values = np.asarray(values, dtype=float)
    values[::9] = np.nan
    fitted = pls.fit({"a": x}, pls.Config(components=1), _target(kind, values, classes))
    assert np.corrcoef(fitted.transform({"a": x})[:, 0], truth)[0, 1] > 0.75  # and it points to more of it


@pytest.mark.parametrize("seed", range(6))
def test_columns_of_left_out_rows_point_where_those_of_all_rows_do(seed):
    """The middle class differs from both others alike: no rule for one fit alone says which way its axis points."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, 150)
    blocks = {"a": rng.normal(size=(150, 10)), "b": rng.normal(size=(150, 4))}
    blocks["a"][:, 0] += 2 * (classes == 1)
    blocks["b"][:, 1] += 2 * (classes == 1)
    target, inner = _target("multiclass", classes, ("low", "middle", "high")), np.arange(150) % 5

    def fuse(some, told):
        return pls.fit(some, pls.Config(components=2), told)

    fused = fuse(blocks, target)
    whole, columns = fused.transform(blocks), left_out_columns(fuse, blocks, target, inner, like=fused)
    for k in range(5):
        for j in (0, 2):  # the first of each block
            assert np.corrcoef(columns[inner == k, j], whole[inner == k, j])[0, 1] > 0.5


def test_a_block_that_does_not_vary_gives_a_column_of_zeros(rng):
    blocks = {"a": np.ones((20, 3)), "b": rng.normal(size=(20, 2))}
    output = pls.fit(blocks, pls.Config(), _target("binary", rng.random(20) < 0.5)).transform(blocks)
    np.testing.assert_array_equal(output[:, 0], 0.0)


@pytest.mark.parametrize("hospitals", [2, 3])
def test_columns_of_left_out_hospitals_are_in_the_units_of_all(rng, hospitals):
    """Centred and scaled on the other hospitals only, what lies between hospitals would count twice."""
    inner = np.repeat(np.arange(hospitals), 100)
    x = rng.normal(size=(len(inner), 4)) * 0.3
    x[:, 0] += np.linspace(-1.5, 1.5, hospitals)[inner]
    block = np.where(rng.random((len(inner), 1)) < 0.2, np.nan, x)
    target = _target("regression", x[:, 0])

    def fuse(some, told):
        return pls.fit(some, pls.Config(components=1), told)

    fused = fuse({"a": block, "b": x[:, 1:]}, target)
    columns = left_out_columns(fuse, {"a": block, "b": x[:, 1:]}, target, inner, like=fused)[:, 0]
    whole = fused.transform({"a": block, "b": x[:, 1:]})[:, 0]
    has = ~np.isnan(block[:, 0])
    assert (columns[~has] == 0).all()
    assert np.polyfit(whole[has], columns[has], 1)[0] == pytest.approx(1.0, abs=0.1)


def test_few_common_patients_cannot_agree_more_than_many(rng):
    """Noise that twelve patients have beside what all others share: it takes none of the leading variates."""
    shared = rng.normal(size=(300, 3))
    blocks = {name: shared @ rng.normal(size=(3, 30)) + 2 * rng.normal(size=(300, 30)) for name in ("a", "c")}
    blocks["b"] = np.where(np.arange(300)[:, None] < 12, rng.normal(size=(300, 30)), np.nan)

    def explained(some):
        found = cca.fit(some, cca.Config()).transform(some)[:, : 2 * cca.Config().components]  # those of a and c
        rest = shared - found @ np.linalg.lstsq(found, shared, rcond=None)[0]
        return 1 - (rest**2).sum() / (shared**2).sum()

    assert explained(blocks) == pytest.approx(explained({name: blocks[name] for name in ("a", "c")}), abs=0.02)
    assert cca.fit(blocks, cca.Config(shrinkage=0.0)).agreement.max() <= 3 + 1e-9
