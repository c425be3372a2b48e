"""Every file of a folder of slides through ``oncoweave slides embed``: tiles, time, peak memory, or the refusal's message.

    python benchmarks/slides_real.py FOLDER... --out RESULTS [--encoder colour] [--mpp 0.5] [--declare 0.5] [--mask SLIDE MASK]

Each file is embedded by a process of its own, start-up included; "cpu s" is processor time, which a busy machine stretches less.
A file refused for want of a resolution is tried again with the one declared. Prints a Markdown table and writes it to
``RESULTS/slides.md``; the previews lie in ``RESULTS/<file>/previews``. ``--mask`` holds the tissue found on a slide against a
mask of it (an image of any size, tissue where it is not black), with no folder if that is all that is wanted.
"""

import argparse
import os
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from oncoweave.train.slide_record import ARTEFACTS
from oncoweave.wsi.files import SUFFIXES
from oncoweave.wsi.readers import open_slide, require_mpp
from oncoweave.wsi.tiling import TileRecipe, survey


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One file, embedded or refused."""

    file: str
    megabytes: float
    declared: str
    exit_code: int
    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    row: dict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder", default="colour")
    parser.add_argument("--mpp", default="0.5")
    parser.add_argument("--declare", default="0.5")
    parser.add_argument("--mask", nargs=2, type=Path, metavar=("SLIDE", "MASK"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    files = sorted(f for folder in given.folders for f in folder.rglob("*") if f.name.lower().endswith(SUFFIXES))
    measured = []
    for file in files:
        options = ["--encoder", given.encoder, "--mpp", given.mpp]
        measured.append(embed(file, given.out / file.name, options, declared=""))
        if "--slide-mpp" in measured[-1].row["reason"]:
            folder = given.out / f"{file.name}-declared"
            measured.append(embed(file, folder, [*options, "--slide-mpp", given.declare], declared=given.declare))
    text = table(measured) if measured else ""
    if given.mask:
        text += ("\n\n" if text else "") + agreement(*given.mask)
    (given.out / "slides.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def agreement(slide: Path, reference: Path) -> str:
    """Compare the tissue found on a slide with a mask of the same area."""
    with closing(open_slide(slide)) as source:
        found = survey(source, level0=require_mpp(source, declared=None), recipe=TileRecipe()).tissue
    image = Image.open(reference).convert("L").resize((found.shape[1], found.shape[0]), Image.Resampling.NEAREST)
    wanted = np.asarray(image) > 0
    both, either = (found & wanted).sum(), (found | wanted).sum()
    return (
        f"Tissue of {slide.name} ({found.shape[1]} x {found.shape[0]} mask pixels) against {reference.name}:"
        f" IoU {both / either:.3f}, recall {both / wanted.sum():.3f}, precision {both / found.sum():.3f}"
    )


def embed(file: Path, out: Path, options: list[str], *, declared: str) -> Measured:
    """Embed one file in a child process and take its time and largest resident memory."""
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "oncoweave.cli.main", "slides", "embed", str(file), "--out", str(out), *options]
    started = time.monotonic()
    child = os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, stream, str(out / "output.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            for stream in (1, 2)
        ],
    )
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - started
    return Measured(
        file=file.name,
        megabytes=file.stat().st_size / 1e6,
        declared=declared,
        exit_code=os.waitstatus_to_exitcode(status),
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_megabytes=usage.ru_maxrss / 1024,
        row=pd.read_parquet(out / "slides.parquet").iloc[0].to_dict(),
    )


def table(measured: list[Measured]) -> str:
    """Lay the measurements out as Markdown."""
    head = [
        "file",
        "MB",
        "reader",
        "px",
        "um/px",
        "tiles",
        "dropped",
        "tissue",
        "s",
        "cpu s",
        "tiles/cpu s",
        "peak MB",
        "exit",
        "refusal",
    ]
    rows = []
    for m in measured:
        r = m.row
        done = r["status"] != "failed"
        dropped = ", ".join(f"{r[f'{name}_tiles']} {name}" for name in ARTEFACTS if r[f"{name}_tiles"])
        rows.append(
            [
                m.file,
                f"{m.megabytes:.2f}",
                r["reader"],
                f"{r['width']} x {r['height']}" if done else "",
                f"{r['mpp']:.3g}{' declared' if r['mpp_declared'] else ''}"
                if done
                else (f"{m.declared} declared" if m.declared else ""),
                str(r["tiles"]),
                dropped,
                f"{r['tissue']:.0%}" if done else "",
                f"{m.seconds:.1f}",
                f"{m.cpu_seconds:.1f}",
                f"{r['tiles'] / m.cpu_seconds:.0f}" if done else "",
                f"{m.peak_megabytes:.0f}",
                str(m.exit_code),
                r["reason"],
            ]
        )
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
