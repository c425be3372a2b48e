"""What a user sets of any file on any shelf is refused before anything is fitted where it has no meaning."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Literal

import pytest

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError, UnknownNameError
from oncoweave.core.ranges import Count, Rate, Share, refuse_uneven
from oncoweave.core.settings import fits, ranged

CONFIGS = {
    f"{kind}/{name}": config
    for kind in shelf.SHELVES
    for name in shelf.names(kind)
    if (config := getattr(shelf.load(kind, name), "Config", None)) is not None and dataclasses.fields(config)
}
FIELDS = [(file, f.name) for file, config in CONFIGS.items() for f in dataclasses.fields(config)]
ZERO = {
    "dropout": "drops nothing",
    "drop_path": "drops nothing",
    "attention_dropout": "drops nothing",
    "vary": "varies nothing",
    "encoders/colour:gradient_scales": "no edges",
    "encoders/colour:pattern_scales": "no patterns",
    "encoders/pretrained_bert:first": "an id",
    "encoders/pretrained_bert:last": "an id",
    "encoders/tabular:frequencies": "linear",
    "encoders/variational:beta": "no divergence",
    "encoders/variational:weight": "no penalty",
    "encoders/vit:registers": "none",
    "fusion/balanced:alpha": "nobody is slowed",
    "fusion/balanced:memory": "no past",
    "fusion/cca:shrinkage": "plain CCA",
    "fusion/factors:least_explained": "all factors",
    "fusion/mdt:mixing": "early",
    "fusion/poe_vae:kl": "no divergence",
    "fusion/poe_vae:reconstruction": "none",
    "fusion/rules:override_above": "everybody",
    "fusion/weighted:power": "the mean",
    "missingness/latent:weight": "predictors learn from the outcome alone",
    "missingness/learned:spread": "they start at zero",
    "objectives/dinov2:centre_momentum": "no past",
    "objectives/dinov2:patch_weight": "no patch loss",
    "objectives/dinov2:spread_weight": "no spread",
    "objectives/dinov2:teacher_temperature_warm_up": "none",
    "objectives/dinov2:momentum": "the teacher is the student",
    "objectives/dinov2:momentum_end": "the teacher is the student",
    "objectives/dinov2:freeze_prototypes": "never frozen",
    "objectives/dinov2:patch_rate": "stays as drawn",
    "objectives/distil:class_weight": "patches alone",
    "objectives/distil:patch_weight": "class token alone",
    "objectives/distil:cosine": "smooth alone",
    "objectives/distil:smooth": "cosine alone",
    "objectives/slide_distil:slide_weight": "tiles alone",
    "objectives/slide_distil:tile_weight": "slides alone",
    "objectives/slide_distil:cosine": "smooth alone",
    "objectives/slide_distil:smooth": "cosine alone",
}
"""Numbers, by file and field or by field, of which 0 means something; -1 means nothing of any."""
ABOVE_ONE = (
    {
        "ratio",
        "eps",
        "sigma",
        "prior",
        "floor",
        "beta",
        "weight",
        "layer_scale",
        "branch_start",
        "temperature",
        "prior_sd",
        "power",
    }
    | {"alpha", "truth", "follow", "kl", "reconstruction", "reg", "tau", "spread", "patch_rate", "patch_weight", "spread_weight"}
    | {"kde_concentration", "student_temperature", "teacher_temperature", "teacher_temperature_start", "class_weight"}
    | {"cosine", "smooth", "slide_weight", "tile_weight"}
)
"""Numbers that may be 1.5; all others are whole, or shares."""


def _hint(file: str, field: str) -> object:
    return typing.get_type_hints(CONFIGS[file], include_extras=True)[field]


NUMBERS = [(file, field) for file, field in FIELDS if _hint(file, field) not in (str, bool) and fits(1, _hint(file, field))]


@pytest.mark.parametrize(("file", "field"), FIELDS, ids=[":".join(pair) for pair in FIELDS])
def test_another_type_and_an_unknown_word_are_refused(file, field):
    kind, name = file.split("/")
    wrong = [object(), {}, (1j,)]
    if _hint(file, field) is not str:
        wrong += ["no such word", "false", "tow"]
    if _hint(file, field) is not bool:
        wrong += [True]
    else:
        wrong += [0, 1, 1.0]
    for value in wrong:
        with pytest.raises(ConfigError, match=rf"model 'm': setting '{field}' of '{name}' on shelf '{kind}' wanted"):
            shelf.configure(kind, name, {field: value}, where="model 'm'")


@pytest.mark.parametrize(("file", "field"), NUMBERS, ids=[":".join(pair) for pair in NUMBERS])
def test_numbers_without_a_meaning_are_refused(file, field):
    kind, name = file.split("/")
    wrong = [-1, float("nan"), float("inf")]
    if f"{file}:{field}" not in ZERO and field not in ZERO:
        wrong += [0]
    if field not in ABOVE_ONE:
        wrong += [1.5]
    for value in wrong:
        with pytest.raises(ConfigError, match=rf"setting '{field}' of '{name}' .* wanted .* as in .*, got {value}"):
            shelf.configure(kind, name, {field: value})


RANGED = [(file, field) for file, field in NUMBERS if type(getattr(CONFIGS[file](), field)) is not tuple]


@pytest.mark.parametrize(("file", "field"), RANGED, ids=[":".join(pair) for pair in RANGED])
def test_a_config_that_is_built_in_python_refuses_them_too(file, field):
    whole = not (fits(0.5, _hint(file, field)) or fits(1.5, _hint(file, field)))
    for value in (-1,) if whole else (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=rf": {field} wanted .*, got {value}$"):
            CONFIGS[file](**{field: value})
        with pytest.raises(ConfigError, match=rf": {field} wanted"):
            dataclasses.replace(CONFIGS[file](), **{field: value})


def test_each_of_several_numbers_is_held_and_a_check_of_the_files_own_comes_after():
    @ranged
    class Config:
        sizes: tuple[Count, ...] = (1, 2)
        pair: tuple[Share, Count] = (0.5, 3)
        rate: Rate | None = None
        word: Count | Literal["all"] = "all"
        flag: bool = True

        def __post_init__(self) -> None:
            refuse_uneven(self.sizes[-1], self.sizes[0])

    assert Config(sizes=(2, 4), rate=0.5, word=3).pair == (0.5, 3)
    wrong = {"sizes": (1, 0), "pair": (0.5, 0), "rate": 1.0, "word": 0}
    for field, value in wrong.items():
        with pytest.raises(ConfigError, match=f"^test_settings: {field} wanted"):
            Config(**{field: value})
    with pytest.raises(ValueError, match="width 3 does not divide into 2 heads"):
        Config(sizes=(2, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().flag = False


@pytest.mark.parametrize(("file", "field"), NUMBERS, ids=[":".join(pair) for pair in NUMBERS])
def test_what_the_tables_say_has_a_meaning_is_taken(file, field):
    hint = _hint(file, field)
    assert fits(0, hint) == (f"{file}:{field}" in ZERO or field in ZERO)
    assert fits(1.5, hint) == (field in ABOVE_ONE)


@pytest.mark.parametrize("file", CONFIGS)
def test_variants_and_defaults_are_within_their_own_ranges(file):
    kind, name = file.split("/")
    variants = getattr(shelf.load(kind, name), "VARIANTS", {})
    for config in (CONFIGS[file](), *variants.values()):
        for field in dataclasses.fields(config):
            assert fits(getattr(config, field.name), _hint(file, field.name)), f"{file}: {field.name}"


WITH_HEADS = [file for file, config in CONFIGS.items() if {"heads"} < {f.name for f in dataclasses.fields(config)}]
ANY_HEADS = {"encoders/abmil": "weightings side by side", "fusion/modality_transformer": "the width is the network's"}


@pytest.mark.parametrize("file", [file for file in WITH_HEADS if file not in ANY_HEADS])
def test_heads_that_do_not_divide_the_width_are_refused(file):
    kind, name = file.split("/")
    with pytest.raises(ConfigError, match=rf"model 'm': settings of '{name}' .*: width \d+ does not divide into 7 heads"):
        shelf.configure(kind, name, {"heads": 7}, where="model 'm'")


def _refuses(act: Callable[[], object]) -> bool:
    try:
        act()
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("name", [e.name for e in shelf.catalogue("fusion") if e.constants["STAGE"] == "intermediate"])
def test_what_a_network_of_some_width_cannot_be_built_of_is_refused_before(name):
    module, config = shelf.load("fusion", name), shelf.configure("fusion", name, {})
    told = {"bags": frozenset[str]()} if module.READS == "tokens" else {}
    for width in (6, 7, 8):
        built = _refuses(lambda w=width: module.build(config, dims={"a": w, "b": w}, dim_out=w, **told))
        assert built == (hasattr(module, "check_width") and _refuses(lambda w=width: module.check_width(config, w)))


@pytest.mark.parametrize(
    ("file", "settings", "match"),
    [
        (
            "fusion/dempster_shafer",
            {"rule": "Yager"},
            "wanted dempster . yager as in 'dempster', got 'Yager'; did you mean",
        ),
        ("fusion/stacking", {"prior_sd": "1e-3"}, "got '1e-3'; in YAML that is text, write 0.001"),
        ("fusion/pca", {"explained": 95}, r"wanted float \(above 0 to 1\) as in 0.95, got 95"),
        ("encoders/volume_vit", {"width": 64}, "positions in three axes need a width that divides by 6"),
        ("modalities/volume", {"size": (80, 64)}, r"as in \(80, 64, 56\), got \(80, 64\)"),
        ("fusion/bottleneck", {"depth": 1}, r"wanted int \(2 or more\) as in 2, got 1"),
    ],
)
def test_errors_say_what_was_wanted_and_what_came(file, settings, match):
    with pytest.raises(ConfigError, match=match):
        shelf.configure(*file.split("/"), settings)


def test_a_name_that_is_no_setting_is_told_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no setting of 'pca' on shelf 'fusion' \(model 'm'\) named 'explaind'; did you"):
        shelf.configure("fusion", "pca", {"explaind": 0.5}, where="model 'm'")
