"""Write tests/golden/gigapath.json: what Prov-GigaPath's numerics make of drawn weights and tiles.

Run ``python tests/reference/make_gigapath.py [FOLDER]`` from the repository. The numbers come from ``plain_longnet.py``; with
FOLDER, the folder of reference files made by the peer's own code, that re-derivation is held against them first.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from plain_longnet import CASES, draw, readout, states

GOLDEN = Path(__file__).parents[1] / "golden" / "gigapath.json"


def check(path: Path) -> float:
    """Return the largest difference between the re-derivation and one file of the peer's outputs."""
    file = torch.load(path, weights_only=True)
    config = file["config"]
    case = {"dim": config["dim"], "depth": config["depth"], "heads": config["heads"]}
    case |= {"segments": file["segment_length"], "dilations": file["dilated_ratio"]}
    worst = 0.0
    for number, tiles in enumerate(file["tile_embeds"]):
        cells = torch.floor(file["coords"][number] / 256).long()
        found = states(file["state_dict"], case, tiles, cells)
        for mean, key in ((False, "gp0"), (True, "gp1")):
            last = readout(file["state_dict"], found[-1], mean=mean, last=True)
            worst = max(worst, float((last - file[f"out_{key}"][number]).abs().max()))
            for x, wanted in zip(found, file[f"all_layers_{key}"], strict=True):
                came = readout(file["state_dict"], x, mean=mean, last=False)
                worst = max(worst, float((came - wanted.reshape(-1, config["dim"])[number]).abs().max()))
    return worst


def numbers(case: dict) -> dict[str, list]:
    """Readouts, and the gradient of a loss by tile and by tensor (its root mean square), in float64."""
    weights, tiles, cells, loss = draw(case)
    wide = {key: value.double().requires_grad_() for key, value in weights.items()}
    tiles = tiles.double().requires_grad_()
    found = states(wide, case, tiles, cells)
    mean, cls = (readout(wide, found[-1], mean=pool, last=True) for pool in (True, False))
    (mean * loss).sum().backward()
    rms = {key: float(value.grad.square().mean().sqrt()) for key, value in sorted(wide.items())}
    return {
        "mean": mean.tolist(),
        "cls": cls.tolist(),
        "layers": [readout(wide, x, mean=True, last=False)[:8].tolist() for x in found],
        "tile_gradient": tiles.grad.sum(dim=1).tolist(),
        "gradients": rms,
    }


def main() -> None:
    """Check, then write the numbers to eight digits."""
    torch.set_grad_enabled(True)
    for path in sorted(Path(sys.argv[1]).glob("small_*.pt")) if len(sys.argv) > 1 else ():
        worst = check(path)
        print(f"{path.name}: {worst:.1e}")
        assert worst < 1e-5, "the re-derivation left the peer's numbers"
    found = {name: numbers(case) for name, case in CASES.items()}
    short = json.loads(json.dumps(found), parse_float=lambda text: float(f"{float(text):.8g}"))
    GOLDEN.write_text(
        "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in short.items()) + "\n}\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
