"""Who was studied: cohort flow and missing modalities."""

from collections.abc import Callable, Mapping

from oncoweave.serve import wording
from oncoweave.serve.charts.flow import Exit, Stage, flow_chart
from oncoweave.serve.charts.missingness import Pattern, missingness_chart
from oncoweave.serve.page import Figure, Prose, Section
from oncoweave.serve.run_folder import RunFolder

_MOST_PATTERNS = 14


def event_name(run: RunFolder) -> str:
    """Name what the second count of a group counts."""
    if run.endpoint.kind == "binary":
        return run.endpoint.classes[1] if len(run.endpoint.classes) == 2 else "positive"
    return "events"


def flow_section(run: RunFolder, erase: Callable[[str], str]) -> Section:
    """Show how the cohort became the patients analysed."""
    if not run.flow:
        absent = "The run folder has no flow.json, so it is not known who was left out of the study and why."
        return Section(key="flow", title="Cohort flow", blocks=(Prose(text=absent, role="absent"),))
    stages = flow_stages(tuple(_of_outcome(run, step) for step in run.flow), erase)
    first, last = stages[0], stages[-1]
    lost = first.patients - last.patients
    told = f"{wording.plural(first.patients, 'patient')} in the cohort; {wording.count(last.patients)} analysed"
    told += f", {wording.count(lost)} left out ({wording.percent(lost, first.patients)})." if lost else "; nobody was left out."
    counted = any(stage.events is not None for stage in stages)
    chart = flow_chart(stages, event_name=event_name(run) if counted else None, title="Cohort flow")
    return Section(key="flow", title="Cohort flow", blocks=(Figure(svg=chart, caption=f"Cohort flow. {told}"),))


def _of_outcome(run: RunFolder, step: Mapping[str, object]) -> Mapping[str, object]:
    """Name the endpoint as elsewhere on the page."""
    if step.get("reason") != f"{run.endpoint.name} not known":
        return step
    return {**step, "reason": f"{wording.spaced(run.endpoint.name)} not known"}


def flow_stages(flow: tuple[Mapping[str, object], ...], erase: Callable[[str], str]) -> list[Stage]:
    """Turn the steps of flow.json into stages: ``excluded`` steps count those who leave, the others those who remain."""
    stages: list[Stage] = []
    exits: list[Exit] = []
    for step in flow:
        patients, events = int(str(step["patients"])), step.get("events")
        num_events = round(float(str(events))) if events is not None else None
        reason = erase(str(step.get("reason") or ""))
        if step["step"] == "excluded":
            exits.append(Exit(patients=patients, events=num_events, reason=reason or "no reason recorded"))
            continue
        stages.append(Stage(name=str(step["step"]), patients=patients, events=num_events, exits=tuple(exits)))
        exits = []
    return stages


def missingness_section(run: RunFolder) -> Section:
    """Show which modalities patients have, combination by combination."""
    title, table = "Who has which modality", run.missingness
    if table is None or table.empty:
        absent = "The run folder has no missingness.parquet, so the combinations of modalities cannot be counted."
        return Section(key="missingness", title=title, blocks=(Prose(text=absent, role="absent"),))
    table = table.sort_values("n", ascending=False)
    patterns = [
        Pattern(
            present=frozenset(wording.modalities_of(row["pattern"])),
            patients=int(row["n"]),
            events=int(row["events"]) if wording.known(row["events"]) else None,
        )
        for _, row in table.iterrows()
    ]
    having: dict[str, int] = {}
    for pattern in patterns:
        for modality in pattern.present or ():
            having[modality] = having.get(modality, 0) + pattern.patients
    modalities = sorted(having, key=lambda m: -having[m])
    total = sum(p.patients for p in patterns)
    complete = sum(p.patients for p in patterns if p.present is not None and len(p.present) == len(modalities))
    shown = _shorten(patterns)
    chart = missingness_chart(shown, modalities, having=having, event_name=event_name(run), title="Missingness patterns")
    caption = (
        f"Missingness patterns. Each column is one combination of modalities: a filled dot is present, a small open dot absent."
        f" Bars count patients; {_event_words(run)}. {wording.count(complete)} of {wording.plural(total, 'patient')}"
        f" ({wording.percent(complete, total)}) have every modality."
    )
    if len(shown) < len(patterns):
        caption += f" {wording.count(len(patterns) - len(shown) + 1)} rarer combinations are pooled in the last column."
    return Section(key="missingness", title=title, blocks=(Figure(svg=chart, caption=caption),))


def _event_words(run: RunFolder) -> str:
    if run.missingness is None or not run.missingness["events"].notna().any():
        return "this endpoint has no events to count"
    return f"the lower part of a bar, in the stronger colour, counts {event_name(run)}"


def _shorten(patterns: list[Pattern]) -> list[Pattern]:
    """Keep the commonest patterns and pool the others into one."""
    if len(patterns) <= _MOST_PATTERNS:
        return patterns
    kept, rest = patterns[: _MOST_PATTERNS - 1], patterns[_MOST_PATTERNS - 1 :]
    events = [p.events for p in rest if p.events is not None]
    pooled = Pattern(
        present=None, patients=sum(p.patients for p in rest), events=sum(events) if events else None, label=f"{len(rest)} more"
    )
    return [*kept, pooled]
