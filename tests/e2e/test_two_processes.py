"""Two processes with half a batch each equal one with the whole: losses, gradients, centres, assignments; sharded or not."""

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from oncoweave.encoders import vit
from oncoweave.nn.assignments import Centre, sinkhorn
from oncoweave.nn.augment import Views, multi_crop
from oncoweave.nn.contrast import nt_xent
from oncoweave.nn.spread import kde, koleo
from oncoweave.objectives import dinov2

TILES, LOCALS, STEPS = 6, 2, 2
DINO = {"spread": "kde", "momentum": 0.9, "masking": dinov2.Blocks(share=0.0)}
"""Nothing is masked, as each process draws its own masks. KoLeo makes much of rounding where tiles are near twins, as here."""


def features(rows, dim, seed):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def half(x, rank, views=1):
    """The rows of one process: its share of the tiles, of every view; all rows where there is one process."""
    if rank is None:
        return x
    return x.unflatten(0, (views, -1)).chunk(2, dim=1)[rank].flatten(0, 1)


def mean_of_processes(x):
    if dist.is_initialized():
        x = x.clone()
        dist.all_reduce(x)
        x /= dist.get_world_size()
    return x


def parts(rank):
    """Losses and their gradients with respect to a weight that all processes share."""
    found = {}
    for name, loss in {
        "koleo": lambda x, y: koleo(x),
        "kde": lambda x, y: kde(x, concentration=5.0),
        "nt_xent": lambda x, y: nt_xent(x, y, temperature=0.2),
    }.items():
        weight = torch.eye(5).requires_grad_()
        value = loss(half(features(8, 5, 0), rank) @ weight, half(features(8, 5, 1), rank) @ weight)
        value.backward()
        found[name] = mean_of_processes(value.detach())
        found[f"{name}, gradient"] = mean_of_processes(weight.grad)
    # uneven numbers of tokens, none in one process at last
    logits = features(9, 7, 2)
    cuts = {None: (slice(0, 9), slice(0, 9)), 0: (slice(0, 7), slice(0, 9)), 1: (slice(7, 9), slice(9, 9))}[rank]
    centre = Centre(7, momentum=0.5).train()
    for number, cut in enumerate(cuts):
        found[f"sinkhorn {number}"] = pad_to(sinkhorn(logits[cut], temperature=0.3, iterations=3), cut.start)
        centre(logits[cut], temperature=0.3)
    found["centre"] = centre.mean
    return found


def pad_to(rows, start):
    """Rows at their place among nine; zeros elsewhere, so that a sum over processes joins them."""
    full = torch.zeros(9, rows.shape[1])
    full[start : start + len(rows)] = rows
    return mean_of_processes(full) * (dist.get_world_size() if dist.is_initialized() else 1)


def build(centring):
    config = dinov2.Config(
        views=Views(crops=multi_crop(side=32, local_side=16, locals_=LOCALS)), hidden=16, bottleneck=8, prototypes=12,
        freeze_prototypes=1, centring=centring,
    )  # fmt: skip
    size = vit.Config(image=32, patch=8, dim=16, depth=2, heads=2, hidden=24, mask_token=True)
    generator = torch.Generator().manual_seed(0)
    encoder = vit.build(size, generator=generator)
    return dinov2.build(dataclasses.replace(config, **DINO), encoder=encoder, generator=generator).train()


def train(centring, rank, *, shard=False):
    """Train for some steps by plain descent; returns the losses and the exported weights."""
    objective = build(centring)
    if shard:
        from torch.distributed.fsdp import fully_shard

        for branch in (objective.student, objective.teacher):
            for block in branch.encoder.blocks:
                fully_shard(block)
        fully_shard(objective)
    losses = []
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        sizes = {"global": (2, 32), "local": (LOCALS, 16)}
        whole = {k: torch.rand(n * TILES, 3, s, s, generator=generator) for k, (n, s) in sizes.items()}
        batch = {key: half(x, rank, sizes[key][0]) for key, x in whole.items()}
        found = objective(batch, step=step, steps=STEPS, generator=torch.Generator().manual_seed(9))
        found["loss"].backward()
        losses.append(mean_of_processes(found["loss"].detach()))
        with torch.no_grad():
            for group in objective.parameter_groups():
                for parameter in group.params:
                    if parameter.grad is not None:
                        gradient = parameter.grad if shard else mean_of_processes(parameter.grad)
                        parameter.sub_(gradient, alpha=0.05)
                        parameter.grad = None
        objective.after_step(step=step, steps=STEPS)
    state = {
        key: (value.full_tensor() if hasattr(value, "full_tensor") else value) for key, value in objective.state_dict().items()
    }
    return {f"{centring} loss": torch.stack(losses)} | {f"{centring} {key}": value for key, value in state.items()}


def process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = parts(rank) | train("centre", rank) | train("sinkhorn", rank)
    sharded = {f"sharded {key}": value for key, value in train("sinkhorn", rank, shard=True).items()}
    torch.save(found | sharded, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What both processes found."""
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(process, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_statistics_and_gradients_are_those_of_the_joined_batch(found):
    for key, wanted in parts(None).items():
        for came in found:
            torch.testing.assert_close(came[key], wanted, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("centring", ["centre", "sinkhorn"])
def test_training_on_halves_is_training_on_the_whole(found, centring):
    for key, wanted in train(centring, None).items():
        for came in found:
            torch.testing.assert_close(came[key], wanted, rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}")


def test_sharded_parameters_train_alike(found):
    keys = [key for key in found[0] if key.startswith("sharded ")]
    assert keys
    for key in keys:
        wanted = found[0][key.removeprefix("sharded ")]
        for came in found:
            torch.testing.assert_close(came[key], wanted, rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}")
