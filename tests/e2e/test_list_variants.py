import pytest
from typer.testing import CliRunner

from oncoweave.cli import main

if not main.app.registered_commands:
    main._add_verbs()


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [
        ("encoders", "Variants of one, with their cards: oncoweave list encoders/vit"),
        ("encoders/vit", "1,134,953,984"),
        ("encoders/vit", "vit/phikon: Epsilon of LayerNorm is Hugging Face's default, not verified."),
        ("encoders/abmil", "abmil/tiny"),
        ("fusion/rank", "fusion/rank has no variants"),
        ("fusion", "┃ name                 ┃ stage        ┃ reads"),
        ("fusion", "Multi-to-uni distillation"),
        ("missingness", "┃ acts on ┃"),
        ("missingness", "A learned token for each modality"),
        ("tasks", "mutation_pancancer_prov/LRP1B"),
        ("tasks", "Virchow, tiles"),
        ("tasks/tcga_survival", "MCAT: c_index tcga_blca 0.624, tcga_brca 0.580, tcga_gbmlgg 0.817"),
        ("tasks/adverse_outcome", "mdt: auprc 0.592 (0.500 to 0.682), intensive care 0.712"),
        ("tasks/mutation_luad_tcga/EGFR", "Is EGFR mutated in a lung adenocarcinoma of TCGA"),
        ("tasks/luad_lusc_tiles", "256 px at 0.5 um/px"),
    ],
)
def test_variants_of_a_file_are_listed_with_their_cards(argument, wanted, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(main.app, ["list", argument])
    assert done.exit_code == 0, done.output
    assert wanted in done.output
