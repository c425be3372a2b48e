"""The plain-language verdict at the head of the report, computed from the tables."""

from dataclasses import dataclass
from typing import Literal

from oncoweave.evaluate.metrics import ALL_PAIRS
from oncoweave.evaluate.permuted import Null
from oncoweave.serve import findings, wording
from oncoweave.serve.findings import Compared, Measured, Missing, PatternFinding
from oncoweave.serve.page import KeyFigure, Verdict
from oncoweave.serve.run_folder import RunFolder

NullState = Literal["at chance", "open", "beyond", "short", "unknown"]

_NEAR_CHANCE = 0.1
"""How far, as a share of the way from chance to perfect (1), a mean of permuted runs may lie from chance and be called chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Evidence:
    """What the verdict rests on, read once."""

    run: RunFolder
    main: Measured
    reference: Measured | None
    compared: Compared | None
    null: Null | None

    @property
    def null_state(self) -> NullState:
        """Where the mean of the models trained on permuted outcomes stands against the spread that permuting alone gives."""
        chance, null = self.run.chance, self.null
        if null is None or chance is None:
            return "unknown"
        if null.low > chance or null.high < chance:
            return "beyond" if (null.low > chance) == findings.higher_is_better(self.run, str(self.run.metric)) else "short"
        near = abs(null.mean - chance) <= _NEAR_CHANCE * (1 - chance)
        return "at chance" if null.enough and near else "open"


def verdict(run: RunFolder) -> Verdict:
    """Say how good the main model is, whether it beats the baseline, whether the null is at chance, and what gaps cost."""
    main, missing = findings.measured(run, run.main), findings.missing_modalities(run)
    if run.metric is None or main is None:
        why = "has no metrics.parquet" if run.metrics is None else f"holds no value of it for {wording.model(run.main)}"
        unknown = f"The performance of the main model is not known: the run folder {why}."
        return Verdict(headline="No verdict can be given", sentences=(unknown, _missing_words(run, missing)), figures=())
    evidence = _Evidence(
        run=run,
        main=main,
        reference=findings.measured(run, run.reference),
        compared=findings.against_reference(run),
        null=findings.null_spread(run),
    )
    sentences = (
        _main_words(run, main),
        _reference_words(evidence),
        _null_words(evidence),
        _audit_words(run),
        _missing_words(run, missing),
        _best_words(run, main),
    )
    return Verdict(
        headline=_headline(evidence),
        sentences=tuple(sentence for sentence in sentences if sentence),
        figures=tuple(_figures(evidence)),
    )


def _headline(evidence: _Evidence) -> str:
    run, compared = evidence.run, evidence.compared
    baseline = f"the baseline ({wording.model(run.reference)})"
    if evidence.null_state == "beyond" and evidence.null is not None and evidence.null.enough:
        return "Not to be trusted: the procedure also succeeds on permuted outcomes"
    if run.main == run.reference:
        return "The main model is the baseline itself"
    if compared is None or compared.reading == "unknown":
        return f"Not compared with {baseline}"
    return {
        "better": f"Better than {baseline}",
        "worse": f"Worse than {baseline}",
        "not distinguishable": f"Not distinguishable from {baseline}",
    }[compared.reading] + (", not confirmed by a second test" if compared.doubts else "")


def _main_words(run: RunFolder, main: Measured) -> str:
    metric = str(run.metric)
    name = wording.measure(metric, run.endpoint.time_unit)
    own = run.predictions.loc[run.predictions["model"] == run.main, "patient_id"]
    num = wording.plural(own.nunique(), "patient")
    plain = wording.in_hundred(metric, main.value, run.chance)
    if run.chance is not None and main.low <= run.chance <= main.high:
        plain += " The interval includes what guessing gives."
    interval = f" (95% interval {wording.interval(main.low, main.high)})" if wording.known(main.low) else ""
    told = (
        f"The model {wording.model(run.main)} predicts {wording.spaced(run.endpoint.name)} with {_with_article(name)} of"
        f" {wording.number(main.value)}{interval} in {num}, each kept out of the training of the model that predicted for them."
    )
    return f"{told} {plain}".strip() + _stratum_words(run, metric)


def _stratum_words(run: RunFolder, metric: str) -> str:
    """Say within what patients were ranked, and what ranking all of them gives."""
    table = run.measured(metric + ALL_PAIRS)
    rows = table[table["model"] == run.main]
    if run.stratum is None or rows.empty:
        return ""
    beside = rows.iloc[0]
    over_all = wording.estimate(beside["value"], beside["low"], beside["high"])
    return (
        f" Only patients of the same {wording.spaced(run.stratum)} were ranked against each other; over all pairs it is"
        f" {over_all}, which counts telling these apart as skill."
    )


def _reference_words(evidence: _Evidence) -> str:
    run, reference, compared = evidence.run, evidence.reference, evidence.compared
    name = wording.model(run.reference)
    if run.main == run.reference:
        return "It is also the baseline, so there is nothing to compare it with."
    if reference is None:
        return f"The baseline, {name}, was not measured, so it is not known whether the model is worth more."
    told = f"The baseline, {name}, reaches {_value(reference)}{_among(run, reference)}."
    if compared is None:
        return f"{told} The run holds no paired comparison of the two, so no difference is claimed."
    p = f"; {wording.p_equals(compared.p)}" if compared.p is not None else ""
    change = "gain" if compared.difference >= 0 else "loss"
    range_ = wording.interval(compared.low, compared.high, sign=True)
    size = f"The {change} over it, patient by patient, is {wording.number(compared.difference, sign=True)} ({range_}{p})"
    read = {
        "better": "on these patients the model is better than the baseline",
        "worse": "on these patients the model is worse than the baseline",
        "not distinguishable": "with these data the two cannot be told apart, which does not show that they are equal",
        "unknown": "without an interval nothing can be concluded",
    }[compared.reading]
    doubts = wording.listed([f"{method}, {wording.p_equals(p)}" for method, p in compared.doubts])
    doubted = f" A second test does not confirm this ({doubts})." if doubts else ""
    return f"{told} {size}: {read}.{doubted}"


def _null_words(evidence: _Evidence) -> str:
    null, chance = evidence.null, evidence.run.chance
    if null is None:
        return "No model was trained on permuted outcomes, so the procedure itself has not been checked for leakage."
    told = f"Trained on permuted outcomes, the same procedure scores {wording.number(null.mean)}"
    told += f" on average of {wording.count(null.runs)} runs" if null.runs > 1 else " in one run"
    told += f" (95% interval {wording.interval(null.low, null.high)}"
    told += ")" if null.enough else ", approximated, as so few runs do not show how much permuting alone moves the score)"
    if chance is None:
        return f"{told}; this measure has no fixed value of chance, so hold it against the baselines. {_beside_null(evidence)}"
    at = wording.number(chance, 2)
    more = "run more with protocol.permutations"
    runs = "one permuted run" if null.runs == 1 else f"{wording.count(null.runs)} permuted runs"
    read = {
        "at chance": ", which is chance, as it should be.",
        "open": f": this does not contradict chance ({at}), but does not show it either; {more}.",
        "beyond": f", above chance ({at}), as leaking information would be: trust no figure here until the cause is found."
        if null.enough
        else f": above chance ({at}) in {runs}; {more}.",
        "short": f", below chance ({at}); small cohorts can do this, a leak does the opposite.",
        "unknown": ".",
    }[evidence.null_state]
    return f"{told}{read} {_beside_null(evidence)}".strip()


def _beside_null(evidence: _Evidence) -> str:
    """Hold the main model against the single permuted runs, where there are enough, else against the interval of their mean."""
    null, main, run = evidence.null, evidence.main, evidence.run
    if null is None or not wording.known(null.low):
        return ""
    value = wording.number(main.value)
    if not null.enough:
        where = "lies inside that interval" if null.low <= main.value <= null.high else "lies outside that interval"
        return f"The model itself, {value}, {where}."
    runs = [m.value for m in findings.nulls(run)]
    better_up = findings.higher_is_better(run, str(run.metric))
    beaten = sum(main.value > v if better_up else main.value < v for v in runs)
    of = "all of them" if beaten == len(runs) else f"{wording.count(beaten)} of them"
    range_ = f"{wording.number(min(runs))} to {wording.number(max(runs))}"
    return f"Single runs range from {range_}; the model itself, {value}, is better than {of if beaten else 'none of them'}."


def _audit_words(run: RunFolder) -> str:
    """Name the audits that failed; nothing where none did."""
    failed = [] if run.audits is None else run.audits.loc[run.audits["verdict"] == "failed", "audit"].astype(str).tolist()
    if not failed:
        return ""
    return f"{wording.plural(len(failed), 'audit')} failed ({wording.listed(failed)}): read the section Audits before all else."


def _missing_words(run: RunFolder, missing: Missing) -> str:
    if not missing.num_lacking:
        return f"Every patient has every modality. {_untaught_words(missing)}".strip()
    share = wording.percent(missing.num_lacking, missing.num)
    told = f"{wording.plural(missing.num_lacking, 'patient lacks', 'patients lack')} at least one modality ({share})"
    if missing.num == run.predictions["patient_id"].nunique():  # a single split tests some of them only
        told += " and still gets a prediction" if missing.num_lacking == 1 else " and still get a prediction"
    if missing.num_unpredicted:
        told = told.partition(" and still")[0]
        told += f"; {wording.plural(missing.num_unpredicted, 'patient')} got no prediction from this model"
    return " ".join(part for part in (f"{told}.", _untaught_words(missing), _pattern_words(run, missing)) if part)


def _untaught_words(missing: Missing) -> str:
    """Say whom the figures count as lacking a modality although they have it."""
    if not missing.num_untaught:
        return ""
    who = wording.plural(missing.num_untaught, "patient has one", "patients have one")
    return f"{who} that the training patients of a fold could not teach, and count below as lacking it there."


def _pattern_words(run: RunFolder, missing: Missing) -> str:
    if run.metric is None:
        return ""
    complete = [found for found in missing.judged if not found.lacks]
    partial = sorted((found for found in missing.judged if found.lacks), key=lambda found: found.value)
    metric = wording.measure(run.metric, run.endpoint.time_unit)
    pooled = missing.lacking
    if not missing.judged and pooled is None:
        return "No combination of modalities has enough patients to judge the model in it."
    told = []
    whole = missing.complete or (complete[0] if complete else None)
    if whole is not None:
        told.append(f"{_value(whole)} for the {wording.count(whole.num)} who have every modality")
    if pooled is not None:
        told.append(f"{_value(pooled)} for the {wording.count(pooled.num)} who lack something")
    if len(partial) == 1:
        told.append(f"{_value(partial[0])} {_lacking(partial[0])}")
    if len(partial) > 1:
        low, high = partial[0], partial[-1]
        told.append(f"ranges from {_value(low)} {_lacking(low)} to {_value(high)} {_lacking(high)}")
    few = (
        ""
        if partial or pooled
        else "; the combinations that lack something are too small to judge, so what a gap costs is not known"
    )
    return f"The {metric} is {wording.listed(told)}{few}."


def _lacking(found: PatternFinding) -> str:
    what = f"{len(found.lacks)} modalities" if len(found.lacks) > 3 else wording.listed(found.lacks, last="or")
    return f"without {what} (n = {wording.count(found.num)})"


def _best_words(run: RunFolder, main: Measured) -> str:
    """Say which model scored best on these patients, and whether the hospital alone did better than the main model."""
    found = findings.ranked(run)
    up = 1.0 if findings.higher_is_better(run, str(run.metric)) else -1.0
    beside = [other for other in found if up * other.value > up * main.value]
    better = {other.model: other for other in beside if findings.on_the_same_patients(run, other.model)}
    elsewhere = [other for other in beside if other.model not in better]
    tried = any(other.model != run.main and findings.on_the_same_patients(run, other.model) for other in found)
    told = _best_of(run, better) if better else "No other model tried scored better on these patients." if tried else ""
    return f"{told} {_elsewhere_words(elsewhere)}".strip()


def _elsewhere_words(found: list[Measured]) -> str:
    """Name the higher scores that were measured on other patients, whom the model may find easier or harder."""
    if not found:
        return ""
    told = [f"{wording.model(f.model)} ({_value(f)}, on {wording.plural(f.num, 'patient')})" for f in found]
    those = "Its score" if len(found) == 1 else "Their scores"
    return f"Measured on other patients: {wording.listed(told)}. {those} cannot be ranked with the model’s."


def _best_of(run: RunFolder, better: dict[str, Measured]) -> str:
    best = next(iter(better.values()))
    told = f"The best score of all on these patients, {_value(best)}, belongs to {wording.model(best.model)}"
    if best.model not in (run.reference, wording.SITE_ONLY):
        told += ", but it was picked after looking, which makes it optimistic"
    if wording.SITE_ONLY in better:
        site = "" if best.model == wording.SITE_ONLY else f" ({_value(better[wording.SITE_ONLY])})"
        told += f". To know only the hospital{site} tells more of the outcome here than the model does"
    return f"{told}."


def _figures(evidence: _Evidence) -> list[KeyFigure]:
    run, main, reference, compared = evidence.run, evidence.main, evidence.reference, evidence.compared
    metric = wording.capital(wording.measure(str(run.metric), run.endpoint.time_unit))
    shown = [_key(run, f"{metric}, {wording.model(main.model)}", main)]
    if reference is not None and run.reference != run.main:
        shown.append(_key(run, f"Baseline, {wording.model(reference.model)}", reference))
    if compared is not None:
        detail = wording.interval(compared.low, compared.high, sign=True)
        shown.append(KeyFigure(name="Gain over it", value=wording.number(compared.difference, sign=True), detail=detail))
    if evidence.null is not None:
        null = evidence.null
        words = {"at chance": "; at chance", "open": "", "beyond": "; above chance", "short": "; below chance", "unknown": ""}
        name = f"Permuted outcomes, {wording.plural(null.runs, 'run')}"
        detail = wording.interval(null.low, null.high) + words[evidence.null_state]
        shown.append(KeyFigure(name=name, value=wording.number(null.mean), detail=detail))
    return shown


def _key(run: RunFolder, name: str, found: Measured) -> KeyFigure:
    of = f"; n = {wording.count(found.num)}" if _among(run, found) else ""
    return KeyFigure(name=name, value=wording.number(found.value), detail=wording.interval(found.low, found.high) + of)


def _value(found: Measured | PatternFinding) -> str:
    interval = f" ({wording.interval(found.low, found.high)})" if wording.known(found.low) else ""
    return f"{wording.number(found.value)}{interval}"


def _among(run: RunFolder, found: Measured) -> str:
    """Say of how many patients a figure is, where that is fewer than were studied."""
    fewer = found.num < run.predictions["patient_id"].nunique()
    return f" in {wording.plural(found.num, 'patient')}" if fewer else ""


def _with_article(noun: str) -> str:
    return f"{'an' if noun[:1] in 'aeioAEIFR' else 'a'} {noun}"
