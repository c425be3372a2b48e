"""Tiles a second and faithfulness of vision transformers at each precision, side by side in one process.

``python benchmarks/vit_inference.py [--device cpu] [--variants small base] [--tiles 16] [--rounds 5] [--compile]``

Beside what ``slides embed --precision`` offers stand fp16 on a processor, dynamic int8 (torch.ao) and ``torch.compile``, which
it does not; the dated page says why. Times are of the process's own clock on a processor and of the wall on a GPU, rounds of all
precisions interleaved, the median of rounds. Faithfulness is the smallest cosine of a tile's vector to the one in fp32, with
weights drawn at random so that every block does something, which is harder on precision than a network at its start.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import torch

from oncoweave.encoders import vit
from oncoweave.train.tile_encoder import TileEncoder


def drawn(variant: str) -> vit.VisionTransformer:
    """Build a variant with weights that give every block its say: normal by fan-in, LayerScale 1/10."""
    generator = torch.Generator().manual_seed(0)
    network = vit.build(vit.VARIANTS[variant], generator=generator)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1 and "token" not in name and "pos" not in name:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            elif name.endswith("gamma"):
                parameter.fill_(0.1)
    return network.eval()


def tiles(count: int, side: int) -> torch.Tensor:
    """Draw tiles of coarse and fine texture."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 200, (count, 3, side // 16, side // 16)).repeat(16, axis=2).repeat(16, axis=3)
    return torch.from_numpy((coarse + rng.integers(0, 56, (count, 3, side, side))).astype(np.uint8))


def measure(variant: str, *, device: str, count: int, rounds: int, compiled: bool) -> None:
    """Print one table row a precision."""
    where = torch.device(device)
    modules = {precision: (precision, drawn(variant).to(where)) for precision in ("fp32", "bf16", "fp16")}
    if where.type == "cpu":
        modules["int8"] = ("fp32", torch.ao.quantization.quantize_dynamic(drawn(variant), {torch.nn.Linear}, dtype=torch.qint8))
    if compiled:
        modules["fp32 compiled"] = ("fp32", torch.compile(drawn(variant).to(where)))
    dim = vit.CARDS[variant].dim
    encoders = {
        name: TileEncoder(name=variant, module=module, dim=dim, fingerprint="", device=where, precision=precision)
        for name, (precision, module) in modules.items()
    }
    given = tiles(count, vit.CARDS[variant].tile)
    clock = time.process_time if where.type == "cpu" else time.perf_counter
    started = time.perf_counter()
    vectors = {name: encoder.encode(given) for name, encoder in encoders.items()}
    print(f"{variant}: first calls of all, {time.perf_counter() - started:.0f} s")
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(rounds):
        for name, encoder in encoders.items():
            start = clock()
            encoder.encode(given)
            seconds[name].append(clock() - start)
    exact = statistics.median(seconds["fp32"])
    for name, times in seconds.items():
        took = statistics.median(times)
        cosine = torch.nn.functional.cosine_similarity(vectors["fp32"], vectors[name]).min()
        print(f"| {variant} | {name} | {count / took:.2f} | {exact / took:.2f} | {float(cosine):.6f} |", flush=True)


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--variants", nargs="+", default=["tiny", "small", "base"])
    parser.add_argument("--tiles", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message=r".*quantiz|.*torch\.ao")
    torch.set_num_threads(1)
    print("| variant | precision | tiles/s | times fp32 | smallest cosine to fp32 |\n|---|---|---|---|---|")
    for variant in args.variants:
        measure(variant, device=args.device, count=args.tiles, rounds=args.rounds, compiled=args.compile)


if __name__ == "__main__":
    main()
