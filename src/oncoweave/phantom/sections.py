"""The slides of a phantom cohort: how many each patient has, rendered side by side in several processes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from oncoweave.core.truth import PatientTruth
from oncoweave.phantom.biology import Config, stream
from oncoweave.phantom.histology import render
from oncoweave.phantom.slide_file import summarise_section, write_section_truth, write_slide
from oncoweave.phantom.stain import Stain, site_stain


@dataclass(frozen=True, kw_only=True, slots=True)
class SlideOrder:
    """A slide to render."""

    index: int
    """Number of the patient."""
    number: int
    """Number of the slide among the patient's."""
    patient_id: str
    sample_id: str
    slide_id: str
    slide_path: str
    """Relative to the cohort folder."""


def order_slides(config: Config, truths: Sequence[PatientTruth], presence: Sequence[dict[str, bool]]) -> list[SlideOrder]:
    """List the slides: one a patient who has any, and a second one for about one patient in ten."""
    orders = []
    for index, (truth, present) in enumerate(zip(truths, presence, strict=True)):
        count = (1 + int(stream(config, "slides", index).random() < 0.1)) if present["slide"] else 0
        for number in range(count):
            slide_id = f"{truth.patient_id}-S{number + 1}"
            orders.append(
                SlideOrder(
                    index=index, number=number, patient_id=truth.patient_id, sample_id=f"{truth.patient_id}-T1",
                    slide_id=slide_id, slide_path=f"slides/{slide_id}.tiff",
                )
            )  # fmt: skip
    return orders


def stain_of(config: Config, site: str) -> Stain:
    """Give a site's stain and scanner; with the site confounder sites differ twice as much."""
    strength = 1.4 if config.site_confounder else 0.7
    return site_stain(stream(config, "stain", int(site.rpartition("-")[2])), strength=strength)


def render_slides(
    config: Config, truths: Sequence[PatientTruth], orders: Sequence[SlideOrder], folders: tuple[Path, Path], *,
    workers: int, progress: bool,
) -> pd.DataFrame:  # fmt: skip
    """Render and write all slides.

    Args:
        config: The cohort.
        truths: Its patients.
        orders: What to render.
        folders: Where slides go (under the first) and where their truth goes (under ``slides`` of the second).
        workers: Processes.
        progress: Show a bar.

    Returns:
        One row a slide: what it shows, counted.
    """
    from rich.progress import track

    jobs = [(config, truths[o.index], o, folders) for o in orders]
    done = _in_processes(jobs, workers) if workers > 1 and len(jobs) > 1 else map(_render_one, jobs)
    shown = track(done, description="slides", total=len(jobs), disable=not progress)
    rows = list(shown)
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


Job = tuple[Config, PatientTruth, SlideOrder, tuple[Path, Path]]


def _in_processes(jobs: Sequence[Job], workers: int) -> Iterator[pd.DataFrame]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(max_workers=workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_render_one, jobs)


def _render_one(job: Job) -> pd.DataFrame:
    config, truth, order, (root, hidden) = job
    rng = stream(config, f"section {order.number}", order.index)
    section = render(truth, stain_of(config, truth.site), rng, size_px=config.slide_px, mpp=config.mpp)
    write_slide(root / order.slide_path, section.image, mpp=config.mpp)
    write_section_truth(hidden / "slides", order.slide_id, section)
    return summarise_section(order.slide_id, order.patient_id, section)
