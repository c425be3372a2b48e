"""What every self-supervised objective promises; names are read from disk, so a new file is tested without a change here."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from oncoweave.core import shelf
from oncoweave.nn.tokens import Tokens

CONSTANTS = {entry.name: entry.constants for entry in shelf.catalogue("objectives")}
PRETRAINS = {name: constants["PRETRAINS"] for name, constants in CONSTANTS.items() if "PRETRAINS" in constants}

SMALL = {
    "dinov2": {"hidden": 24, "bottleneck": 12, "prototypes": 20, "freeze_prototypes": 2, "teacher_temperature_warm_up": 3},
    "simclr": {"dim": 12},
    "pixel_mae": {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
    "mae": {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2, "mask_ratio": 0.5},
}
"""Settings that make an objective small; a file that is not here is tried as it is."""
STEPS = 10
TILES = 4


def config_of(name, **changes):
    config = shelf.configure("objectives", name, SMALL.get(name, {}) | changes)
    if PRETRAINS[name] == "slide":
        return config
    sides = {"global": 32, "local": 16}
    crops = tuple(
        dataclasses.replace(crop, side=sides.get(crop.name, 32), count=3 if crop.name == "local" else crop.count)
        for crop in config.views.crops
    )
    return dataclasses.replace(config, views=dataclasses.replace(config.views, crops=crops))


def encoder_of(kind, seed=0, *, dim=32):
    generator = torch.Generator().manual_seed(seed)
    if kind == "tile":
        vit = shelf.load("encoders", "vit")
        size = vit.Config(image=32, patch=8, dim=dim, depth=2, heads=2, hidden=48, registers=1, mask_token=True, drop_path=0.2)
        return vit.build(size, generator=generator)
    longnet = shelf.load("encoders", "longnet")
    size = dataclasses.replace(longnet.VARIANTS["tiny"], dim=dim, heads=2)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return longnet.LongNet(size, dim_in=6)


def objective_of(name, seed=0, **changes):
    given = {"teacher": encoder_of(PRETRAINS[name], 99, dim=40)} if CONSTANTS[name].get("TAUGHT") else {}
    generator = torch.Generator().manual_seed(seed)
    config = config_of(name, **changes)
    return shelf.load("objectives", name).build(config, encoder=encoder_of(PRETRAINS[name], seed), generator=generator, **given)


def batch_of(name, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if PRETRAINS[name] == "tile":
        crops = config_of(name).views.crops
        return {c.name: torch.rand(c.count * TILES, 3, c.side, c.side, generator=generator) for c in crops}
    values = torch.randn(3, 12, 6, generator=generator)
    keep = torch.arange(12) < torch.tensor([12, 9, 7])[:, None]
    cells = torch.stack([torch.arange(12) % 4, torch.arange(12) // 4, torch.zeros(12).long()], dim=1)
    return Tokens(values=torch.where(keep[..., None], values, torch.nan), keep=keep, positions=cells.float().expand(3, -1, -1))


def run(objective, name, generator, steps, optimizer=None):
    """Train for some steps; returns the losses."""
    groups = objective.parameter_groups()
    optimizer = optimizer or adam(groups)
    losses = []
    for step in steps:
        optimizer.zero_grad()
        loss = objective(batch_of(name, step), step=step, steps=STEPS, generator=generator)["loss"]
        loss.backward()
        optimizer.step()
        objective.after_step(step=step, steps=STEPS)
        losses.append(float(loss.detach()))
    return losses


def adam(groups):
    rows = [{"params": list(g.params), "lr": 1e-3 * g.lr_scale, "weight_decay": 0.1 * g.weight_decay} for g in groups]
    return torch.optim.AdamW(rows)


@pytest.fixture(params=sorted(PRETRAINS))
def name(request):
    return request.param


@pytest.fixture
def objective(name):
    return objective_of(name).train()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(5)


def last_step(objective):
    """A step at which nothing is frozen any more."""
    return max(group.frozen_until for group in objective.parameter_groups())


def test_every_file_is_either_supervised_or_self_supervised():
    for name, constants in CONSTANTS.items():
        assert ("KINDS" in constants) != ("PRETRAINS" in constants), name
    assert set(PRETRAINS.values()) <= {"tile", "slide"}


def test_loss_is_a_finite_scalar_and_the_log_is_detached(objective, name, generator):
    given = batch_of(name)
    found = objective(given, step=0, steps=STEPS, generator=generator)
    assert found["loss"].shape == ()
    assert found["loss"].requires_grad
    for key, value in found.items():
        assert value.shape == (), key
        assert value.isfinite(), key
        assert key == "loss" or not value.requires_grad, key


def test_every_trainable_parameter_gets_a_gradient_and_is_in_one_group(objective, name, generator):
    objective(batch_of(name), step=last_step(objective), steps=STEPS, generator=generator)["loss"].backward()
    trainable = {key: parameter for key, parameter in objective.named_parameters() if parameter.requires_grad}
    for key, parameter in trainable.items():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key
    grouped = [id(p) for group in objective.parameter_groups() for p in group.params]
    assert sorted(grouped) == sorted(id(p) for p in trainable.values())
    names = [group.name for group in objective.parameter_groups()]
    assert len(set(names)) == len(names)


def test_frozen_parameters_get_no_gradient_until_their_step(objective, name, generator):
    for group in objective.parameter_groups():
        for step in {0, max(group.frozen_until - 1, 0)}:
            objective.zero_grad()
            objective(batch_of(name), step=step, steps=STEPS, generator=generator)["loss"].backward()
            moved = [p.grad is not None for p in group.params]
            assert not any(moved) if step < group.frozen_until else all(moved), group.name


def test_a_teacher_never_receives_a_gradient(objective, name, generator):
    run(objective, name, generator, [0, 1, 2])
    taught = list(objective.teacher.parameters()) if hasattr(objective, "teacher") else []
    resting = [p for p in objective.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in [*taught, *resting])
    assert not any(p.requires_grad for p in taught)
    assert hasattr(objective, "teacher") == bool(taught)
    assert not taught or not objective.teacher.training


def test_equal_generators_give_equal_losses_and_the_global_one_is_left_alone(name):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = run(objective_of(name).train(), name, torch.Generator().manual_seed(5), range(2))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = run(objective_of(name).train(), name, torch.Generator().manual_seed(5), range(2))
    assert first == again


def test_a_resumed_run_equals_an_uninterrupted_one(name, tmp_path):
    objective, generator = objective_of(name).train(), torch.Generator().manual_seed(5)
    optimizer = adam(objective.parameter_groups())
    run(objective, name, generator, range(2), optimizer)
    save_file(objective.state_dict(), tmp_path / "state.safetensors")
    kept = optimizer.state_dict(), generator.get_state()
    torch.save(kept, tmp_path / "optimizer.pt")
    wanted = run(objective, name, generator, range(2, 4), optimizer)

    fresh, generator = objective_of(name, seed=8).train(), torch.Generator().manual_seed(0)
    optimizer = adam(fresh.parameter_groups())
    fresh.load_state_dict(load_file(tmp_path / "state.safetensors"))
    moments, random_state = torch.load(tmp_path / "optimizer.pt", weights_only=True)
    optimizer.load_state_dict(moments)
    generator.set_state(random_state)
    assert run(fresh, name, generator, range(2, 4), optimizer) == wanted
    for key, value in fresh.state_dict().items():
        assert torch.equal(value, objective.state_dict()[key]), key


def test_what_is_exported_loads_strictly_into_a_fresh_encoder(objective, name, generator, tmp_path):
    run(objective, name, generator, [0, 1])
    save_file(objective.exported.state_dict(), tmp_path / "encoder.safetensors")
    fresh = encoder_of(PRETRAINS[name], 3)
    fresh.load_state_dict(load_file(tmp_path / "encoder.safetensors"), strict=True)
    assert type(objective.exported) is type(fresh)
    moved = encoder_of(PRETRAINS[name], 0).state_dict()
    assert any(not torch.equal(value, moved[key]) for key, value in fresh.state_dict().items())


def test_evaluation_changes_no_state(objective, name, generator):
    objective.eval()
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    with torch.no_grad():
        objective(batch_of(name), step=4, steps=STEPS, generator=generator)
    assert all(torch.equal(value, before[key]) for key, value in objective.state_dict().items())


def test_the_batch_is_not_changed(objective, name, generator):
    given, same = batch_of(name), batch_of(name)
    objective(given, step=0, steps=STEPS, generator=generator)
    if isinstance(given, Tokens):
        given, same = ({"values": t.clean, "keep": t.keep, "positions": t.positions} for t in (given, same))
    assert all(torch.equal(given[key], same[key]) for key in same)


def test_wrong_batches_say_what_was_wanted(objective, name, generator):
    def give(batch):
        objective(batch, step=0, steps=STEPS, generator=generator)

    given = batch_of(name)
    if PRETRAINS[name] == "tile":
        key = next(iter(given))
        with pytest.raises(ValueError, match=f"wanted a batch of crops named .*{key}.* got .*'pictures'"):
            give({"pictures": given[key]})
        with pytest.raises(ValueError, match="wanted RGB images"):
            give(given | {key: given[key][:, :2]})
        if sum(crop.count for crop in config_of(name).views.crops) > 1:
            with pytest.raises(ValueError, match="crops a tile, got"):
                give(given | {key: given[key][1:]})
        return
    with pytest.raises(ValueError, match="width 7"):
        give(dataclasses.replace(given, values=torch.zeros(3, 12, 7)))
    with pytest.raises(ValueError, match="position"):
        give(dataclasses.replace(given, positions=None))


def test_an_encoder_that_cannot_be_pretrained_is_refused(name):
    given = {"teacher": encoder_of(PRETRAINS[name])} if CONSTANTS[name].get("TAUGHT") else {}
    with pytest.raises((ValueError, TypeError), match="Linear"):
        shelf.load("objectives", name).build(config_of(name), encoder=nn.Linear(2, 2), generator=torch.Generator(), **given)


def test_half_precision_stays_finite(objective, name, generator):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(batch_of(name), step=last_step(objective), steps=STEPS, generator=generator)["loss"]
    loss.backward()
    assert loss.isfinite()
    for key, parameter in objective.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), key
