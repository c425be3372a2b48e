"""DINOv2's losses by hand, collapse in closed form, and what is special about its teacher."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from oncoweave.core.errors import ConfigError
from oncoweave.encoders import vit
from oncoweave.nn.augment import Crop, Views, multi_crop
from oncoweave.nn.spread import kde, koleo
from oncoweave.objectives import dinov2

SIDE, PATCH, TILES, LOCALS, PROTOTYPES = 32, 8, 4, 3, 16
VIEWS = Views(crops=multi_crop(side=SIDE, local_side=16, locals_=LOCALS))
SMALL = dinov2.Config(
    views=VIEWS, hidden=24, bottleneck=8, prototypes=PROTOTYPES, freeze_prototypes=0, teacher_temperature_warm_up=10
)


def encoder(seed=0, **changes):
    config = vit.Config(image=SIDE, patch=PATCH, dim=16, depth=1, heads=2, hidden=24, mask_token=True, registers=1)
    return vit.build(dataclasses.replace(config, **changes), generator=torch.Generator().manual_seed(seed))


def build(*, given=None, **changes):
    config = dataclasses.replace(SMALL, **changes)
    return dinov2.build(config, encoder=given or encoder(), generator=torch.Generator().manual_seed(1)).train()


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = {"global": (2 * TILES, SIDE), "local": (LOCALS * TILES, 16)}
    return {name: torch.rand(n, 3, s, s, generator=generator) for name, (n, s) in sizes.items()}


def run(objective, given=None, step=0):
    return objective(given or batch(), step=step, steps=100, generator=torch.Generator().manual_seed(3))


class Constant(nn.Module):
    """An encoder that has collapsed: every token of every image is the same vector."""

    def __init__(self):
        super().__init__()
        self.config = vit.Config(image=SIDE, patch=PATCH, dim=16, heads=2)
        self.prefix = 1
        self.mask_token = nn.Parameter(torch.zeros(1, 16))
        self.vector = nn.Parameter(torch.ones(16))

    def tokens(self, images, masks=None, *, visible=None, generator=None):
        count = 1 + (images.shape[2] // PATCH) * (images.shape[3] // PATCH)
        return self.vector.expand(len(images), count, -1)


def test_the_loss_is_the_formula_of_the_paper_written_out_pair_by_pair():
    objective = build()
    given = batch()
    found = run(objective, given)
    drawn = torch.Generator().manual_seed(3)
    masks, _, _ = objective._hidden(given["global"], drawn)
    student, teacher = objective.student, objective.teacher
    with torch.no_grad():
        tokens = teacher.encoder.tokens(given["global"])
        targets = torch.softmax(teacher.head(tokens[:, 0]) / 0.04, dim=1)  # centres start at zero
        patch_targets = torch.softmax(teacher.head(tokens[:, 2:].flatten(0, 1)) / 0.04, dim=1).unflatten(0, (2 * TILES, -1))
        seen = student.encoder.tokens(given["global"], masks, generator=drawn)
        local = student.encoder.tokens(given["local"])[:, 0]
        every = torch.log_softmax(student.head(torch.cat([seen[:, 0], local])) / 0.1, dim=1).unflatten(0, (2 + LOCALS, TILES))
        patches = torch.log_softmax(student.head(seen[:, 2:].flatten(0, 1)) / 0.1, dim=1).unflatten(0, (2 * TILES, -1))
    teachers = targets.unflatten(0, (2, TILES))
    pairs = [-(teachers[t, i] * every[s, i]).sum() for t in range(2) for s in range(2 + LOCALS) if s != t for i in range(TILES)]
    of_class = sum(pairs) / (TILES * (2 + 2 * LOCALS))
    of_patches = 0.0
    for i in range(2 * TILES):
        if masks[i].any():
            losses = -(patch_targets[i] * patches[i]).sum(dim=1)
            of_patches += losses[masks[i]].mean() / (2 * TILES)
    spread = koleo(seen[:TILES, 0]) + koleo(seen[TILES:, 0])
    torch.testing.assert_close(found["class"], of_class, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["patch"], of_patches, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["spread"], spread, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["loss"].detach(), of_class + of_patches + 0.1 * spread, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("centring", ["centre", "sinkhorn"])
def test_a_collapsed_encoder_costs_the_logarithm_of_the_prototypes_where_the_teacher_is_centred(centring):
    """Alike for every tile, a centred teacher is uniform, so a student has nothing to gain; its own best is uniform too."""
    objective = build(given=Constant(), centring=centring, spread="kde", centre_momentum=0.0)
    run(objective)  # the centre is that of the batch before
    found = run(objective)
    with torch.no_grad():
        logits = objective.student.head(torch.ones(1, 16))
    wanted = torch.logsumexp(logits / 0.1, dim=1) - (logits / 0.1).mean()
    assert float(found["teacher_entropy"]) == pytest.approx(math.log(PROTOTYPES), abs=1e-3)
    assert float(found["class"]) == pytest.approx(float(wanted), abs=1e-3)
    assert float(found["class"]) >= math.log(PROTOTYPES)
    with torch.no_grad():
        objective.student.head.prototypes.copy_(torch.ones(PROTOTYPES, 8))
    uniform = run(objective)
    assert float(uniform["class"]) == pytest.approx(math.log(PROTOTYPES), abs=1e-4)
    assert float(uniform["patch"]) == pytest.approx(math.log(PROTOTYPES) * 0.5, abs=1e-4)  # half the crops are masked
    assert float(found["spread"]) == pytest.approx(2 * 5.0, abs=1e-4)  # one point on the sphere, in both crops


def test_without_centring_a_collapsed_teacher_is_sure_of_itself_and_the_log_shows_it():
    objective = build(given=Constant(), centre_momentum=1.0)
    with torch.no_grad():
        objective.teacher.head.prototypes[0] = objective.teacher.head.mlp(torch.ones(1, 16))[0]
    found = run(objective)
    assert float(found["marginal_entropy"]) == pytest.approx(float(found["teacher_entropy"]), abs=1e-5)
    assert float(found["marginal_entropy"]) < 0.5 * math.log(PROTOTYPES)


def test_prototypes_get_no_gradient_until_their_step_and_everything_else_does():
    objective = build(freeze_prototypes=5)
    for step, frozen in ((0, True), (4, True), (5, False)):
        objective.zero_grad()
        run(objective, step=step)["loss"].backward()
        assert (objective.student.head.prototypes.grad is None) == frozen
        assert objective.student.head.mlp[0].weight.grad.abs().max() > 0
    (group,) = [group for group in objective.parameter_groups() if group.frozen_until]
    assert group.frozen_until == 5
    assert group.params == (objective.student.head.prototypes,)


def test_the_teacher_is_the_moving_average_and_reaches_momentum_one():
    objective = build(momentum=0.9, momentum_end=1.0)
    before = objective.teacher.encoder.norm.weight.clone()
    with torch.no_grad():
        objective.student.encoder.norm.weight.add_(1.0)
    objective.after_step(step=0, steps=100)
    torch.testing.assert_close(objective.teacher.encoder.norm.weight, before + 0.1)
    objective.after_step(step=50, steps=100)  # half way: momentum 0.95
    torch.testing.assert_close(objective.teacher.encoder.norm.weight, before + 0.1 + 0.05 * 0.9)
    stood = objective.teacher.encoder.norm.weight.clone()
    objective.after_step(step=100, steps=100)
    assert torch.equal(objective.teacher.encoder.norm.weight, stood)
    assert objective.exported is objective.teacher.encoder


def test_the_teacher_sees_whole_crops_and_drops_nothing():
    objective = build(given=encoder(drop_path=0.5))
    assert objective.student.encoder.training
    assert not objective.teacher.encoder.training
    assert not objective.eval().train().teacher.training
    with torch.no_grad():
        objective.teacher.encoder.mask_token.fill_(torch.nan)
    assert run(objective)["loss"].isfinite()


def test_the_teachers_temperature_warms_up():
    """Lower temperatures make surer teachers."""
    objective = build(centre_momentum=1.0, teacher_temperature_start=0.01, teacher_temperature=1.0)
    sureness = [float(run(objective, step=step)["teacher_entropy"]) for step in (0, 5, 10, 50)]
    assert sureness[0] < sureness[1] < sureness[2] == sureness[3]


def test_a_head_of_their_own_for_patches_changes_only_their_loss():
    shared, separate = run(build()), run(build(patch_head=True))
    assert torch.equal(shared["class"], separate["class"])
    assert not torch.equal(shared["patch"], separate["patch"])
    assert "patch head, prototypes" in {group.name for group in build(patch_head=True).parameter_groups()}


def test_without_patches_nothing_is_masked():
    objective = build(patch_weight=0.0, given=encoder(mask_token=False))
    found = run(objective)
    assert found["patch"] == 0
    assert objective.patch_centre is None


def test_without_local_crops_the_global_ones_teach_each_other():
    objective = build(views=Views(crops=VIEWS.crops[:1]))
    assert run(objective, {"global": batch()["global"]})["loss"].isfinite()


def test_the_kernel_density_takes_koleos_place():
    objective = build(spread="kde", spread_weight=0.05)
    found = run(objective)
    rest = found["loss"].detach() - found["class"] - found["patch"]
    torch.testing.assert_close(rest, 0.05 * found["spread"], rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        first = objective.student.encoder.tokens(batch()["global"])[:, 0]
    assert float(found["spread"]) == pytest.approx(float(2 * kde(first, concentration=5.0)), rel=0.02)


def test_a_few_steps_on_one_batch_bring_the_student_to_a_teacher_that_stays():
    objective = build(spread_weight=0.0, centring="sinkhorn")
    optimizer = torch.optim.AdamW([p for group in objective.parameter_groups() for p in group.params], lr=3e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = run(objective)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ConfigError, match="mask_token=True"):
        dinov2.build(SMALL, encoder=encoder(mask_token=False), generator=torch.Generator())
    with pytest.raises(ConfigError, match=r"two crops named 'global'.* got .*'views': 2"):
        dinov2.Config(views=Views(crops=(Crop(name="views", count=2, side=32, scale=(0.1, 1.0)),)))
    with pytest.raises(ConfigError, match=r"^dinov2: teacher_temperature wanted above 0, got 0\.0$"):
        dinov2.Config(teacher_temperature=0.0)
