"""The page over a cohort: what the network attends to, never without what its output does when that is deleted."""

import time

import pandas as pd

from oncoweave.explain.batches import MAX_TOKENS, TILES
from oncoweave.explain.cohort import CohortFindings
from oncoweave.serve import wording
from oncoweave.serve.explain.about import About
from oncoweave.serve.explain.sections import (
    agreement_section,
    columns_sections,
    level_words,
    modalities_section,
    words_sections,
)
from oncoweave.serve.page import Items, KeyFigure, Page, Prose, Row, Section, Table, Verdict

_MUCH, _SOME = 0.6, 0.3
"""Rank correlations from which attention is called close to deletion, or partly so."""


def cohort_page(found: CohortFindings, about: About) -> Page:
    """Put the page together."""
    sections = (
        _looked_at(found, about),
        modalities_section(found, about),
        *columns_sections(found, about),
        *words_sections(found, about),
        agreement_section(found),
        _limits(found, about),
        _provenance(about),
    )
    return Page(
        title=f"What {about.model} attends to: {about.study}",
        facts=_facts(found, about),
        verdict=_verdict(found, about),
        sections=sections,
        colophon="Made by oncoweave. The page holds no patient identifiers, and nothing in it is one patient’s.",
        kind="explanation",
    )


def _facts(found: CohortFindings, about: About) -> tuple[tuple[str, str], ...]:
    return (
        ("Network", about.model),
        ("Endpoint", f"{wording.spaced(about.endpoint)} ({about.endpoint_kind})"),
        ("Patients", wording.count(found.patients)),
        ("Tokens deleted in", wording.plural(found.sampled, "patient")),
        ("Date", time.strftime("%Y-%m-%d", time.gmtime())),
    )


def _verdict(found: CohortFindings, about: About) -> Verdict:
    shares = found.shares
    sentences = [
        "Attention has no sign and explains nothing by itself, so each number of it stands beside what the output does when the"
        " same thing is deleted: that is what the network rests on.",
        _agreed(found.agreement),
        "The network was fitted on these very patients, so nothing here is held out." if about.seen >= found.patients else "",
    ]
    top, cut = shares.iloc[int(shares["share"].argmax())], shares.iloc[int(shares["change"].fillna(-1.0).argmax())]
    figures = [
        KeyFigure(
            name=f"Most attended: {top['modality']}",
            value=wording.percent(top["share"], 1.0),
            detail=f"of attention, 95% interval {wording.percent(top['low'], 1.0)} to {wording.percent(top['high'], 1.0)}",
        )
    ]
    if wording.known(cut["change"]):
        figures.append(
            KeyFigure(
                name=f"Largest change when deleted: {cut['modality']}",
                value=wording.number(cut["change"], 2),
                detail=f"{about.unit}, 95% interval {wording.interval(cut['change_low'], cut['change_high'], 2)}",
            )
        )
    ranked = found.columns["modality"].value_counts()
    for _, column in found.columns[found.columns["change_rank"] == 1].iterrows():
        figures.append(
            KeyFigure(
                name=f"{str(column['kind']).capitalize()} of {column['modality']} whose deletion changes most",
                value=str(column["column"]),
                detail=f"rank {wording.count(column['rank'])} of {ranked[str(column['modality'])]} by attention",
            )
        )
    return Verdict(headline=_headline(shares), sentences=tuple(s for s in sentences if s), figures=tuple(figures))


def _headline(shares: pd.DataFrame) -> str:
    """Say in one sentence which modality is attended most, and which the output rests on."""
    if len(shares) == 1:
        return f"The network reads {shares['modality'].iloc[0]} alone; see what it attends to inside."
    attended, deleted = _leaders(shares, "share", ""), _leaders(shares, "change", "change_")
    if not deleted:
        return f"The network attends most to {wording.listed(attended)}; nobody has a second modality, so none can be deleted."
    if attended == deleted and len(attended) == 1:
        return f"The network attends most to {attended[0]}, and without {attended[0]} its output changes most."
    much = f"attends most to {attended[0]}" if len(attended) == 1 else f"attends about equally to {wording.listed(attended)}"
    change = (
        f"changes most without {deleted[0]}"
        if len(deleted) == 1
        else f"changes about equally without {wording.listed(deleted, last='or')}"
    )
    return f"The network {much}; its output {change}."


def _leaders(shares: pd.DataFrame, name: str, prefix: str) -> list[str]:
    """List the first, and those whose intervals reach its own."""
    known = shares[shares[name].notna()].sort_values(name, ascending=False)
    if known.empty:
        return []
    return [str(m) for m in known.loc[known[f"{prefix}high"] >= known[f"{prefix}low"].iloc[0], "modality"]]


def _agreed(table: pd.DataFrame) -> str:
    """Say of all levels in one sentence how far attention ranks things within a patient as deletion does."""
    told = []
    for _, row in table[table["correlation"].notna()].iterrows():
        estimate = f"{wording.number(row['correlation'], 2)}, {wording.interval(row['low'], row['high'], 2)}"
        told.append(f"{agreed_word(row)} for {level_words(row)} (correlation {estimate})")
    return f"Within patients, the order of attention is that of deletion {wording.listed(told)}." if told else ""


def agreed_word(row: pd.Series) -> str:
    """Judge a rank correlation by its interval first: one that reaches zero shows no agreement, however large its middle."""
    if row["high"] < 0:
        return "in reverse"
    if row["low"] <= 0:
        return "not demonstrably"
    return "largely" if row["correlation"] >= _MUCH else "partly" if row["correlation"] >= _SOME else "hardly"


def seen_words(patients: int, about: About) -> str:
    """Say whether the network was fitted on the patients whom it is followed in."""
    if not about.seen:
        return "The network has seen none of these patients before."
    some = f"{wording.count(about.seen)} of these {wording.count(patients)} patients"
    who = "all of these patients" if about.seen >= patients else some
    told = (
        f"The network was fitted on {who}: a run keeps the network of all its patients, not those of its folds, so nothing of"
        " them is held out, and changes may be larger than in new patients."
    )
    return f"{told} Patients elsewhere are looked at with --cohort." if about.own else told


def _looked_at(found: CohortFindings, about: About) -> Section:
    paragraphs = [
        f"The network {about.model} ({about.fusion}"
        + (f", {wording.count(about.members)} members averaged" if about.members > 1 else "")
        + f") predicts {wording.spaced(about.endpoint)}. It was followed in {wording.plural(found.patients, 'patient')}"
        + (f"; {wording.count(found.without)} have none of its modalities and are left out." if found.without else "."),
        *_partly(found),
        "Attention is followed by rollout (Abnar and Zuidema 2020): from the patient’s vector back through every block to the"
        " tokens that encoders gave, half of each block’s mixture being what the residual connection carries past. An encoder has"
        " mixed its modality’s tokens before.",
        "Deletion masks a modality, column, word or patch as if it had never been measured, and takes the difference of the"
        f" output before recalibration, before it becomes a probability ({about.unit}), whatever its sign. " + _sampled(found),
        seen_words(found.patients, about),
    ]
    return Section(key="looked-at", title="What was looked at", blocks=tuple(Prose(text=p) for p in paragraphs))


def _partly(found: CohortFindings) -> list[str]:
    """Say of whom attention is not followed, or not to all tiles."""
    told = []
    if found.left_out:
        told.append(
            f"{wording.plural(found.left_out, 'patient')} with more tokens than whole attention maps are held of (those of"
            f" {wording.count(MAX_TOKENS)} tokens that all attend to each other) are left out of every number here."
        )
    if found.drawn:
        told.append(
            f"In {wording.plural(found.drawn, 'patient')} with too many tiles for whole maps, attention was followed to"
            f" {wording.count(TILES)} of a bag’s tiles, drawn at random. With fewer tiles a bag may be attended less than with"
            " all; deletion takes all."
        )
    return told


def _sampled(found: CohortFindings) -> str:
    told = "Each token deleted is another pass through the network, so columns, words and patches were deleted in"
    if found.sampled < found.patients:
        return f"{told} {wording.count(found.sampled)} patients drawn at random (--sample), modalities in all."
    return f"{told} all patients here, as modalities were."


def _limits(found: CohortFindings, about: About) -> Section:
    items = [
        "What is attended may be ignored later: attention leaves out what values, feed-forward layers and the head make of it.",
        "What is deleted alone may have a stand-in: of two columns that say the same, neither changes anything by itself.",
        "A change of the output is a property of the network. It says nothing of causes in patients, nor of whether the"
        " prediction is right.",
    ]
    if found.sampled < 30:
        items.append(f"With {wording.plural(found.sampled, 'patient')}, ranks and intervals of what is deleted are rough.")
    if about.seen:
        items.append("In patients it was fitted on, a network can rest on what it remembers of them.")
    return Section(key="limits", title="What this does not show", blocks=(Items(items=tuple(items)),))


def _provenance(about: About) -> Section:
    rows = [
        ("Model file (SHA-256)", about.hashes["model"]),
        ("Cohort manifest (SHA-256)", about.hashes["cohort"]),
        ("Patients drawn at most", wording.count(about.sample)),
        ("Seed", str(about.seed)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in about.versions.items())),
    ]
    table = Table(caption="The explanation.", header=("", ""), rows=tuple(Row(cells=row) for row in rows), num_text=2)
    return Section(key="provenance", title="What is needed to repeat this", blocks=(table,))
