"""A phantom cohort on disk whose slides are bags drawn from the truth: every modality but scans' pixels, in a second."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.data.bags import write_bag
from oncoweave.data.cohort import Cohort
from oncoweave.data.store import write_cohort
from oncoweave.modalities import slide
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort


def write_drawn(folder: Path, *, patients: int, complete: bool = True, seed: int = 0, without: tuple[str, ...] = ()) -> Cohort:
    """Write it, with every endpoint; ``complete`` leaves nobody without a modality."""
    config = Config(
        patients=patients, seed=seed, sites=3, missing=0.0 if complete else 1.0, without=("volume", *without), lung_diseases=True
    )
    root = folder.with_name(f"{folder.name}.drawn")
    cohort, revealed, _ = draw_cohort(config, root=root)
    truths = {t.patient_id: t for t in revealed.truths}
    if "slide" in cohort.tables:
        rows = []
        for patient in cohort.tables["slide"]["patient_id"].unique():
            drawn = slide.synthesise(truths[patient], np.random.default_rng(int(patient[2:])))
            for bag in drawn.bags:
                path = f"bags/slide/{bag.attrs.slide_id}.h5"
                write_bag(root / path, bag)
                rows.append({"patient_id": patient, "sample_id": f"{patient}-T1", "slide_id": bag.attrs.slide_id, "path": path})
        cohort = replace(cohort, tables={**cohort.tables, "slide": pd.DataFrame(rows)})
    if "film" in cohort.tables:
        (root / "films").mkdir(parents=True, exist_ok=True)
        for path in cohort.tables["film"]["path"]:
            (root / path).write_bytes(b"no pixels")
    write_cohort(cohort, folder)
    return Cohort.open(folder)
