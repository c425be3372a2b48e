"""What each tile does to the output of an attention network on slides alone, against the cells and regions planted there.

Called by ``phantom_truth.py``. A contribution is the output for the whole slide less the output without the tile, so it has
a sign; attention has none. Every contribution is of a slide that the network was not trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from oncoweave.data.cohort import Cohort
from oncoweave.data.splits import make_splits
from oncoweave.evaluate.concordance import harrell_c
from oncoweave.nn.tokens import Tokens
from oncoweave.phantom.histology import REGIONS
from oncoweave.phantom.tissue import SCALE
from oncoweave.phantom.truth_folder import truth_folder
from oncoweave.train.dataset import Dataset, load_dataset
from oncoweave.train.fold import Fold
from oncoweave.train.loop import LoopConfig
from oncoweave.train.network_learner import FittedNetwork, NetworkSpec, fit_network

LOOP = LoopConfig(epochs=60, patience=15, batch_size=32)


@dataclass(frozen=True, kw_only=True)
class Question:
    """An endpoint, the output that is taken apart, and the tiles that should raise (+1) or lower (-1) it."""

    endpoint: str
    output: int
    title: str
    expected: dict[str, int]


QUESTIONS = (
    Question(endpoint="findings", output=0, title="necrosis (label)", expected={"necrosis": 1}),
    Question(endpoint="findings", output=2, title="high TIL (label)", expected={"lymphocytes": 1}),
    Question(endpoint="overall_survival", output=0, title="overall survival", expected={"necrosis": 1, "lymphocytes": -1}),
    Question(endpoint="grade", output=0, title="grade", expected={"mitoses": 1}),
)
LYMPHOCYTES, MITOSES = 12, 1
"""Cells of a tile of 64 um from which it counts as rich in them."""


def tile_truth(cohort: Cohort, sample) -> pd.DataFrame:
    """Shares of regions and counts of cells in each tile of a patient's slides, in the order of the tokens."""
    folder = truth_folder(cohort.root) / "slides"
    frames = []
    for bag in sample.bags:
        side = round(bag.attrs.patch_size_level0)
        masks = np.load(folder / f"{bag.attrs.slide_id}.masks.npz")
        nuclei = pd.read_parquet(folder / f"{bag.attrs.slide_id}.nuclei.parquet")
        regions = masks["regions"]
        rows = []
        for x, y in bag.coords:
            box = regions[y // SCALE : (y + side) // SCALE, x // SCALE : (x + side) // SCALE]
            inside = nuclei["x_px0"].between(x, x + side, "left") & nuclei["y_px0"].between(y, y + side, "left")
            kinds = nuclei.loc[inside, "type"].value_counts()
            shares = {name: float((box == code).mean()) for code, name in enumerate(REGIONS)}
            rows.append(shares | {"lymphocytes": kinds.get("lymphocyte", 0), "mitoses": kinds.get("mitosis", 0)})
        frames.append(pd.DataFrame(rows))
    return pd.concat(frames, ignore_index=True)


def marks(truth: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which tiles hold what: mostly necrosis, many lymphocytes, a mitosis, mostly tumour nests."""
    return {
        "necrosis": truth["necrosis"].to_numpy() >= 0.5,
        "lymphocytes": truth["lymphocytes"].to_numpy() >= LYMPHOCYTES,
        "mitoses": truth["mitoses"].to_numpy() >= MITOSES,
        "tumour": truth["tumour"].to_numpy() >= 0.5,
    }


def contributions(fitted: FittedNetwork, sample) -> tuple[np.ndarray, np.ndarray]:
    """Leave one tile out: ``[tile, output]`` of the whole less the rest, and the attention ``[tile]``."""
    model = fitted.model().eval()
    tokens = fitted.preparations["slide"].collate([sample])
    number = tokens.values.shape[1]
    keep = torch.ones(number + 1, number, dtype=torch.bool)
    keep[1:][torch.eye(number, dtype=torch.bool)] = False
    with torch.no_grad():
        outputs = model({"slide": Tokens(values=tokens.values.expand(number + 1, -1, -1), keep=keep)})
        attention = model.encoders["slide"].attention(tokens)[0].mean(dim=0)
    return (outputs[0] - outputs[1:]).numpy(), attention.numpy()


def networks(cohort: Cohort, endpoints: Sequence[str], *, permutations: int, seed: int):
    """Train on each fold's true outcomes and on permuted ones; yields (endpoint, outcomes, network number, fitted, tested)."""
    for endpoint in endpoints:
        data = load_dataset(cohort, endpoint, ["slide"])
        data = data.take(data.availability[:, 0] & data.outcome.known)
        splits = make_splits(data.patient_ids, data.outcome, data.site, folds=5, repeats=1, group_by_site=False, seed=seed)
        fold_of = splits.set_index("patient_id")["fold"].reindex(data.patient_ids).to_numpy()
        for fold in range(5):
            train, tested = data.take(fold_of != fold), data.take(fold_of == fold)
            for k in range(permutations + 1):
                rng = np.random.default_rng([seed, fold, k])
                target = train.outcome.take(rng.permutation(len(train))) if k else train.outcome
                part = Fold(train=train.with_target(target), seed=seed + 31 * k + fold, inner_folds=5, group_by_site=False)
                fitted = fit_network(part, ["slide"], NetworkSpec(fusion="mean", loop=LOOP)).fitted
                yield endpoint, "permuted" if k else "true", 10 * k + fold, fitted, tested


def skill(question: Question, fitted: FittedNetwork, tested: Dataset) -> float:
    """C-index or AUROC on the tested slides; for grade the concordance of P(G3) with the classes."""
    predicted, values = fitted.predict(tested), tested.outcome.values
    if question.endpoint == "overall_survival":
        return harrell_c(values[:, 0], values[:, 1] > 0.5, predicted[:, 0])
    if question.endpoint == "grade":
        return float(roc_auc_score(values == 2, predicted[:, 2]))
    known = ~np.isnan(values[:, question.output])
    return float(roc_auc_score(values[known, question.output], predicted[known, question.output]))


def measure(cohort: Cohort, *, permutations: int, seed: int) -> pd.DataFrame:
    """One row a network, question, kind of tile: AUROC of signed contribution and of attention, averaged over tested slides."""
    truths: dict[str, pd.DataFrame] = {}
    latent = pd.read_parquet(truth_folder(cohort.root) / "patients.parquet").set_index("patient_id")
    rows = []
    endpoints = list(dict.fromkeys(q.endpoint for q in QUESTIONS))
    for endpoint, outcomes, number, fitted, tested in networks(cohort, endpoints, permutations=permutations, seed=seed):
        taken = []
        for patient, sample in zip(tested.patient_ids, tested.samples["slide"], strict=True):
            if patient not in truths:
                truths[patient] = tile_truth(cohort, sample)
            taken.append((patient, truths[patient], *contributions(fitted, sample)))
        for question in (q for q in QUESTIONS if q.endpoint == endpoint):
            row = {"question": question.title, "outcomes": outcomes, "network": number, "skill": skill(question, fitted, tested)}
            for name in ("necrosis", "lymphocytes", "mitoses", "tumour"):
                signed, unsigned, correlation = [], [], []
                for _, truth, contribution, attention in taken:
                    marked = marks(truth)[name]
                    if 2 <= marked.sum() <= len(marked) - 2:
                        signed.append(roc_auc_score(marked, contribution[:, question.output]))
                        unsigned.append(roc_auc_score(marked, attention))
                        correlation.append(spearmanr(truth[name], contribution[:, question.output]).statistic)
                rows.append(row | {
                    "tiles": name, "expected": question.expected.get(name, 0), "slides": len(signed),
                    "contribution": np.mean(signed), "attention": np.mean(unsigned), "spearman": np.mean(correlation),
                })  # fmt: skip
            if endpoint == "grade":
                rows.append(row | _between(taken, latent["proliferation"], question.output))
    return pd.DataFrame(rows)


def _between(taken: list, proliferation: pd.Series, output: int) -> dict[str, object]:
    """Correlate over slides the mean contribution of tumour tiles with the planted proliferation; that of stroma as control."""
    found: dict[str, list[float]] = {"tumour": [], "other": [], "truth": []}
    for patient, truth, contribution, _ in taken:
        marked = marks(truth)["tumour"]
        if 2 <= marked.sum() <= len(marked) - 2:
            found["tumour"].append(contribution[marked, output].mean())
            found["other"].append(contribution[~marked, output].mean())
            found["truth"].append(proliferation[patient])
    tumour, other = (spearmanr(found[n], found["truth"]).statistic for n in ("tumour", "other"))
    return {"tiles": "between slides", "expected": 1, "slides": len(found["truth"]), "spearman": tumour, "elsewhere": other}


def tables(found: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The tables of the result page; intervals are ranges over networks."""
    within = found[found["tiles"] != "between slides"]
    keys = ["question", "tiles"]
    shown = within.groupby(keys, sort=False).agg(expected=("expected", "first"), slides=("slides", "mean"))
    shown["expected"] = shown["expected"].map({1: "above .5", -1: "below .5", 0: "not said"})
    shown["slides"] = shown["slides"].round(1)
    for column in ("contribution", "attention"):
        for outcomes in ("true", "permuted"):
            part = within[within["outcomes"] == outcomes].groupby(keys, sort=False)[column].agg(_spread)
            shown[f"{column}, {outcomes} outcomes"] = part
    skills = within.drop_duplicates(["question", "outcomes", "network"]).groupby(["question", "outcomes"], sort=False)["skill"]
    learnt = skills.agg(_spread).unstack()[["true", "permuted"]].reset_index()
    learnt.columns = ["question", "true outcomes", "permuted outcomes"]
    between = found[found["tiles"] == "between slides"]
    grades = between.groupby("outcomes", sort=False)[["spearman", "elsewhere"]].agg(_spread).reset_index()
    grades.columns = ["outcomes", "tumour tiles", "other tiles"]
    return [
        (
            "What the networks learnt: C-index (survival) or AUROC (labels, G3) on held-out slides, mean of 5 folds (range)",
            learnt,
        ),
        (
            "Tiles of held-out slides: AUROC of signed contribution and of attention, mean of 5 networks (range)",
            shown.reset_index(),
        ),
        ("Grade: correlation over slides of the mean contribution of tiles with planted proliferation (Spearman)", grades),
    ]


def _spread(values: pd.Series) -> str:
    return f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})"


def draw(cohort: Cohort, path: Path, *, seed: int) -> None:
    """Show slides with the most varied tissue beside their regions and the tile contributions of the survival network."""
    import matplotlib.pyplot as plt
    import tifffile

    _, _, _, fitted, tested = next(networks(cohort, ["overall_survival"], permutations=0, seed=seed))
    samples = dict(zip(tested.patient_ids, tested.samples["slide"], strict=True))
    ranked = sorted(samples, key=lambda p: -_variety(tile_truth(cohort, samples[p])))
    chosen = [(samples[p], contributions(fitted, samples[p])) for p in ranked[:4]]
    figure, axes = plt.subplots(len(chosen), 4, figsize=(12, 3 * len(chosen)))
    folder = truth_folder(cohort.root) / "slides"
    for (sample, (effect, attention)), row in zip(chosen, axes, strict=True):
        bag = sample.bags[0]
        image = tifffile.imread(cohort.root / "slides" / f"{bag.attrs.slide_id}.tiff")
        masks = np.load(folder / f"{bag.attrs.slide_id}.masks.npz")
        cells = pd.read_parquet(folder / f"{bag.attrs.slide_id}.nuclei.parquet").query("type == 'lymphocyte'")
        row[0].imshow(image)
        row[0].set_title(bag.attrs.slide_id, fontsize=9)
        row[1].imshow(masks["regions"], cmap="tab10", vmin=0, vmax=9)
        row[1].plot(cells["x_px0"] / SCALE, cells["y_px0"] / SCALE, ".", ms=1, color="black")
        row[1].set_title("orange nests, red necrosis, dots lymphocytes", fontsize=9)
        for axis, values, name, colours in (
            (row[2], effect[: len(bag), 0], "contribution to the risk", "RdBu_r"),
            (row[3], attention[: len(bag)], "attention", "magma"),
        ):
            side = round(bag.attrs.patch_size_level0)
            grid = np.full((image.shape[0] // side, image.shape[1] // side), np.nan)
            grid[bag.coords[:, 1] // side, bag.coords[:, 0] // side] = values
            limit = np.nanmax(np.abs(grid))
            axis.imshow(grid, cmap=colours, vmin=-limit if colours == "RdBu_r" else 0, vmax=limit)
            axis.set_title(name, fontsize=9)
    for axis in axes.ravel():
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _variety(truth: pd.DataFrame) -> float:
    marked = marks(truth)
    return min(marked["necrosis"].sum(), 6) + min(marked["lymphocytes"].sum(), 6)
