"""Driver mutations, microsatellite instability and mutational burden from report and omics, within type of cancer too."""

from oncoweave.core.endpoint import EndpointKind
from oncoweave.train.fusion_panel import LINEAR, MAIN
from oncoweave.train.report_panel import NETWORK, PROTOCOL, READERS, REPORT, RULE, SOURCE
from oncoweave.train.task import Figure, Published, Split, StandIn, Task

BENCHMARK = "public data"
KEYS = ("driver_mutations", "msi_high", "tmb_high")
_TEXT = {"TP53": 0.749, "KRAS": 0.872, "IDH1": 0.911, "PIK3CA": 0.735, "EGFR": 0.759}
_PARTS: dict[str, tuple[str, tuple[str, ...], dict[EndpointKind, str], str]] = {
    "driver_mutations": ("Which driver genes are mutated", (), {"multilabel": "macro_auroc"}, "findings"),
    "msi_high": ("Is the tumour microsatellite unstable", ("stable", "unstable"), {"binary": "auroc"}, "driver_a"),
    "tmb_high": ("Is the mutational burden high", ("low", "high"), {"binary": "auroc"}, "driver_a"),
}

TASKS = {
    key: Task(
        name=f"report_mutation/{key}",
        question=f"{asked}, as report, expression and copy numbers tell?",
        source=SOURCE,
        roles={REPORT: ("report",), "clinical": ("record",), "expression": ("expression",), "variants": ("variants",)},
        required=(REPORT,),
        optional=("clinical", "expression", "variants"),
        endpoints=(key,),
        labels=labels,
        metrics=metrics,
        groups=("tumour_type",),
        strata=("tumour_type", "cancer_type"),
        models=(*READERS, *LINEAR),
        main=MAIN,
        published=Published(
            citation="none known",
            source="none",
            notes=(
                "Nobody is known to have published it on these reports. For context, Prov-GigaPath reaches an AUROC of .766"
                " for EGFR in lung adenocarcinoma from slides. Much of every figure is the type of cancer, so figures within a"
                " type belong beside it. Variants are copy numbers alone here: with mutations among them the answer would be an"
                " input."
            ),
        ),
        floor=tuple(
            Figure(model="TF-IDF, logistic regression, 1,766 reports", metric="auroc", label=gene, value=value)
            for gene, value in (_TEXT if key == "driver_mutations" else {}).items()
        ),
        stand_in=StandIn(
            endpoint=stand_in,
            reason=(
                "Reports and expression of the phantom show growth pattern and immune cells, from which labels follow in part."
                " Its variants state driver_a outright, so that a model that sees them is right without any skill."
            ),
        ),
        split=Split(rule=RULE),
        protocol=PROTOCOL,
        network=NETWORK,
    )
    for key, (asked, labels, metrics, stand_in) in _PARTS.items()
}
