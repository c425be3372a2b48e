"""A slide shared by two processes gives the outputs and gradients of one process."""

import dataclasses
from pathlib import Path

import torch
from torch import distributed, multiprocessing, nn

from oncoweave.encoders.longnet import VARIANTS, build
from oncoweave.nn.sequence_parallel import current_ranks
from oncoweave.nn.tokens import Tokens

READOUTS = ("mean", "cls")


def network(readout: str) -> nn.Module:
    torch.manual_seed(0)
    config = dataclasses.replace(VARIANTS["tiny"], readout=readout, layers=(1, 2))
    return build(config, dim_in=5, num_tokens=None, dim_out=3)


def batch() -> Tokens:
    """Three patients with two slides each but the last, who has one tile; no slide begins where the second process does."""
    generator = torch.Generator().manual_seed(0)
    keep = torch.arange(60) < torch.tensor([60, 33, 1])[:, None]
    places = torch.stack([torch.randperm(144, generator=generator)[:60] for _ in keep])
    number = torch.arange(60).expand(3, -1) % 2
    positions = torch.stack([places % 12, places // 12, number], dim=-1).float()
    return Tokens(values=torch.randn(3, 60, 5, generator=generator), keep=keep, positions=positions)


def share(rank: int, folder: str) -> None:
    """One of two processes: its share of the gradient, averaged as data parallelism does."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for readout in READOUTS:
        made, tokens = network(readout), batch()
        made.ranks = current_ranks()
        with torch.no_grad():
            inferred = made.eval()(tokens).values
        out = made.train()(tokens).values
        out.sin().sum().backward()
        gradients = {key: parameter.grad for key, parameter in made.named_parameters() if parameter.grad is not None}
        for gradient in gradients.values():
            distributed.all_reduce(gradient)
            gradient /= 2
        torch.save({"inferred": inferred, "out": out.detach(), "gradients": gradients}, Path(folder) / f"{readout}{rank}.pt")
    distributed.destroy_process_group()


def test_a_slide_shared_by_two_processes_is_the_slide_of_one(tmp_path):
    multiprocessing.spawn(share, args=(str(tmp_path),), nprocs=2)
    for readout in READOUTS:
        made = network(readout)
        out = made(batch()).values
        out.sin().sum().backward()
        wanted = {key: parameter.grad for key, parameter in made.named_parameters() if parameter.grad is not None}
        for rank in range(2):
            came = torch.load(tmp_path / f"{readout}{rank}.pt", weights_only=True)
            for key in ("inferred", "out"):
                torch.testing.assert_close(came[key], out.detach(), rtol=1e-5, atol=1e-6)
            assert came["gradients"].keys() == wanted.keys()
            for key, gradient in wanted.items():
                torch.testing.assert_close(came["gradients"][key], gradient, rtol=1e-4, atol=1e-5, msg=f"{readout} {key}")
