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
    ],
)
def test_variants_of_a_file_are_listed_with_their_cards(argument, wanted, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(main.app, ["list", argument])
    assert done.exit_code == 0, done.output
    assert wanted in done.output
