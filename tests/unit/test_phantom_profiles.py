"""Expression, variants and reports of phantom patients show what the truth says."""

import numpy as np
import pytest

from oncoweave.phantom import phrases
from oncoweave.phantom.biology import Config, draw_outcome, draw_truths
from oncoweave.phantom.gene_sets import DECOYS, PLANTED, all_genes, gmt
from oncoweave.phantom.molecular import PANELS, draw_expression, draw_variants, factor_values, gene_table
from oncoweave.phantom.reports import draw_report

CONFIG = Config(patients=150, seed=2)


@pytest.fixture(scope="module")
def truths():
    return draw_truths(CONFIG)


@pytest.fixture(scope="module")
def log_counts(truths):
    genes = gene_table(CONFIG)
    counts = np.stack([draw_expression(CONFIG, i, t, genes) for i, t in enumerate(truths)])
    return np.log2(1e6 * counts / counts.sum(axis=1, keepdims=True) + 1), list(genes["gene"])


def set_score(log_counts, gene_set):
    values, genes = log_counts
    return values[:, [genes.index(g) for g in gene_set.genes]].mean(axis=1)


@pytest.mark.parametrize("gene_set", PLANTED, ids=lambda s: s.name)
def test_a_planted_pathway_follows_its_factor(log_counts, truths, gene_set):
    factor = np.array([factor_values(t)[gene_set.factor] for t in truths])
    assert np.sign(gene_set.loading) * np.corrcoef(set_score(log_counts, gene_set), factor)[0, 1] > 0.75


@pytest.mark.parametrize("gene_set", DECOYS, ids=lambda s: s.name)
def test_a_decoy_moves_together_but_not_with_the_hazard(log_counts, truths, gene_set):
    values, genes = log_counts
    columns = values[:, [genes.index(g) for g in gene_set.genes]]
    together = np.corrcoef(columns.T)[np.triu_indices(len(gene_set.genes), k=1)].mean()
    assert together > 0.15
    hazard = [t.log_hazard for t in truths]
    assert abs(np.corrcoef(columns.mean(axis=1), hazard)[0, 1]) < 0.3  # 3.7 standard deviations at n = 150


def test_counts_spread_as_the_negative_binomial_does(truths):
    genes = gene_table(CONFIG)
    draws = np.stack([draw_expression(CONFIG, 1000 + i, truths[0], genes) for i in range(200)]).astype(float)
    quiet = (genes["factor"] == "").to_numpy()
    library = draws[:, quiet].sum(axis=1, keepdims=True)
    scaled = (draws / library * library.mean())[:, quiet]
    mean, variance = scaled.mean(axis=0), scaled.var(axis=0)
    dispersion = (variance - mean) / mean**2
    ratio = dispersion / genes["dispersion"].to_numpy()[quiet]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.15)


def test_counts_are_whole_and_library_sizes_differ(truths):
    genes = gene_table(CONFIG)
    counts = np.stack([draw_expression(CONFIG, i, t, genes) for i, t in enumerate(truths[:60])])
    assert counts.dtype == np.int64
    assert counts.min() >= 0
    assert 0.2 < np.log(counts.sum(axis=1)).std() < 0.6


def test_genes_are_listed_once_and_the_gmt_holds_every_set():
    genes = all_genes()
    assert len(genes) == len(set(genes))
    assert 300 <= len(genes) <= 500
    lines = [line.split("\t") for line in gmt().splitlines()]
    assert {line[0]: tuple(line[2:]) for line in lines} == {s.name: s.genes for s in (*PLANTED, *DECOYS)}
    assert len({line[1] for line in lines}) == 1, "the description must not tell planted sets from decoys"


def test_genes_off_the_panel_are_not_profiled_and_all_others_are(truths):
    seen = set()
    for i, truth in enumerate(truths):
        panel, calls = draw_variants(CONFIG, i, truth)
        seen.add(panel)
        for name, call in calls.items():
            gene, _, what = name.partition("_")
            covered = gene in PANELS[panel] if what == "mut" else panel != "hotspot-6"
            assert np.isnan(call) == (not covered), (panel, name)
            assert not covered or call in ((0, 1) if what == "mut" else (-2, -1, 0, 1, 2))
    assert seen == set(PANELS)


def test_driver_calls_follow_the_truth(truths):
    calls = [draw_variants(CONFIG, i, t)[1] for i, t in enumerate(truths)]
    kras, tp53 = (np.array([c[f"{g}_mut"] for c in calls]) for g in ("KRAS", "TP53"))
    driver_a, driver_b = (np.array([getattr(t, f"driver_{d}") for t in truths]) for d in "ab")
    assert (kras[~driver_a] == 0).all()
    assert kras[driver_a].mean() > 0.9
    profiled = ~np.isnan(tp53)
    assert 0 < (~profiled).sum() < len(truths)
    assert tp53[profiled & driver_b].mean() > 0.9
    assert (tp53[profiled & ~driver_b] == 0).all()


@pytest.fixture(scope="module")
def reports(truths):
    return [draw_report(CONFIG, i, t, draw_outcome(CONFIG, i, t)) for i, t in enumerate(truths)]


def test_a_report_states_or_denies_invasion_as_in_truth(reports, truths):
    denied, stated = phrases.LYMPHOVASCULAR
    for (text, facts), truth in zip(reports, truths, strict=True):
        if facts["lymphovascular"] is None:
            assert not any(p in text for p in (*denied, *stated))
        else:
            assert facts["lymphovascular"] == truth.private_report
            assert any(p in text for p in (stated if truth.private_report else denied))
            assert not any(p in text for p in (denied if truth.private_report else stated))


def test_reports_vary_stay_silent_at_times_and_never_tell_what_is_private_to_the_slide(reports):
    texts = [text for text, _ in reports]
    assert len(set(texts)) == len(texts)
    assert all("necro" not in text.lower() for text in texts)
    assert 0 < sum(facts["infiltrate"] is None for _, facts in reports) < len(reports) / 2
    assert any(d in text for text in texts for d in phrases.DISTRACTORS)
    assert sum(any(b.split("{")[0] in t for b in phrases.BOILERPLATE) for t in texts) == len(texts)


def test_the_infiltrate_in_the_report_follows_the_immune_score(reports, truths):
    level = {k: [t.immune for (_, f), t in zip(reports, truths, strict=True) if f["infiltrate"] == k] for k in (0, 1, 2)}
    assert np.mean(level[0]) < np.mean(level[1]) - 0.5
    assert np.mean(level[1]) < np.mean(level[2]) - 0.5
