"""Pixel MAE, SimCLR and distillation: what is special about each."""

import dataclasses

import pytest
import torch

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError
from oncoweave.encoders import longnet, vit
from oncoweave.nn.augment import Crop, Views
from oncoweave.nn.contrast import nt_xent
from oncoweave.nn.distillation import mismatch, regridded
from oncoweave.nn.masking import random_visible
from oncoweave.nn.pixels import patches_of, standardised
from oncoweave.nn.tokens import Tokens
from oncoweave.objectives import distil, pixel_mae, simclr, slide_distil


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def encoder(seed=0, **changes):
    config = vit.Config(image=32, patch=8, dim=16, depth=1, heads=2, hidden=24, mask_token=True)
    return vit.build(dataclasses.replace(config, **changes), generator=generator(seed))


def views(name, count):
    return Views(crops=(Crop(name=name, count=count, side=32, scale=(0.2, 1.0)),))


IMAGES = torch.rand(4, 3, 32, 32, generator=generator(9))


def test_patches_are_cut_row_by_row_and_put_together_again():
    patches = patches_of(IMAGES, 8)
    wanted = IMAGES[1, :, 8:16, 16:24].permute(1, 2, 0).flatten()  # row 1, column 2
    torch.testing.assert_close(patches[1, 1 * 4 + 2], wanted, rtol=0, atol=0)


def test_standardised_patches_have_mean_zero_and_deviation_one_and_flat_ones_are_zero():
    done = standardised(patches_of(IMAGES, 8))
    torch.testing.assert_close(done.mean(dim=-1), torch.zeros(4, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(done.std(dim=-1), torch.ones(4, 16), atol=1e-3, rtol=0)
    assert standardised(torch.full((1, 1, 192), 0.3)).abs().max() < 1e-3


def mae(**changes):
    config = pixel_mae.Config(views=views("image", 1), decoder_dim=16, decoder_depth=1, decoder_heads=2)
    return pixel_mae.build(dataclasses.replace(config, **changes), encoder=encoder(), generator=generator(1)).train()


def test_the_encoder_never_sees_hidden_patches():
    objective, given = mae(), IMAGES.clone().requires_grad_()
    visible, _ = random_visible(4, 16, hidden=0.75, generator=generator(3))
    encoded = objective.exported.tokens(given, visible=visible)
    assert encoded.shape == (4, 1 + 4, 16)
    (gradient,) = torch.autograd.grad(encoded.square().sum(), given)
    seen = patches_of(gradient, 8).abs().sum(dim=-1) > 0
    assert torch.equal(seen, torch.zeros(4, 16, dtype=torch.bool).scatter(1, visible, value=True))


def test_visible_patches_are_those_of_the_whole_image_where_all_are_visible():
    network = encoder().eval()
    everything = torch.arange(16).expand(4, -1)
    torch.testing.assert_close(network.tokens(IMAGES, visible=everything), network.tokens(IMAGES))


def test_drawing_nothing_costs_one_and_drawing_hidden_patches_can_be_learnt():
    objective = mae()
    with torch.no_grad():
        objective.decoder.draw.weight.zero_()
    found = objective({"image": IMAGES}, step=0, steps=1, generator=generator(3))
    assert float(found["loss"].detach()) == pytest.approx(
        191 / 192, abs=2e-3
    )  # standardised by the unbiased deviation of 192 pixels
    ramp = torch.linspace(0, 1, 32).expand(4, 3, 32, 32)
    optimizer = torch.optim.AdamW([p for group in objective.parameter_groups() for p in group.params], lr=3e-3)
    for step in range(40):
        optimizer.zero_grad()
        loss = objective({"image": ramp}, step=0, steps=1, generator=generator(step))["loss"]
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5


def test_mae_without_standardising_draws_pixels():
    objective = mae(standardise=False)
    with torch.no_grad():
        objective.decoder.draw.weight.zero_()
        objective.decoder.draw.bias.fill_(0.3)
    found = objective({"image": torch.full_like(IMAGES, 0.8)}, step=0, steps=1, generator=generator(3))
    assert float(found["loss"].detach()) == pytest.approx(0.25, abs=1e-5)


def test_what_is_never_used_rests():
    for objective in (mae(), simclr.build(simclr.Config(views=views("views", 2)), encoder=encoder(), generator=generator())):
        assert not objective.exported.mask_token.requires_grad


def test_simclr_contrasts_the_class_tokens_of_both_views():
    objective = simclr.build(simclr.Config(views=views("views", 2), dim=8), encoder=encoder(), generator=generator()).eval()
    found = objective({"views": IMAGES}, step=0, steps=1, generator=generator())
    with torch.no_grad():
        contrasted = objective.head(objective.exported(IMAGES))
    torch.testing.assert_close(found["loss"].detach(), nt_xent(contrasted[:2], contrasted[2:], temperature=0.1))


def test_mismatch_in_closed_form():
    student, teacher = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    apart = mismatch(student, teacher, cosine=1.0, smooth=0.0)
    torch.testing.assert_close(apart, torch.tensor([0.0, 1.0]))
    # smooth L1 is d - 1/2 from 1 on and d^2 / 2 below: (3 - 1 - 1/2 + 0) / 2 and (1/8 + 3/2) / 2
    smooth = mismatch(student, teacher, cosine=0.0, smooth=1.0)
    torch.testing.assert_close(smooth, torch.tensor([0.75, 0.8125]))


def test_teachers_patches_of_another_size_are_resampled_at_their_place():
    ramp = torch.arange(8.0).repeat(8, 1).reshape(1, 64, 1)  # rises by column
    coarse = regridded(ramp, (8, 8), (4, 4)).reshape(4, 4)
    torch.testing.assert_close(coarse[0], coarse[3])
    torch.testing.assert_close(coarse[0, 1:3], torch.tensor([2.5, 4.5]))
    assert regridded(ramp, (8, 8), (8, 8)) is ramp


def taught(teacher, **changes):
    config = dataclasses.replace(distil.Config(views=views("image", 1)), **changes)
    return distil.build(config, encoder=encoder(), teacher=teacher, generator=generator(2)).train()


def test_a_student_equal_to_its_teacher_through_an_identity_costs_nothing():
    objective = taught(encoder())
    for projector in (objective.class_projector, objective.patch_projector):
        torch.nn.init.eye_(projector[1].weight)
        projector[0] = torch.nn.Identity()
    found = objective({"image": IMAGES}, step=0, steps=1, generator=generator())
    assert float(found["loss"].detach()) == pytest.approx(0.0, abs=1e-5)


def test_a_teacher_of_another_width_patch_and_registers_teaches_and_is_not_stored():
    teacher = encoder(5, dim=24, patch=4, registers=2, heads=3)
    objective = taught(teacher, patch_weight=0.5)
    found = objective({"image": IMAGES}, step=0, steps=1, generator=generator())
    torch.testing.assert_close(found["loss"].detach(), found["class"] + 0.5 * found["patch"])
    assert not any("teacher" in key for key in objective.state_dict())
    assert not teacher.training
    assert len(taught(teacher, patch_weight=0.0).parameter_groups()) < len(objective.parameter_groups())


def slides(width=6):
    values = torch.randn(2, 5, width, generator=generator(4))
    keep = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    positions = torch.stack([torch.arange(5.0), torch.zeros(5), torch.zeros(5)], dim=1).expand(2, -1, -1)
    return Tokens(values=values, keep=keep, positions=positions)


def small_longnet(seed, *, dim_in=6, dim=32):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return longnet.LongNet(dataclasses.replace(longnet.VARIANTS["tiny"], dim=dim), dim_in=dim_in)


def test_slides_whose_student_equals_the_teacher_cost_nothing_and_padding_counts_for_nothing():
    objective = slide_distil.build(
        slide_distil.Config(), encoder=small_longnet(0), teacher=small_longnet(0), generator=generator()
    ).train()
    torch.nn.init.eye_(objective.projector[1].weight)
    objective.projector[0] = torch.nn.Identity()
    found = objective(slides(), step=0, steps=1, generator=generator())
    assert float(found["loss"].detach()) == pytest.approx(0.0, abs=1e-5)


def test_student_and_teacher_may_see_tiles_through_encoders_of_their_own():
    teacher = small_longnet(1, dim_in=7, dim=48)
    objective = slide_distil.build(slide_distil.Config(), encoder=small_longnet(0), teacher=teacher, generator=generator())
    both = slides(6 + 7)
    before = objective(both, step=0, steps=1, generator=generator())["loss"]
    changed = dataclasses.replace(both, values=torch.cat([both.values[..., :6], both.values[..., 6:].flip(-1)], dim=-1))
    assert float(before.detach()) != float(objective(changed, step=0, steps=1, generator=generator())["loss"].detach())
    with pytest.raises(ValueError, match="width 13 a patient, got 5 of width 6"):
        objective(slides(6), step=0, steps=1, generator=generator())


def test_a_row_of_several_slides_is_refused():
    objective = slide_distil.build(
        slide_distil.Config(), encoder=small_longnet(0), teacher=small_longnet(1), generator=generator()
    )
    mixed = slides()
    positions = mixed.positions.clone()
    positions[0, 3:, 2] = 1
    with pytest.raises(ValueError, match=r"row 0 .* several slides"):
        objective(dataclasses.replace(mixed, positions=positions), step=0, steps=1, generator=generator())


@pytest.mark.parametrize(
    ("name", "settings"),
    [("simclr", {"temperature": 0.0}), ("pixel_mae", {"hidden": 1.0}), ("distil", {"class_weight": 0.0, "patch_weight": 0.0})],
)
def test_settings_that_cannot_be_trained_are_refused(name, settings):
    with pytest.raises(ConfigError, match=name):
        shelf.configure("objectives", name, settings)
