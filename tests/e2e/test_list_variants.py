import pytest
from typer.testing import CliRunner

from oncoweave.cli import main

if not main.app.registered_commands:
    main._add_verbs()


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [
        ("encoders", "Settings of one: oncoweave list encoders/abmil"),
        ("encoders/vit", "1,134,953,984"),
        ("encoders/vit", "vit/phikon: Epsilon of LayerNorm is Hugging Face's default, not verified."),
        ("encoders/abmil", "abmil/tiny"),
        ("encoders/abmil", "hidden    int (1 or more)    128"),
        ("fusion/pca", "float (above 0"),
        ("fusion", "What stands in for absent modalities: oncoweave list missingness"),
        ("encoders/vit", "Side, in pixels, of the tiles whose positions are stored."),
        ("fusion/rank", "fusion/rank has no settings"),
        ("fusion/mdt", "Blocks in which the streams stay apart and exchange; 0 joins them at once (early), depth never (late)."),
        ("fusion/motcat", "Queries that are learned, and the same for every patient."),
        ("fusion/pca", "ipf_lasso        Columns are dropped"),
        ("fusion", "  mmp                    tokens "),
        ("fusion", "linear model with a penalty: shared, per_modality, group_lasso, ipf_lasso, priority_lasso"),
        ("fusion", "Multi-to-uni distillation"),
        ("missingness", "  knn         blocks    The mean over"),
        ("missingness/knn", "neighbours"),
        ("missingness", "A learned token for each modality"),
        ("tasks", "mutation_pancancer_prov/LRP1B"),
        ("tasks", "Virchow, tiles"),
        ("tasks/tcga_survival", "MCAT: c_index tcga_blca 0.624, tcga_brca 0.580, tcga_gbmlgg 0.817"),
        ("tasks/adverse_outcome", "mdt: auprc 0.592 (0.500 to 0.682), intensive care 0.712"),
        ("tasks/mutation_luad_tcga/EGFR", "Is EGFR mutated in a lung adenocarcinoma of TCGA"),
        ("tasks/luad_lusc_tiles", "256 px at 0.5 um/px"),
    ],
)
def test_a_shelf_and_the_settings_of_a_file_are_listed(argument, wanted, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(main.app, ["list", argument])
    assert done.exit_code == 0, done.output
    assert wanted in done.output


def test_fusions_and_their_settings_fit_a_terminal_of_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for argument in ("fusion", "fusion/mdt", "fusion/concat", "missingness", "encoders/longnet"):
        done = CliRunner().invoke(main.app, ["list", argument])
        assert done.exit_code == 0, done.output
        assert max(map(len, done.output.splitlines())) <= 80
        assert "…" not in done.output
    assert len(CliRunner().invoke(main.app, ["list", "fusion"]).output.splitlines()) < 160


def test_a_file_that_is_not_on_the_shelf_is_refused_with_the_nearest():
    done = CliRunner().invoke(main.app, ["list", "fusion/concatt"])
    assert done.exit_code != 0
    assert "did you mean 'concat'" in f"{done.output} {done.exception}"
