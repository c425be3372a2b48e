"""Planted genes, alterations and record columns against the coefficients of the linear models of one modality.

Called by ``phantom_truth.py``. A coefficient belongs to a standardised column, so its size can be compared within a modality.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from oncoweave.phantom.biology import EFFECTS, Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.phantom.gene_sets import DECOYS, PLANTED
from oncoweave.train.dataset import Dataset, load_dataset
from oncoweave.train.fold import Fold
from oncoweave.train.linear_learner import fit_linear

HAZARD = {e.factor: e.coefficient for e in EFFECTS if e.kind != "synergistic"}
VARIANTS = {"TP53_mut": 1, "TP53_cnv": -1, "MDM2_cnv": -1, "MYC_cnv": 1}
"""Alterations that follow driver B or proliferation (``phantom.molecular``), and the sign of their effect on the hazard."""
RECORD = {
    "age_years": 1, "stage=I": -1, "stage=II": -1, "stage=III": 1, "stage=IV": 1, "ecog": 1, "albumin_g_l": -1, "crp_mg_l": 1,
    "haemoglobin_g_dl": -1, "leukocytes_g_l": 1, "platelets_g_l": 1, "ldh_u_l": 1, "cea_ug_l": 1, "bmi_kg_m2": -1,
}  # fmt: skip
"""Columns that follow age, stage or frailty (``phantom.record``)."""
INDIRECT = ("ecog missing", "cea_ug_l missing", "ldh_u_l missing")
"""Absence that follows age, stage or the value itself: neither planted nor without effect, left out of the count."""


def gene_signs(genes: pd.DataFrame) -> dict[str, int]:
    """Sign of each gene's effect on the hazard: that of its loading times its factor's coefficient, 0 where there is none."""
    return {
        gene: int(np.sign(loading * HAZARD.get(factor, 0.0)))
        for gene, factor, loading in zip(genes["gene"], genes["factor"], genes["loading"], strict=True)
    }


def coefficients(data: Dataset, modality: str, *, seed: int) -> pd.Series:
    """Coefficient of each named column of the modality's own ridge Cox model, fitted on all patients."""
    fold = Fold(train=data, seed=seed, inner_folds=5, group_by_site=False)
    fitted = fit_linear(fold, [modality], fusion="concat").fitted
    names = fitted.preparations[modality].feature_names
    values = fitted.head.model.coefficients
    wanted = tuple(f"{modality}[{j}]" for j in range(len(names)))
    if fitted.fusion.names != wanted:
        raise ValueError(f"{modality}: fused columns {fitted.fusion.names[-3:]} are not the {len(names)} features in order")
    return pd.Series(values, index=list(names))


def one_at_a_time(data: Dataset, modality: str, *, seed: int) -> pd.Series:
    """Correlation of each column with the martingale residual of the null model: what ranks genes without any fusion."""
    has = np.array([s is not None for s in data.samples[modality]])
    part = data.take(has)
    preparation = Fold(train=part, seed=seed, inner_folds=5, group_by_site=False).preparation(modality)
    x, time, event = preparation.block(part.samples[modality]), part.outcome.time, part.outcome.event
    order = np.argsort(time, kind="stable")
    hazard = np.cumsum(event[order] / np.arange(len(order), 0, -1))
    residual = np.empty(len(order))
    residual[order] = event[order] - hazard
    return pd.Series(residual @ (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-12) / len(x), index=list(preparation.feature_names))


def score(values: pd.Series, signs: dict[str, int]) -> dict[str, float]:
    """AUROC and precision at k (k = columns planted) of the size of the values, and how many planted ones have their sign."""
    planted = np.array([signs[n] for n in values.index])
    size, k = np.abs(values.to_numpy()), int((planted != 0).sum())
    top = np.argsort(-size, kind="stable")[:k]
    right = np.sign(values.to_numpy()) == planted
    return {
        "auroc": float(roc_auc_score(planted != 0, size)),
        "precision at k": float((planted[top] != 0).mean()),
        "sign right": float(right[planted != 0].mean()),
        "sign right in the top k": float(right[top][planted[top] != 0].mean()) if (planted[top] != 0).any() else float("nan"),
        "k": k,
        "columns": len(values),
    }


def measure(*, patients: int, seeds: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit every modality on true and on permuted outcomes; returns scores and the mean coefficient of each gene set."""
    scores, sets = [], []
    for seed in range(seeds):
        cohort, revealed, _ = draw_cohort(Config(patients=patients, seed=100 + seed, without=("slide", "volume", "film")))
        data = load_dataset(cohort, "overall_survival", ["expression", "variants", "record"])
        shuffled = data.with_target(data.outcome.take(np.random.default_rng([seed, 1]).permutation(len(data))))
        genes = revealed.genes.set_index("gene")["gene_set"]
        for label, drawn in (("true outcomes", data), ("permuted outcomes", shuffled)):
            for modality, signs in (("expression", gene_signs(revealed.genes)), ("variants", VARIANTS), ("record", RECORD)):
                found = coefficients(drawn, modality, seed=seed)
                found = found.drop([n for n in INDIRECT if n in found.index])
                known = {name: signs.get(name, 0) for name in found.index}
                scores.append({"seed": seed, "outcomes": label, "ranked by": f"{modality}: ridge Cox", **score(found, known)})
                if modality == "expression":
                    single = one_at_a_time(drawn, modality, seed=seed)
                    scores.append(
                        {"seed": seed, "outcomes": label, "ranked by": "expression: one gene at a time", **score(single, known)}
                    )
                    mean = (found / found.abs().mean()).groupby(genes.reindex(found.index)).mean()
                    sets.append(pd.DataFrame({"gene_set": mean.index, "mean": mean.to_numpy(), "outcomes": label, "seed": seed}))
    return pd.DataFrame(scores), pd.concat(sets, ignore_index=True)


def set_aurocs(sets: pd.DataFrame, signs: dict[str, int]) -> pd.DataFrame:
    """AUROC of the size of a set's mean coefficient, prognostic sets against the other planted sets and the decoys."""
    named = sets[sets["gene_set"] != ""]
    rows = [
        {"outcomes": label, "seed": seed, "auroc": roc_auc_score(part["gene_set"].map(signs) != 0, part["mean"].abs())}
        for (label, seed), part in named.groupby(["outcomes", "seed"])
    ]
    return pd.DataFrame(rows)


def set_signs() -> dict[str, int]:
    """Sign of each set's effect on the hazard; 0 for decoys and for factors that do not change the hazard by themselves."""
    return {s.name: int(np.sign(s.loading * HAZARD.get(s.factor or "", 0.0))) for s in (*PLANTED, *DECOYS)}


def spread(values: pd.Series) -> str:
    """Mean and range over seeds."""
    return f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"


def tables(scores: pd.DataFrame, sets: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The tables of the result page."""
    columns = ["auroc", "precision at k", "sign right", "sign right in the top k"]
    grouped = scores.groupby(["ranked by", "outcomes"], sort=False)
    shown = grouped[columns].agg(spread).reset_index()
    chance = grouped[["k", "columns"]].mean().round(0).astype(int).reset_index()
    shown.insert(2, "planted / columns", [f"{k} / {n}" for k, n in zip(chance["k"], chance["columns"], strict=True)])
    signs = set_signs()
    by_set = set_aurocs(sets, signs).groupby("outcomes", sort=False)["auroc"].agg(spread).reset_index()
    wide = sets[sets["gene_set"] != ""].groupby(["gene_set", "outcomes"])["mean"].mean().unstack()
    wide.insert(0, "planted sign", [{1: "+", -1: "-", 0: "0"}[signs[n]] for n in wide.index])
    ordered = wide.reindex(sorted(wide.index, key=lambda n: (signs[n] == 0, -abs(wide.loc[n, "true outcomes"])))).reset_index()
    return [
        ("Columns: mean over seeds (smallest to largest)", shown.sort_values("outcomes", ascending=False, kind="stable")),
        ("Gene sets: AUROC of the mean coefficient's size, prognostic sets against all others", by_set),
        ("Mean coefficient of each set, in mean sizes of a coefficient", ordered.round(2)),
    ]


def draw(sets: pd.DataFrame, path: Path) -> None:
    """Dot plot: mean coefficient of every set in every seed, true outcomes beside permuted ones."""
    import matplotlib.pyplot as plt

    signs = set_signs()
    named = sets[sets["gene_set"] != ""]
    order = sorted(signs, key=lambda n: (-signs[n], n))
    order = [*[n for n in order if signs[n] > 0], *[n for n in order if signs[n] < 0], *[n for n in order if signs[n] == 0]]
    figure, axes = plt.subplots(1, 2, figsize=(11, 6), sharey=True, sharex=True)
    colours = {1: "#c0392b", -1: "#1f5fa8", 0: "#888888"}
    for axis, label in zip(axes, ("true outcomes", "permuted outcomes"), strict=True):
        for row, name in enumerate(order):
            values = named[(named["gene_set"] == name) & (named["outcomes"] == label)]["mean"]
            axis.plot(values, np.full(len(values), row), "o", color=colours[signs[name]], alpha=0.5, ms=5)
            axis.plot([values.mean()], [row], "|", color="black", ms=14)
        axis.axvline(0, color="black", lw=0.6)
        axis.set(title=label, xlabel="mean coefficient of the set (in mean sizes of a coefficient)")
    axes[0].set_yticks(range(len(order)), [n.replace("_", " ").lower() for n in order], fontsize=8)
    axes[0].invert_yaxis()
    figure.suptitle("Gene sets: red raises the planted hazard, blue lowers it, grey has no effect; one dot a seed", fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
