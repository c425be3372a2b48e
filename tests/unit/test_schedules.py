"""Schedules at known steps, moving averages in closed form, and groups of parameters by name."""

import math
import re

import pytest
import torch
from torch import nn

from oncoweave.encoders import vit
from oncoweave.nn.ema import follow, teacher_of
from oncoweave.nn.optim import encoder_groups, head_groups, layer_scale
from oncoweave.nn.schedules import cosine, linear, scaled_rate


def test_linear_at_known_steps():
    values = [linear(s, start=0.04, end=0.07, steps=30) for s in (0, 10, 30, 99)]
    assert values == pytest.approx([0.04, 0.05, 0.07, 0.07])
    assert linear(0, start=1.0, end=2.0, steps=0) == 2.0


def test_cosine_at_known_steps():
    def rate(step):
        return cosine(step, start=1.0, end=0.2, steps=110, warm_up=10, warm_up_start=0.5)

    assert [rate(s) for s in (0, 5, 10, 60, 110, 500)] == pytest.approx([0.5, 0.75, 1.0, 0.6, 0.2, 0.2])
    assert rate(35) == pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi / 4)))
    falling = [rate(s) for s in range(10, 111)]
    assert falling == sorted(falling, reverse=True)
    assert cosine(50, start=1.0, end=0.0, steps=40, warm_up=40) == 1.0


def test_the_teachers_momentum_of_dinov2():
    assert [cosine(s, start=0.992, end=1.0, steps=100) for s in (0, 50, 100)] == pytest.approx([0.992, 0.996, 1.0])


def test_dinov2_scales_its_rate_by_the_root_of_the_batch():
    """4e-3 for 1024 tiles, with GigaPath's 384."""
    assert scaled_rate(4e-3, batch=384, reference=1024, power=0.5) == pytest.approx(2.449e-3, rel=1e-3)
    assert scaled_rate(1.5e-4, batch=512, reference=256, power=1.0) == pytest.approx(3e-4)


def test_a_moving_average_in_closed_form():
    """With a student that stays at s, the teacher after n steps is s + m^n (t - s)."""
    student = nn.BatchNorm1d(4)
    teacher = teacher_of(student)
    with torch.no_grad():
        student.weight.fill_(3.0)
        student.running_mean.fill_(7.0)
    for _ in range(5):
        follow(teacher, student, momentum=0.9)
    torch.testing.assert_close(teacher.weight, torch.full((4,), 3 + 0.9**5 * (1 - 3)))
    assert (teacher.running_mean == 7).all()
    assert not teacher.weight.requires_grad
    follow(teacher, student, momentum=1.0)
    torch.testing.assert_close(teacher.weight, torch.full((4,), 3 + 0.9**5 * (1 - 3)))


def small_vit():
    config = vit.Config(image=32, patch=8, dim=16, depth=3, heads=2, hidden=24, registers=2, mask_token=True)
    return vit.build(config, generator=torch.Generator())


def test_every_parameter_of_a_vit_has_the_rate_of_its_layer():
    """Layers of a ViT with three blocks: embeddings 0, blocks 1 to 3, last norm 4; the rate is decay ** (4 - layer)."""
    wanted = {"patch_embed": 0.5**4 * 0.2, "cls_token": 0.5**4, "reg_token": 0.5**4, "pos_embed": 0.5**4, "mask_token": 0.5**4}
    wanted |= {f"blocks.{i}": 0.5 ** (3 - i) for i in range(3)} | {"norm": 1.0}
    wrapped = nn.ModuleDict({"slide_encoder": small_vit()})  # a prefix once made the lowest layer the highest in a peer's code
    for network in (small_vit(), wrapped):
        names = {id(p): name.removeprefix("slide_encoder.") for name, p in network.named_parameters()}
        groups = encoder_groups(network, decay=0.5, patch=0.2)
        seen = []
        for group in groups:
            for parameter in group.params:
                name = names[id(parameter)]
                stem = re.match(r"blocks\.\d+|\w+", name).group()
                assert group.lr_scale == pytest.approx(wanted[stem]), name
                assert group.weight_decay == (parameter.ndim > 1), name
                seen.append(name)
        assert sorted(seen) == sorted(names.values())
        assert min(group.lr_scale for group in groups) == pytest.approx(wanted["patch_embed"])


def test_names_of_a_slide_encoder_have_layers_too():
    scales = [layer_scale(f"slide_encoder.encoder.layers.{i}.ffn.fc1.weight", depth=12, decay=0.9, patch=0.2) for i in (0, 11)]
    assert scales == pytest.approx([0.9**12, 0.9])
    assert layer_scale("slide_encoder.patch_embed.proj.weight", depth=12, decay=0.9) == pytest.approx(0.9**13)
    assert layer_scale("slide_encoder.encoder.layer_norm.weight", depth=12, decay=0.9) == 1.0


def test_heads_learn_at_the_full_rate_and_may_wait():
    groups = head_groups(nn.Linear(2, 3), name="head", frozen_until=7)
    assert {(g.lr_scale, g.frozen_until) for g in groups} == {(1.0, 7)}
    assert {g.weight_decay for g in groups} == {True, False}


def test_parameters_that_rest_are_in_no_group():
    network = nn.Linear(2, 3)
    network.bias.requires_grad_(False)
    (group,) = encoder_groups(network)
    assert group.params == (network.weight,)
