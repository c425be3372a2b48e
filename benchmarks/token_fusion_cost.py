"""What attention without the tile-tile block saves, and what batched gene sets save: ratios of times taken in one run.

Run ``python benchmarks/token_fusion_cost.py`` (under two minutes on one core). Prints a table; forward and backward, one patient
with 50 pathway tokens, width 64, the median of a few repeats. Ratios compare methods that took turns, so that a busy machine
slows both.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oncoweave.data.gmt import find_gmt, place_sets, read_gmt
from oncoweave.nn.blocks import TransformerBlock
from oncoweave.nn.few_many import FewManyBlock
from oncoweave.nn.gene_sets import SetLinear
from oncoweave.nn.transport import unbalanced_plan

WIDTH, PATHWAYS = 64, 50


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("tiles  few-many block  dense block  dense / few-many  transport plan")
    for tiles, repeats in ((1_000, 7), (4_000, 5), (10_000, 3)):
        sparse, dense, plan = attention(tiles, repeats)
        print(f"{tiles:6,} {sparse:12.3f} s {dense:10.3f} s {dense / sparse:14.1f} x {plan:13.3f} s")
    print("\ngene sets  genes  members  batched  loop over sets  dense masked  loop / batched  dense / batched")
    for count in (50, 400):
        gene_sets(count)


def attention(tiles: int, repeats: int) -> list[float]:
    few, many = torch.randn(1, PATHWAYS, WIDTH), torch.randn(1, tiles, WIDTH)
    keep_few, keep_many = torch.ones(1, PATHWAYS, dtype=torch.bool), torch.ones(1, tiles, dtype=torch.bool)
    block = FewManyBlock(WIDTH, heads=1, ratio=2.0, dropout=0.0)
    plain = TransformerBlock(WIDTH, heads=1, ratio=2.0)
    both, keep = torch.cat([few, many], dim=1), torch.cat([keep_few, keep_many], dim=1)
    unit = F.normalize(few, dim=2).requires_grad_(), F.normalize(many, dim=2)

    def sparse() -> Tensor:
        return sum(part.sum() for part in block(few, many, keep_few=keep_few, keep_many=keep_many))

    def dense() -> Tensor:
        return plain(both, keep=keep).sum()

    def plan() -> Tensor:
        cost = 1 - unit[0] @ unit[1].transpose(1, 2)
        return unbalanced_plan(cost, keep_query=keep_few, keep_key=keep_many, reg=0.1, relax=0.5, iterations=10).square().sum()

    return in_turns([sparse, dense, plan], repeats)


def gene_sets(count: int) -> None:
    if count == 50:
        sets = read_gmt(find_gmt("hallmark"))
        genes = sorted({gene for members in sets.values() for gene in members})
        places = list(place_sets(sets, genes).values())
    else:  # as many as Reactome and the hallmarks in SurvPath: sizes from a few to two hundred
        genes = [f"G{i}" for i in range(2_000)]
        sizes = torch.logspace(0.7, 2.3, count).long().tolist()
        places = [tuple(torch.randperm(len(genes))[:size].tolist()) for size in sizes]
    values = torch.randn(64, len(genes))
    batched = SetLinear(places, num_inputs=len(genes), width=32)
    looped = nn.ModuleList(nn.Linear(len(members), 32) for members in places)
    mask = torch.zeros(len(genes), len(places), 1)
    for s, members in enumerate(places):
        mask[list(members), s] = 1.0
    weight = torch.randn(len(genes), len(places), 32, requires_grad=True)

    def loop() -> Tensor:
        return sum(layer(values[:, list(members)]).sum() for layer, members in zip(looped, places, strict=True))

    def dense() -> Tensor:
        return (values @ (weight * mask).flatten(start_dim=1)).sum()

    times = in_turns([lambda: batched(values).sum(), loop, dense], 3)
    total = sum(len(members) for members in places)
    print(
        f"{len(places):9} {len(genes):6,} {total:8,} {times[0]:6.3f} s {times[1]:13.3f} s {times[2]:11.3f} s"
        f" {times[1] / times[0]:13.1f} x {times[2] / times[0]:14.1f} x"
    )


def in_turns(functions: list[Callable[[], Tensor]], repeats: int) -> list[float]:
    """Median processor time of forward and backward of each, taken in turns after one run that does not count."""
    taken: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, times in zip(functions, taken, strict=True):
            start = time.process_time()
            function().backward()
            if repeat:
                times.append(time.process_time() - start)
    return [statistics.median(times) for times in taken]


if __name__ == "__main__":
    main()
