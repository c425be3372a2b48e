"""Molecular profiles of phantom patients: RNA counts with planted pathways, mutations and copy numbers behind gene panels."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from oncoweave.core.truth import PatientTruth
from oncoweave.phantom.biology import SUBTYPES, Config, stream
from oncoweave.phantom.gene_sets import DECOYS, PLANTED, all_genes

MUTATION_RATES = {
    "PIK3CA": 0.13, "PTEN": 0.07, "APC": 0.1, "SMAD4": 0.08, "ARID1A": 0.12, "KEAP1": 0.1, "STK11": 0.09, "NF1": 0.08,
    "RB1": 0.06, "BRAF": 0.05, "EGFR": 0.09, "ERBB2": 0.04, "FBXW7": 0.05, "CDKN2A": 0.09, "NOTCH1": 0.08, "KMT2D": 0.14,
    "FAT1": 0.12, "ATM": 0.06, "BRCA2": 0.04, "MET": 0.03, "CTNNB1": 0.05, "NFE2L2": 0.06, "SETD2": 0.05, "ARID2": 0.05,
}  # fmt: skip
"""Passenger mutations and their frequency at an average mutational burden; without effect on the hazard."""
DRIVER_A, DRIVER_B = "KRAS", "TP53"
COPY_NUMBER_GENES = ("MYC", "CCND1", "EGFR", "ERBB2", "MDM2", "FGFR1", "PIK3CA", "CDKN2A", "RB1", "PTEN", "SMAD4", "TP53")
PANELS = {
    "exome": (DRIVER_A, DRIVER_B, *MUTATION_RATES),
    "panel-16": (DRIVER_A, DRIVER_B, "PIK3CA", "PTEN", "APC", "SMAD4", "BRAF", "EGFR", "ERBB2", "CDKN2A", "STK11", "NOTCH1",
                 "MET", "CTNNB1", "KEAP1", "FBXW7"),
    "hotspot-6": (DRIVER_A, "EGFR", "BRAF", "PIK3CA", "ERBB2", "MET"),
}  # fmt: skip
"""Genes each panel covers. Copy numbers come with the first two only."""


def gene_table(config: Config) -> pd.DataFrame:
    """Draw the parameters of every gene: set, factor, loading (natural log units a factor unit), mean count, dispersion."""
    rng = stream(config, "genes", 0)
    genes = all_genes()
    table = pd.DataFrame({"gene": genes, "gene_set": "", "factor": "", "loading": 0.0})
    table["mean_count"] = np.exp(rng.normal(5.2, 1.3, len(genes))).clip(8, 40_000)
    table["dispersion"] = np.exp(rng.normal(-1.9, 0.4, len(genes))).clip(0.05, 0.6)
    place = {g: i for i, g in enumerate(genes)}
    for gene_set in (*PLANTED, *DECOYS):
        rows = [place[g] for g in gene_set.genes]
        spread = np.exp(rng.normal(0, 0.3, len(rows)))
        table.loc[rows, "gene_set"] = gene_set.name
        table.loc[rows, "factor"] = gene_set.factor or f"nuisance:{gene_set.name}"
        table.loc[rows, "loading"] = (gene_set.loading if gene_set.factor else 0.35) * spread
    return table


def draw_expression(config: Config, index: int, truth: PatientTruth, genes: pd.DataFrame) -> np.ndarray:
    """Draw RNA counts: negative binomial around ``library * mean * exp(loading * factor + site shift)``.

    Decoy sets move together too, with a nuisance factor of their own that has no effect on the hazard.

    Returns:
        ``[gene]`` int64 counts, in the order of ``genes``.
    """
    rng = stream(config, "expression", index)
    factors = factor_values(truth) | {f"nuisance:{s.name}": float(rng.standard_normal()) for s in DECOYS}
    score = genes["factor"].map(factors | {"": 0.0}).to_numpy(dtype=float)
    site = stream(config, "expression site", int(truth.site.rpartition("-")[2]))
    shift = site.normal(0, 0.2 if config.site_confounder else 0.1, len(genes))
    library = np.exp(rng.normal(0, 0.35))
    mean = library * genes["mean_count"].to_numpy() * np.exp(genes["loading"].to_numpy() * score + shift)
    dispersion = genes["dispersion"].to_numpy()
    return rng.poisson(mean * rng.gamma(1 / dispersion, dispersion))


def factor_values(truth: PatientTruth) -> dict[str, float]:
    """Give every factor a gene set may follow, as a number centred near zero."""
    values = {k: float(v) for k, v in asdict(truth).items() if isinstance(v, int | float)}
    values |= {"driver_a": truth.driver_a - 0.4, "driver_b": truth.driver_b - 0.45}
    return values | {f"is_{name}": (truth.subtype == i) - 1 / 3 for i, name in enumerate(SUBTYPES)}


def draw_variants(config: Config, index: int, truth: PatientTruth) -> tuple[str, dict[str, float]]:
    """Draw the panel and the alterations: ``GENE_mut`` 0 or 1, ``GENE_cnv`` -2 to 2; NaN where the panel lacks the gene.

    A driver is called with sensitivity 0.97. ``MYC`` gains follow proliferation, ``MDM2`` gains exclude driver B.
    """
    rng = stream(config, "variants", index)
    burden = np.exp(rng.normal(0, 0.5))
    calls: dict[str, float] = {}
    for gene, mutated in ((DRIVER_A, truth.driver_a), (DRIVER_B, truth.driver_b)):
        calls[f"{gene}_mut"] = float(mutated and rng.random() < 0.97)
    for gene, rate in MUTATION_RATES.items():
        calls[f"{gene}_mut"] = float(rng.random() < min(0.9, rate * burden))
    for gene in COPY_NUMBER_GENES:
        calls[f"{gene}_cnv"] = _copies(gene, truth, rng)
    hospital = int(truth.site.rpartition("-")[2])
    panel = list(PANELS)[rng.choice(3, p=((0.55, 0.3, 0.15), (0.2, 0.6, 0.2), (0.15, 0.35, 0.5))[hospital % 3])]
    for name in calls:
        gene, _, what = name.partition("_")
        if (what == "mut" and gene not in PANELS[panel]) or (what == "cnv" and panel == "hotspot-6"):
            calls[name] = float("nan")
    return panel, calls


def _copies(gene: str, truth: PatientTruth, rng: np.random.Generator) -> float:
    tendency = {
        "MYC": 0.6 * truth.proliferation, "CDKN2A": -0.7, "RB1": -0.5, "PTEN": -0.5, "SMAD4": -0.4,
        "TP53": -0.8 * truth.driver_b, "MDM2": 0.2 - 0.6 * truth.driver_b, "EGFR": 0.3,
    }.get(gene, 0.1)  # fmt: skip
    return float(np.clip(np.fix((tendency + rng.standard_normal()) / 1.15), -2, 2))
