"""A DINOv2 step against a plain ViT forward and backward of the same FLOPs, in one run.

    python benchmarks/dinov2_speed.py [--recipe vit_tiny_cpu] [--batch 32] [--rounds 7] [--device cpu]

FLOPs are those of the matrix products, forward and backward, as torch counts them. The step is everything the loop does but
reading tiles: student, teacher, heads, losses, clipping, AdamW and the moving average. The plain network is the recipe's encoder
on the recipe's global crops, its loss the mean of the class tokens, without optimiser. Rounds alternate; medians of processor
time (of wall time on a GPU). Prints the ratio of FLOPs a second, step over plain.
"""

import argparse
import dataclasses
import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from oncoweave.core import shelf
from oncoweave.train.plan import Plan
from oncoweave.train.pretrain import build
from oncoweave.train.stream import seeded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="vit_tiny_cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    plan: Plan = shelf.load("recipes", given.recipe).plan()
    plan = dataclasses.replace(plan, batch=given.batch)
    device = torch.device(given.device)
    module = build(plan, stream=None).to(device).train()
    batch = crops(plan, device)
    optimiser = torch.optim.AdamW([{"params": list(g.params)} for g in module.parameter_groups()], lr=1e-6, fused=True)
    plain = build(plan, stream=None).student.encoder.to(device).train()
    images = batch["global"]

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        module(batch, step=plan.steps // 2, steps=plan.steps, generator=seeded(0))["loss"].backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 3.0)
        optimiser.step()
        module.after_step(step=plan.steps // 2, steps=plan.steps)

    def forward_backward() -> None:
        plain.zero_grad(set_to_none=True)
        plain(images).mean().backward()

    flops = [count(f) for f in (step, forward_backward)]
    seconds = np.array([[clock(f, device) for f in (step, forward_backward)] for _ in range(given.rounds)])
    rate = np.array(flops) / np.median(seconds, axis=0)
    ratios = (flops[0] / seconds[:, 0]) / (flops[1] / seconds[:, 1])
    print(f"{given.recipe}, batch {given.batch}, {device}, {given.rounds} rounds")
    for name, f, s, r in zip(("DINOv2 step", "plain ViT"), flops, np.median(seconds, axis=0), rate, strict=True):
        print(f"{name}: {f / 1e9:.1f} GFLOP, {s:.3f} s, {r / 1e9:.1f} GFLOP/s")
    print(f"ratio: {rate[0] / rate[1]:.3f} (of single rounds {ratios.min():.3f} to {ratios.max():.3f})")


def crops(plan: Plan, device: torch.device) -> dict[str, torch.Tensor]:
    views = plan.objective_settings["views"]
    generator = torch.Generator().manual_seed(0)
    return {c.name: torch.rand(c.count * plan.batch, 3, c.side, c.side, generator=generator).to(device) for c in views.crops}


def count(function) -> int:
    function()
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def clock(function, device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        function()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
