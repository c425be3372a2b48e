"""What acting on the predictions would bring: cut-offs of a yes-or-no outcome, decision curves, reclassification."""

import numpy as np
import pandas as pd

from oncoweave.serve import wording
from oncoweave.serve.charts.decision import Decision, decision_plot
from oncoweave.serve.page import Block, Figure, Prose, Row, Section, Table, absent
from oncoweave.serve.run_folder import RunFolder
from oncoweave.serve.sections.risk import PREDICTED, spread

_MOST_HORIZONS = 3
_THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""At which the number needed to test is told, where the curve has them."""
_WORTH = (
    " Rows are specimens: those of a person are often right or wrong together, so that to the interval they are worth fewer that"
    " are independent, and the tests count them together."
)
_SHARES = ("sensitivity", "specificity", "positive predictive value", "negative predictive value")


def acting_section(run: RunFolder) -> Section:
    """Show what would follow from acting on the main model's predictions, beside the baseline."""
    key, title = "acting", "What acting on it would bring"
    if run.endpoint.kind not in ("binary", "survival"):
        why = "Cut-offs and decision curves need a yes-or-no outcome or an event by a horizon; this study predicts"
        return absent(key, title, f"{why} {PREDICTED[run.endpoint.kind]}.")
    if run.main == run.reference:
        return absent(key, title, "The main model is the baseline itself, so there is nothing to hold its decisions against.")
    blocks: list[Block] = []
    if run.endpoint.kind == "binary":
        blocks += [_operating(run), *_among_all(run)]
    blocks += _decision(run)
    blocks += _reclassification(run)
    return Section(key=key, title=title, blocks=tuple(blocks))


def _operating(run: RunFolder) -> Block:
    table = run.operating
    rows = table[table["model"].isin([run.main, run.reference])] if table is not None else None
    if rows is None or rows.empty:
        return Prose(text="The run folder has no operating.parquet with calls at cut-offs of these models.", role="absent")
    written = []
    for point in dict.fromkeys(rows["point"]):
        for model in (run.main, run.reference):
            of_model = rows[(rows["model"] == model) & (rows["point"] == point)].drop_duplicates("measure").set_index("measure")
            if of_model.empty:
                continue
            shares = (_share(of_model.loc[m]) if m in of_model.index else "–" for m in _SHARES)
            written.append(Row(cells=(_point(str(point)), wording.model(model), *shares), strong=model == run.main))
    notes = wording.listed(sorted({str(note) for note in rows["note"].fillna("") if note}))
    caption = (
        "Calls at cut-offs that were chosen on training patients of each fold, to have the sensitivity or specificity named, and"
        " applied to patients kept out; what is reached there may differ. Share (95% interval by Wilson), below it the patients"
        " it rests on (mean over repeats) and, of sensitivity and specificity, McNemar’s p against the baseline’s calls (first"
        " repeat), adjusted by Holm over all models, cut-offs and both measures of operating.parquet. Read the two together: who"
        " gains in one and loses in the other has moved the cut-off, and not improved."
        f"{_WORTH if any(_together(row) for _, row in rows.iterrows()) else ''}{f' {wording.capital(notes)}.' if notes else ''}"
    )
    header = ("Cut-off chosen for", "Model", *(wording.capital(m) for m in _SHARES))
    return Table(caption=caption, header=header, rows=tuple(written), num_text=2)


def _among_all(run: RunFolder) -> list[Block]:
    """Say what Cochran's test found over all models of the run, at each cut-off."""
    table = run.operating
    if table is None or "p_all" not in table or table["p_all"].isna().all():
        return []
    rows = table[table["p_all"].notna()].drop_duplicates(["point", "measure"]).set_index(["point", "measure"])
    told, sizes = [], rows.groupby("measure")["n_all"].max()
    for point in dict.fromkeys(rows.index.get_level_values("point")):
        found = [f"{m} {_of_all(rows.loc[(point, m)])}" for m in _SHARES if (point, m) in rows.index]
        told.append(f"at {_point(str(point))}, {wording.listed(found)}")
    among = {"sensitivity": "with the outcome", "specificity": "without it"}
    whom = wording.listed([f"{wording.count(sizes[m])} {words}" for m, words in among.items() if m in sizes])
    text = (
        "Whether all models of the run, and not two alone, are right equally often (Cochran’s Q, on the patients whom all of"
        f" them call in the first repeat, {whom}): {'; '.join(told)}."
    )
    return [Prose(text=text, role="note")]


def _of_all(row: pd.Series) -> str:
    adjusted = f" (adjusted by Holm {wording.p_value(row['p_all_adjusted'])})" if "p_all_adjusted" in row else ""
    return wording.p_equals(row["p_all"]) + adjusted


def _together(row: pd.Series) -> bool:
    """Whether specimens of one person count together in the interval of a share."""
    worth = row.get("n_effective")
    return wording.known(worth) and float(worth) < float(row["n"])


def _share(row: pd.Series) -> str:
    p = f"; {wording.p_equals(row['p'])}" if wording.known(row["p"]) else ""
    p += f", adjusted {wording.p_value(row['p_adjusted'])}" if p and wording.known(row.get("p_adjusted")) else ""
    n = wording.count(float(row["n"])) + (f", worth {wording.count(row['n_effective'])}" if _together(row) else "")
    return f"{wording.estimate(row['value'], row['low'], row['high'], 2)}\nn = {n}{p}"


def _point(point: str) -> str:
    fixed = "sensitivity" if point.startswith("sensitivity") else "specificity"
    return f"{fixed} {float(point.removeprefix(fixed)):.2f}"


def _decision(run: RunFolder) -> list[Block]:
    table = run.decision
    if table is None or table.empty:
        return [Prose(text="The run folder has no decision.parquet, so no decision curve can be drawn.", role="absent")]
    unit = run.endpoint.time_unit
    main = table[table["model"] == run.main]
    horizons = sorted(float(h) for h in main["horizon"].dropna().unique())
    parts = [("", main)] if not horizons else [(f"By {h:g} {unit}", main[main["horizon"] == h]) for h in horizons]
    shown = spread(parts, _MOST_HORIZONS)
    panels = [_panel(table, title, rows) for title, rows in shown]
    name, baseline = wording.model(run.main), wording.model(run.reference)
    title = "Decision curves"
    chart = decision_plot(panels, model=name, baseline=baseline, acting="treat", title=title)
    n, what = wording.plural(float(main["n"].max()), "patient"), "the event" if run.endpoint.kind == "survival" else "the outcome"
    caption = (
        f"Decision curves, of the {n} whom both models predict, from the first repeat. Net benefit counts patients treated who"
        f" have {what}, less those treated in vain, each of whom weighs the threshold’s odds, a patient; treating nobody has 0. A"
        " threshold is the risk from which one would treat: low where missing a case is worse than treating in vain. A model is"
        f" worth acting on where its curve lies above all others. The band is the 95% interval of {name}."
    )
    words = " ".join(_benefit_words(title, rows, name, baseline) for title, rows in shown)
    words += " Shown means an interval of the gain above zero; it is not corrected for the many thresholds."
    return [Figure(svg=chart, caption=caption), Prose(text=words), *_tests(shown, name, baseline)]


def _tests(shown: list[tuple[str, pd.DataFrame]], name: str, baseline: str) -> list[Block]:
    """Tabulate how many patients must be given the model for one more net true positive, at a few thresholds."""
    if not all("to_test" in rows for _, rows in shown):
        return []
    written = []
    for threshold in _THRESHOLDS:
        at = [rows[np.isclose(rows["threshold"].to_numpy(dtype=float), threshold)] for _, rows in shown]
        if any(len(rows) for rows in at):
            cells = tuple(_needed(rows.iloc[0]) if len(rows) else "–" for rows in at)
            written.append(Row(cells=(f"{threshold:.2f}", *cells)))
    caption = (
        f"Patients who must be given {name} for one more net true positive (95% interval) than the best choice without it has:"
        f" treating everybody, treating nobody, or {baseline}, whichever is best at that threshold in these patients. Where"
        " nothing is gained, no number suffices."
    )
    header = ("Threshold", *(title or "Patients to test" for title, _ in shown))
    return [Table(caption=caption, header=header, rows=tuple(written))] if written else []


def _needed(row: pd.Series) -> str:
    value, low, high = (float(row[c]) for c in ("to_test", "to_test_low", "to_test_high"))
    if np.isnan(value):
        return wording.NOT_ESTIMABLE
    written = "no gain" if np.isinf(value) else wording.count(np.ceil(value))
    if np.isinf(low):
        return written
    return f"{written} ({wording.count(np.ceil(low))} {'or more' if np.isinf(high) else f'to {wording.count(np.ceil(high))}'})"


def _panel(table: pd.DataFrame, title: str, main: pd.DataFrame) -> Decision:
    main = main.sort_values("threshold")
    same = table["horizon"].isna() if main["horizon"].isna().all() else table["horizon"] == main["horizon"].iloc[0]
    reference = main["reference"].iloc[0]
    other = table[same & (table["model"] == reference)].set_index("threshold")["net_benefit"].reindex(main["threshold"])
    columns = {c: main[c].to_numpy(dtype=float) for c in ("low", "high", "treat_all")}
    return Decision(
        title=title,
        thresholds=main["threshold"].to_numpy(dtype=float),
        model=main["net_benefit"].to_numpy(dtype=float),
        baseline=other.to_numpy(dtype=float),
        **columns,
    )


def _benefit_words(title: str, rows: pd.DataFrame, name: str, baseline: str) -> str:
    """Say at which thresholds the intervals of the gains lie above zero."""
    start = f"{title}: " if title else ""
    over = _ranges(rows, "over_default_low")
    told = f"at no threshold is {name} shown to be worth more than treating everybody or nobody"
    if over:
        told = f"{name} is shown to be worth more than treating everybody and treating nobody at thresholds of {over}"
    beyond = _ranges(rows, "over_reference_low")
    told += f", and more than {baseline} at {beyond}" if beyond else f"; a gain over {baseline} is not shown at any"
    return wording.capital(f"{start}{told}.")


def _ranges(rows: pd.DataFrame, column: str) -> str:
    """Write runs of neighbouring thresholds at which a lower end lies above zero; empty where there is none."""
    rows = rows.sort_values("threshold")
    above, at = (rows[column] > 1e-12).to_numpy(), rows["threshold"].to_numpy(dtype=float)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], above, [False]]).astype(int)))
    runs = [(at[first], at[last - 1]) for first, last in edges.reshape(-1, 2)]
    return wording.listed([f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}" for low, high in runs])


def _reclassification(run: RunFolder) -> list[Block]:
    table = run.reclassification
    if table is None or table.empty:
        return []
    written = []
    for (horizon, measure), rows in table.groupby(["horizon", "measure"], sort=False, dropna=False):
        cells = rows.set_index("part")
        when = f" by {float(horizon):g} {run.endpoint.time_unit}" if wording.known(horizon) else ""
        name = {"nri": "net reclassification", "idi": "integrated discrimination"}[str(measure)]
        parts = (wording.estimate(*cells.loc[p, ["value", "low", "high"]], sign=True) for p in ("events", "nonevents", "total"))
        counts = wording.counts(table, cells.iloc[0])
        written.append(Row(cells=(f"{wording.capital(name)}{when}", *counts, *parts)))
    caption = (
        f"How {wording.model(run.main)} moves predicted risks against {wording.model(run.reference)}: up among patients with the"
        " event, down among the others (estimate, 95% interval; above 0 is for the better). Net reclassification counts moves of"
        " any size and can be above 0 for a model that is no better; it is shown because it is asked for, and is no evidence"
        " without a difference in discrimination and in net benefit."
    )
    header = ("Measure", *wording.count_headers(table), "With the event", "Without", "Both")
    return [Table(caption=caption, header=header, rows=tuple(written))]
