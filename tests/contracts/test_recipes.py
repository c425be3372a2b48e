"""What every recipe on the shelf promises; names are read from disk."""

import dataclasses
import json

import pytest

from oncoweave.core import shelf
from oncoweave.train.plan import Plan, as_json, learning_rate, weight_decay

RECIPES = shelf.names("recipes")
PRETRAINS = {entry.name: entry.constants.get("PRETRAINS") for entry in shelf.catalogue("objectives")}

of_recipes = pytest.mark.parametrize("name", RECIPES)


def plan(name: str, **settings) -> Plan:
    return shelf.load("recipes", name).plan(**settings)


@of_recipes
def test_a_plan_is_named_after_its_file_and_can_be_stored(name):
    made = plan(name)
    assert isinstance(made, Plan)
    assert made.name == name
    assert json.loads(json.dumps(as_json(made))) == as_json(made)


@of_recipes
def test_encoder_and_objective_are_on_their_shelves_and_fit_each_other(name):
    made = plan(name)
    variant = shelf.variant("encoders", made.encoder)
    dataclasses.replace(variant, **made.encoder_settings)
    shelf.configure("objectives", made.objective, made.objective_settings)
    kinds = shelf.load("encoders", made.encoder).KINDS
    assert PRETRAINS[made.objective] in kinds
    if made.teacher:
        shelf.variant("encoders", made.teacher)
    assert bool(made.teacher) == getattr(shelf.load("objectives", made.objective), "TAUGHT", False)


@of_recipes
def test_crops_are_whole_patches_of_encoder_and_teacher(name):
    made = plan(name)
    views = shelf.configure("objectives", made.objective, made.objective_settings).views
    for encoder in filter(None, (made.encoder, made.teacher)):
        patch = getattr(shelf.variant("encoders", encoder), "patch", 1)
        for crop in getattr(views, "crops", ()):
            assert crop.side % patch == 0, crop
        assert getattr(made.data, "side", patch) % patch == 0


@of_recipes
@pytest.mark.parametrize("steps", [1, 50])
def test_schedules_scale_with_the_length(name, steps):
    made = plan(name, steps=steps)
    assert made.steps == steps
    assert made.optimisation.warm_up <= steps
    rates = [learning_rate(made, step) for step in range(steps + 1)]
    assert max(rates) > 0
    assert rates[-1] <= max(rates)
    assert weight_decay(made, steps) == pytest.approx(made.optimisation.weight_decay[1])


def test_the_recipe_of_gigapath_is_the_papers():
    made = plan("vit_giant_32gpu")
    assert made.batch == 384
    assert made.steps == 125_000
    assert max(learning_rate(made, step) for step in (12_499, 12_500, 12_501)) == pytest.approx(4e-3 * (384 / 1024) ** 0.5)
    config = shelf.configure("objectives", made.objective, made.objective_settings)
    assert (config.prototypes, config.momentum, config.layer_decay) == (65_536, 0.992, 0.9)
    assert (config.teacher_temperature_warm_up, config.freeze_prototypes) == (37_500, 1250)
