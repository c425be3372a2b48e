"""How well each model predicts: the forest plot of the main measure, and a table of every measure."""

import math

import pandas as pd

from oncoweave.serve import findings, wording
from oncoweave.serve.charts.forest import Estimate, Guide, forest_plot
from oncoweave.serve.page import Block, Figure, Prose, Row, Section, Table, absent
from oncoweave.serve.run_folder import RunFolder

_ROLES = (
    ("baseline", "Baselines", "square"),
    ("single", "One modality alone", "circle"),
    ("fusion", "Fusion of modalities", "diamond"),
    ("null", "Null: trained on permuted outcomes", "cross"),
)
_MEASURES_A_TABLE = 4
_MEASURES_SHOWN = 16


def performance_section(run: RunFolder) -> Section:
    """Show every model's main measure against the baselines, and chance."""
    key, title = "performance", "How well the models predict"
    if run.metrics is None or run.metric is None:
        return absent(key, title, "The run folder has no metrics.parquet, so no model’s performance can be shown.")
    table = run.measured(run.metric)
    metric = wording.capital(wording.measure(run.metric, run.endpoint.time_unit))
    groups = [(name, _estimates(run, table, role, shape)) for role, name, shape in _ROLES if (table["role"] == role).any()]
    guides = _guides(run, table)
    better = "higher" if findings.higher_is_better(run, run.metric) else "lower"
    chart = forest_plot(
        groups,
        axis=f"{metric} ({better} is better)",
        headers=(f"{metric} (95% interval)", *wording.count_headers(table)),
        guides=guides,
        title=f"{metric} of every model",
    )
    means = wording.meaning(run.metric)
    caption = (
        f"{metric} of every model{f': {means}' if means else ''}. Marks are estimates on patients not used for training, lines"
        " are 95% intervals over patients. The model the study is about, named before the analysis, is in bold. Squares are"
        f" baselines, circles single modalities, diamonds fusions, crosses the null. {' '.join(_guide_words(g) for g in guides)}"
    )
    if (table["role"] == "null").any():
        caption += " The interval of the null holds the luck of the permutation, not of the patients drawn alone."
    if table["n"].nunique() > 1:
        caption += " A model with a smaller n predicts only for patients who have its modality, is measured on those, and has no"
        caption += " rank among the others."
    return Section(key=key, title=title, blocks=(Figure(svg=chart, caption=caption.strip()), *_remarks(run, table)))


def measures_section(run: RunFolder) -> Section:
    """Tabulate every measure of every model."""
    key, title = "measures", "Every measure of every model"
    if run.metrics is None or run.metrics.empty:
        return absent(key, title, "The run folder has no metrics.parquet, so there is nothing to tabulate.")
    table = run.metrics[run.metrics["role"] != "ablation"]
    order = {role: i for i, (role, _, _) in enumerate(_ROLES)}
    table = table.sort_values("role", key=lambda role: role.map(order), kind="stable")
    measures = list(dict.fromkeys(run.metrics["metric"]))
    shown = measures[:_MEASURES_SHOWN]
    size = math.ceil(len(shown) / math.ceil(len(shown) / _MEASURES_A_TABLE))
    parts = [shown[i : i + size] for i in range(0, len(shown), size)]
    blocks: list[Block] = [_measure_table(run, table, part) for part in parts]
    if len(shown) < len(measures):
        left = wording.plural(len(measures) - len(shown), "further measure")
        blocks.append(Prose(text=f"{left} can be found in metrics.parquet of the run folder.", role="note"))
    return Section(key=key, title=title, blocks=tuple(blocks))


def _estimates(run: RunFolder, table: pd.DataFrame, role: str, shape: str) -> list[Estimate]:
    null = findings.null_spread(run) if role == "null" else None
    if null is not None:
        row = table[table["role"] == "null"].iloc[0]
        label = wording.model(str(row["model"])) + (f", mean of {wording.count(null.runs)} runs" if null.runs > 1 else "")
        columns = wording.counts(table, row)
        return [Estimate(label=label, value=null.mean, low=null.low, high=null.high, columns=columns, shape=shape, tone=role)]
    return [
        Estimate(
            label=wording.model(str(row["model"])),
            value=row["value"],
            low=row["low"],
            high=row["high"],
            columns=wording.counts(table, row),
            shape=shape,
            tone=role,
            strong=row["model"] == run.main,
        )
        for _, row in _best_first(run, table[table["role"] == role]).iterrows()
    ]


def _best_first(run: RunFolder, table: pd.DataFrame) -> pd.DataFrame:
    ascending = not findings.higher_is_better(run, str(run.metric))
    return table.sort_values("value", ascending=ascending, na_position="last")


def _guides(run: RunFolder, table: pd.DataFrame) -> list[Guide]:
    guides = []
    baselines = _best_first(run, table[(table["role"] == "baseline") & table["value"].notna()])
    # a line at a lesser one would call it the best, and one of other patients is no bar to the models of these
    if len(baselines) and findings.on_the_same_patients(run, str(baselines["model"].iloc[0])):
        best = float(baselines["value"].iloc[0])
        guides.append(Guide(value=best, label=f"best baseline {wording.number(best)}", class_="guide"))
    if run.chance is not None:
        guides.append(Guide(value=run.chance, label=f"chance {wording.number(run.chance, 2)}", class_="guide chance"))
    return guides


def _guide_words(guide: Guide) -> str:
    return "The dotted line is chance." if "chance" in guide.class_ else "The dashed line is the best baseline."


def _remarks(run: RunFolder, table: pd.DataFrame) -> list[Block]:
    remarks: list[Block] = []
    failed = [_with_reason(row) for _, row in table[table["value"].isna()].iterrows()]
    if failed:
        remarks.append(Prose(text=f"Not estimable: {wording.listed(failed)}.", role="note"))
    bare = [_with_reason(row) for _, row in table[table["value"].notna() & table["low"].isna()].iterrows()]
    if bare:
        remarks.append(Prose(text=f"Interval not defined: {wording.listed(bare)}.", role="note"))
    if run.reference not in set(table["model"]):
        text = f"The reference, {wording.model(run.reference)}, is not among the models measured."
        remarks.append(Prose(text=text, role="warning"))
    return remarks


def _with_reason(row: pd.Series) -> str:
    note = row.get("note")
    return wording.model(str(row["model"])) + (f" ({note})" if isinstance(note, str) and note else "")


def _measure_table(run: RunFolder, table: pd.DataFrame, measures: list[str]) -> Table:
    cells = {(row["model"], row["metric"]): row for _, row in table.iterrows()}
    rows = [
        Row(
            cells=(_of_how_many(model, table), *(_with_folds(cells.get((model, name))) for name in measures)),
            strong=model == run.main,
        )
        for model in dict.fromkeys(table["model"])
    ]
    names = [wording.measure(name, run.endpoint.time_unit) for name in measures]
    arrows = ["↑" if findings.higher_is_better(run, name) else "↓" for name in measures]
    caption = f"{wording.capital(wording.listed(names))}. Estimate (95% interval)"
    caption += ", below it mean ± standard deviation over folds" if table["fold_mean"].notna().any() else ""
    return Table(
        caption=f"{caption}. ↑ higher is better, ↓ lower is better.",
        header=("Model", *(f"{wording.capital(name)}\u00a0{arrow}" for name, arrow in zip(names, arrows, strict=True))),
        rows=tuple(rows),
    )


def _of_how_many(model: str, table: pd.DataFrame) -> str:
    """Name a model, with the number of its patients where another has more."""
    own = table.loc[table["model"] == model, "n"].max()
    return wording.model(model) + (f" (n = {wording.count(own)})" if own < table["n"].max() else "")


def _with_folds(row: pd.Series | None) -> str:
    if row is None:
        return "–"
    estimate = wording.estimate(row["value"], row["low"], row["high"])
    if not wording.known(row["fold_mean"]):
        return estimate
    return f"{estimate}\n{wording.number(row['fold_mean'])} ± {wording.number(row['fold_sd'])}"
