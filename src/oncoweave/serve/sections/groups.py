"""Whether the model works everywhere: performance by hospital, by combination of modalities, and by any other grouping."""

import pandas as pd

from oncoweave.data.attributes import AGE, AGE_GROUPS
from oncoweave.evaluate.summary import COMPLETE
from oncoweave.serve import findings, wording
from oncoweave.serve.charts.forest import Estimate, Guide, forest_plot
from oncoweave.serve.page import Block, Figure, Prose, Row, Section, Table, absent
from oncoweave.serve.run_folder import UNKNOWN, RunFolder

_MOST_DRAWN = 24
_NAMES = {
    "age group": "age",
    "sex": "sex",
    "site": "hospital",
    "pattern": "combination of modalities",
    "complete": "what patients lack",
}


def groups_section(run: RunFolder) -> Section:
    """Show the main model, and the baseline beside it, in every group of patients."""
    key, title, table = "groups", "Hospitals, missing modalities, age and sex", run.groups
    if table is None or table.empty:
        why = "The run folder has no groups.parquet: how the model does in each hospital or without a modality is not known."
        return absent(key, title, why)
    metric = run.metric if run.metric in set(table["metric"]) else str(table["metric"].iloc[0])
    chosen = table[(table["metric"] == metric) & table["model"].isin([run.main, run.reference])]
    if chosen.empty:
        return absent(key, title, f"groups.parquet holds neither {wording.model(run.main)} nor {wording.model(run.reference)}.")
    blocks: list[Block] = []
    pooled = [COMPLETE] if (chosen["grouping"] == COMPLETE).any() else []
    for grouping in dict.fromkeys(["site", *pooled, "pattern", *chosen["grouping"]]):
        rows = _in_order(chosen[chosen["grouping"] == grouping], grouping)
        groups = [str(group) for group in rows["group"].unique()]
        if rows.empty:
            blocks.append(Prose(text=f"groups.parquet holds no figures by {_NAMES[grouping]}.", role="absent"))
        elif len(groups) == 1 and grouping == COMPLETE:
            continue
        elif len(groups) == 1:
            blocks.append(Prose(text=_one_group(grouping, groups[0]), role="absent"))
        else:
            blocks += [_figure(run, rows), _table(run, rows)]
    return Section(key=key, title=title, blocks=tuple(blocks))


def _in_order(rows: pd.DataFrame, grouping: str) -> pd.DataFrame:
    """Put age groups in the order of age, those of unknown age last, and other groups by size."""
    if grouping != AGE:
        return rows.sort_values("n", ascending=False)
    place = {name: number for number, name in enumerate(AGE_GROUPS)}
    return rows.sort_values("group", key=lambda group: group.map(place), kind="stable", na_position="last")


def _one_group(grouping: str, group: str) -> str:
    if grouping == "site":
        known = f"All patients are of one hospital ({group})" if group != UNKNOWN else "The patients’ hospital is not recorded"
        return f"{known}, so it is not known how the model does elsewhere."
    if grouping == "pattern":
        return f"All patients have the same modalities ({wording.pattern(group)}), so nothing is known of patients who lack one."
    return f"There is only one group by {wording.spaced(grouping)}: {group}."


def _figure(run: RunFolder, rows: pd.DataFrame) -> Figure:
    model = run.main if (rows["model"] == run.main).any() else run.reference
    own, noun, name = rows[rows["model"] == model], _noun(rows), _measure(run, rows)
    baseline = rows[rows["model"] == run.reference].drop_duplicates("group").set_index("group")["value"]
    beside = baseline if model != run.reference else baseline.iloc[:0]
    overall = findings.measured(run, model) if rows["metric"].iloc[0] == run.metric else None
    guides = (
        [Guide(value=overall.value, label=f"all patients {wording.number(overall.value)}", class_="guide")] if overall else []
    )
    chart = forest_plot(
        [("", [_estimate(own, row, beside.get(row["group"])) for _, row in own.head(_MOST_DRAWN).iterrows()])],
        axis=name,
        headers=(f"{name} (95% interval)", *wording.count_headers(own)),
        guides=guides,
        title=f"{name} by {noun}",
    )
    caption = f"{name} of {wording.model(model)} by {noun}."
    caption += f" Hollow squares: the baseline, {wording.model(run.reference)}." if beside.notna().any() else ""
    if rows["grouping"].iloc[0] == COMPLETE:
        caption += " Patients who lack several modalities are counted under each of them."
    caption += " The dashed line is the value over all patients." if guides else ""
    caption += f" {_small_words(own)}"
    if len(own) > _MOST_DRAWN:
        caption += f" The {_MOST_DRAWN} largest of {len(own)} are drawn; the table has all."
    return Figure(svg=chart, caption=caption)


def _small_words(own: pd.DataFrame) -> str:
    num_small = sum(findings.is_small(row["n"], row["events"]) for _, row in own.iterrows())
    limits = f"fewer than {findings.SMALL_N} patients or {findings.SMALL_EVENTS} events"
    if not num_small:
        return f"No group has {limits}."
    few = "All groups have" if num_small == len(own) else wording.plural(num_small, "group has", "groups have")
    return f"{few} {limits}: greyed, marked †, and not to be interpreted."


def _estimate(own: pd.DataFrame, row: pd.Series, beside: float | None) -> Estimate:
    small = findings.is_small(row["n"], row["events"])
    return Estimate(
        label=_group_name(own, row),
        value=row["value"],
        low=row["low"],
        high=row["high"],
        columns=wording.counts(own, row),
        shape="circle" if small else "diamond",
        tone="fusion",
        faint=small,
        other=beside,
    )


def _table(run: RunFolder, rows: pd.DataFrame) -> Table:
    models = [m for m in dict.fromkeys((run.main, run.reference)) if (rows["model"] == m).any()]
    cells = {(row["model"], row["group"]): wording.estimate(row["value"], row["low"], row["high"]) for _, row in rows.iterrows()}
    written = []
    for _, row in rows.drop_duplicates("group").iterrows():
        small = findings.is_small(row["n"], row["events"])
        values = (cells.get((model, row["group"]), "–") for model in models)
        written.append(
            Row(cells=(_group_name(rows, row) + (" †" if small else ""), *wording.counts(rows, row), *values), faint=small)
        )
    noun, marked = _noun(rows), any(row.faint for row in written)
    caption = f"{_measure(run, rows)} by {noun}, estimate (95% interval).{' † too small to be interpreted.' if marked else ''}"
    header = (wording.capital(noun), *wording.count_headers(rows), *(wording.capital(wording.model(m)) for m in models))
    return Table(caption=caption, header=header, rows=tuple(written))


def _noun(rows: pd.DataFrame) -> str:
    grouping = str(rows["grouping"].iloc[0])
    return _NAMES.get(grouping, wording.spaced(grouping))


def _measure(run: RunFolder, rows: pd.DataFrame) -> str:
    return wording.capital(wording.measure(str(rows["metric"].iloc[0]), run.endpoint.time_unit))


def _group_name(rows: pd.DataFrame, row: pd.Series) -> str:
    name = str(row["group"])
    if row["grouping"] == "pattern":
        name = wording.combination(name, findings.every_modality(rows["group"].unique()))
    return name
