"""Cost of the slide encoder (GigaPath's size) on one CPU thread, against the floor set by the same run's matrix products.

Run ``OMP_NUM_THREADS=1 python benchmarks/longnet.py [--sizes 1000 10000 ...] [--training 10000 ...] [--page PAGE]``. Times are
process time, so that other work on the machine counts little; the rate of a large float32 matrix product is measured before
and after every layer, and the floor of a layer is its FLOPs (dense layers and every branch) at the mean of both rates. Each
measurement is a process of its own; memory is the peak of its resident set less what it held before.
"""

import argparse
import json
import math
import platform
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from oncoweave.encoders.longnet import VARIANTS, Config, LongNet
from oncoweave.nn.packed_slides import Slides, lay

DIM_IN = 1536
SIDE = 4096
"""Side of the matrices whose product sets the rate."""


def flops(config: Config, tiles: int) -> tuple[float, float]:
    """FLOPs of one layer's dense products and of its branches, a multiplication and an addition counting two."""
    tokens, attention = tiles + 1, 0.0
    for segment, dilation in zip(config.segments, config.dilations, strict=True):
        width = min(segment, tokens)
        lengths = [width] * (tokens // width) + [tokens % width]
        attention += sum(4 * config.dim * (length / dilation) ** 2 for length in lengths)
    return tokens * config.dim**2 * (8 + 4 * config.ratio), attention


class Rate:
    """Rate of a large matrix product, in FLOP/s of process time."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.matrices = [torch.randn(SIDE, SIDE, generator=generator) for _ in range(2)]
        self.out = torch.empty(SIDE, SIDE)

    def __call__(self, rows: int = SIDE) -> float:
        start = time.process_time()
        torch.mm(self.matrices[0][:rows], self.matrices[1], out=self.out[:rows])
        return 2 * rows * SIDE**2 / (time.process_time() - start)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def peak() -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return resident()


def slide(tiles: int) -> Slides:
    """One slide of random tiles, in a square."""
    side, own = math.isqrt(tiles) + 1, torch.arange(tiles)
    values = torch.randn(1, tiles, DIM_IN, generator=torch.Generator().manual_seed(1))
    return lay(values, torch.stack([own % side, own // side], dim=1)[None], [(0, own)])


def build() -> dict[str, float]:
    before, start = reset_peak(), time.process_time()
    network = LongNet(VARIANTS["base"], dim_in=DIM_IN)
    seconds = time.process_time() - start
    return {"seconds": seconds, "gb": (peak() - before) / 1e9, "parameters": sum(p.numel() for p in network.parameters())}


def forward(tiles: int, *, upstream: bool) -> dict[str, float]:
    """Time each layer between two measurements of the rate; memory comes from a second pass without them."""
    config = replace(VARIANTS["base"], upstream_compatible=upstream)
    network, slides, rate = LongNet(config, dim_in=DIM_IN).eval(), slide(tiles), Rate()
    dense, attention = flops(config, tiles)
    seconds, floor, rates = 0.0, 0.0, [rate(), rate()]
    with torch.no_grad():
        before = reset_peak()
        states = network.states(slides)
        next(states)
        for _ in range(config.depth):
            rates.append(rate(1024))
            start = time.process_time()
            next(states)
            spent = time.process_time() - start
            rates.append(rate(1024))
            seconds += spent
            floor += (dense + attention) / (sum(rates[-2:]) / 2)
        held = peak() - before
        del states
    return {
        "seconds": seconds, "floor": floor, "gb": held / 1e9, "tflop": config.depth * (dense + attention) / 1e12,
        "share": attention / (dense + attention), "rate": sum(rates) / len(rates) / 1e9,
    }  # fmt: skip


def training(tiles: int, *, depth: int, checkpoint: str) -> dict[str, float]:
    """Forward and backward of the mean readout."""
    network = LongNet(replace(VARIANTS["base"], depth=depth, checkpoint=checkpoint), dim_in=DIM_IN).train()
    slides = slide(tiles)
    before, start = reset_peak(), time.process_time()
    network.readouts(slides, pool="mean")[0].sum().backward()
    return {"seconds": time.process_time() - start, "gb": (peak() - before) / 1e9}


def apart(name: str, **settings: object) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    call = json.dumps({"name": name, **settings})
    done = subprocess.run([sys.executable, __file__, "--one", call], check=True, capture_output=True, text=True)
    print(call, done.stdout.strip(), flush=True)
    return json.loads(done.stdout)


def exponent(rows: list[tuple[int, dict]], key: str) -> float:
    """Slope of the last two points in logarithms."""
    (a, first), (b, last) = rows[-2:]
    return math.log(last[key] / first[key]) / math.log(b / a)


def page(args: argparse.Namespace) -> str:
    made = apart("build")
    curve = [(n, apart("forward", tiles=n, upstream=False)) for n in args.sizes]
    peer = [(n, apart("forward", tiles=n, upstream=True)) for n in args.upstream]
    trained = [(n, d, c, apart("training", tiles=n, depth=d, checkpoint=c)) for n, d, c in map(parse, args.training)]
    lines = [
        f"torch {torch.__version__}, {platform.machine()}, one thread, float32, random weights; process time.",
        "",
        f"Build: {made['seconds']:.2f} s, {made['gb']:.2f} GB, {made['parameters']:,} parameters.",
        "",
        "| tiles | numerics | TFLOP | attention's share | CPU s | floor s | ratio | matmul GFLOP/s | extra GB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for rows, numerics in ((curve, "exact"), (peer, "upstream")):
        for n, r in rows:
            lines.append(
                f"| {n:,} | {numerics} | {r['tflop']:.2f} | {r['share']:.2f} | {r['seconds']:.1f} | {r['floor']:.1f} |"
                f" {r['seconds'] / r['floor']:.3f} | {r['rate']:.0f} | {r['gb']:.2f} |"
            )
    if len(curve) > 1:
        spans = f"{curve[-2][0]:,} to {curve[-1][0]:,} tiles"
        lines += ["", f"Exponent from {spans}: seconds {exponent(curve, 'seconds'):.2f}, FLOPs {exponent(curve, 'tflop'):.2f}."]
    lines += ["", "| tiles | layers | recomputed | forward + backward, CPU s | extra GB |", "|---|---|---|---|---|"]
    lines += [f"| {n:,} | {d} | {c} | {r['seconds']:.0f} | {r['gb']:.2f} |" for n, d, c, r in trained]
    return "\n".join(lines) + "\n"


def parse(text: str) -> tuple[int, int, str]:
    tiles, depth, checkpoint = text.split(":")
    return int(tiles), int(depth), checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10000])
    parser.add_argument("--upstream", type=int, nargs="*", default=[], help="sizes to measure with the peer's numerics")
    parser.add_argument("--training", nargs="*", default=[], help="tiles:layers:recomputed, such as 10000:12:layers")
    parser.add_argument("--page", type=Path, help="where the tables are written")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.one:
        call = json.loads(args.one)
        print(json.dumps({"build": build, "forward": forward, "training": training}[call.pop("name")](**call)))
        return
    text = page(args)
    print(text)
    if args.page:
        args.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
