"""The sections of the page: attention and deletion side by side, for modalities, columns and words, and how far they agree."""

import pandas as pd

from oncoweave.explain.cohort import CohortFindings
from oncoweave.explain.words import LEAST_PATIENTS, TOP_SHARE
from oncoweave.serve import wording
from oncoweave.serve.charts.forest import Estimate, Guide, forest_plot
from oncoweave.serve.charts.paired import Bar, Pair, Side, paired_bars
from oncoweave.serve.explain.about import About
from oncoweave.serve.page import Block, Figure, Prose, Row, Section, Table, absent

_FIRST = 12
"""So many of the most attended, and of those whose deletion changes most, are shown."""
_NAMED = 3
"""So many columns are named in a sentence."""
_LEVELS = {
    "modalities": ("Modalities", "modalities"),
    "columns": ("Columns of {}", "the columns of {}"),
    "sets": ("Gene sets of {}", "the gene sets of {}"),
    "words": ("Words of {}", "the words of {}"),
    "patches": ("Patches of {}", "the patches of {}"),
}


def modalities_section(found: CohortFindings, about: About) -> Section:
    """Show each modality's share of attention beside what the output does without it."""
    table = found.shares.sort_values("share", ascending=False)
    rows = [
        Pair(label=str(r["modality"]), left=_bar(r, "share", ""), right=_bar(r, "change", "change_")) for _, r in table.iterrows()
    ]
    chart = paired_bars(
        rows,
        left=Side(head="Attention", axis="share of attention", digits=3),
        right=Side(head="Deletion", axis=_change_axis(about)),
        title="Attention and deletion of each modality",
    )
    caption = (
        f"Attention and deletion of each modality, means over {wording.plural(found.patients, 'patient')} with 95% intervals over"
        " patients; who lacks a modality counts as 0 on both sides. Left: the share of attention, followed from the patient’s"
        f" vector through all blocks back to the tokens{_not_stood_in(table)}. Right: how far the output moves when the modality"
        " is deleted."
        f" {about.scale}"
    )
    return Section(
        key="modalities",
        title="Modalities",
        blocks=(Figure(svg=chart, caption=caption.strip()), _modalities(table, about), *_apart(table), *_only(table)),
    )


def _not_stood_in(table: pd.DataFrame) -> str:
    return ", without that of tokens that stand in for an absent modality" if table["stand_ins"].any() else ""


def _apart(table: pd.DataFrame) -> tuple[Prose, ...]:
    """Tell the attention that lies on nothing that was measured."""
    notes = []
    filled = table[table["stand_ins"] > 0]
    if not filled.empty:
        told = wording.listed([
            f"{_percent(r['share_stand_in'])} where {r['modality']} is absent ({wording.plural(r['stand_ins'], 'patient')})"
            for _, r in filled.iterrows()
        ])  # fmt: skip
        notes.append(
            "This network puts a token of its own in the place of a modality that a patient lacks, and attends to it. Of all"
            f" attention, over all patients, such stand-ins receive {told}. That is no attention to the modality, and is in no"
            " other number here; deletion puts the stand-in in the modality’s place."
        )
    for _, row in table[table["share_unmeasured"] > 0].iterrows():
        notes.append(
            f"Values of {row['modality']} that were not measured have tokens of their own; {_percent(row['share_unmeasured'])} of"
            f" all attention lies on them and is part of the share of {row['modality']}."
        )
    return tuple(Prose(text=note, role="note") for note in notes)


def _percent(share: float) -> str:
    return wording.percent(share, 1.0)


def _modalities(table: pd.DataFrame, about: About) -> Table:
    rows = tuple(
        Row(
            cells=(
                str(r["modality"]), about.encoders[str(r["modality"])], wording.count(r["patients"]), wording.count(r["tokens"]),
                wording.number(r["share_where_present"]), wording.number(r["change_where_present"], 2),
            )
        )
        for _, r in table.iterrows()
    )  # fmt: skip
    caption = (
        f"The same in those who have the modality. Change in {about.unit}. Shares are in part set by design, by the number of"
        " tokens or evenly over modalities, whatever was learned: one more reason to read them beside the change."
    )
    header = ("Modality", "Encoder", "Patients", "Tokens (median)", "Share of attention", "Change when deleted")
    return Table(caption=caption, header=header, rows=rows, num_text=2)


def _only(table: pd.DataFrame) -> tuple[Prose, ...]:
    only = table[table["only"] > 0]
    if only.empty:
        return ()
    told = wording.listed([f"{wording.plural(r['only'], 'patient')} with {r['modality']} alone" for _, r in only.iterrows()])
    return (Prose(text=f"Deletion leaves nothing of a patient’s only modality, so it says nothing of {told}.", role="note"),)


def columns_sections(found: CohortFindings, about: About) -> list[Section]:
    """Rank the columns of each table."""
    if found.columns.empty:
        return []
    return [_columns(str(name), part, found, about) for name, part in found.columns.groupby("modality", sort=False)]


def _columns(name: str, table: pd.DataFrame, found: CohortFindings, about: About) -> Section:
    shown, rest, alone = _first(table)
    seldom = f" that {LEAST_PATIENTS} or more of those drawn have" if not alone.empty else ""
    noun = str(table["kind"].iloc[0])
    title = f"{noun.capitalize()}s of {name}"
    if shown.empty:
        return absent(
            f"columns-{name}",
            title,
            f"No {noun} was measured, beside something else, in {LEAST_PATIENTS} of those drawn; draw more (--sample).",
        )
    rows = [Pair(label=str(r["column"]), left=_bar(r, "attention"), right=_bar(r, "change")) for _, r in shown.iterrows()]
    chart = paired_bars(rows, left=_relative(), right=_deletion(shown, about), title=title)
    what = _DELETED[noun]
    caption = (
        f"{title}{seldom}, most attended first, with 95% intervals. Left: attention, {what[0]}relative to"
        f" an even spread over the tokens measured in the patient (dashed: 1, a {noun} like any other);"
        f" {wording.plural(found.patients, 'patient')}. Right: how far the output moves when {what[1]};"
        f" {wording.plural(found.sampled, 'patient')}."
    )
    blocks: list[Block] = [Figure(svg=chart, caption=caption), _ranks(title, shown, about), *_unmeasured(name, shown)]
    if rest:
        blocks.append(Prose(text=f"In columns.parquet: {wording.plural(rest, f'more {noun}')}, low on both sides.", role="note"))
    if not alone.empty:
        blocks.append(Prose(text=f"In columns.parquet: {_undeleted(alone, noun)}", role="note"))
    if (unlisted := found.unlisted.get(name, 0)) > 0:
        blocks.append(Prose(text=f"{wording.plural(unlisted, noun)} that nobody here has is left out.", role="note"))
    return Section(key=f"columns-{name}", title=title, blocks=tuple(blocks))


def _undeleted(alone: pd.DataFrame, noun: str) -> str:
    key, few = "word" if noun == "word" else "column", alone.head(_NAMED)
    named = [f"{r[key]} (attention {r['attention']:.2f})" for _, r in few.iterrows()]
    more = ", among them" if len(alone) > _NAMED else ""
    seldom = f"{wording.plural(len(alone), noun)} that fewer than {LEAST_PATIENTS} of those drawn have, too few to delete"
    return f"{seldom}{more}: {wording.listed(named)}."


_DELETED = {
    "column": ("summed over the levels of a category, ", "the column is deleted, all levels of a category together"),
    "gene set": ("", "the set’s token is deleted, while its genes stay in the tokens of other sets that hold them"),
}
"""Of what is ranked: how its attention is made, and what its deletion is."""


def _unmeasured(name: str, table: pd.DataFrame) -> tuple[Block, ...]:
    """Tabulate the attention on “not measured”, which has no rank and no deletion."""
    known = table[table["unmeasured"].notna()].sort_values("unmeasured", ascending=False)
    if known.empty:
        return ()
    rows = tuple(
        Row(
            cells=(
                str(r["column"]), wording.count(r["unmeasured_patients"]),
                wording.estimate(r["unmeasured"], r["unmeasured_low"], r["unmeasured_high"]),
                wording.estimate(r["attention"], r["attention_low"], r["attention_high"]),
            )
        )
        for _, r in known.iterrows()
    )  # fmt: skip
    caption = (
        f"Not measured. A column of {name} that was not measured in a patient has a token of its own, learned and the same for"
        " everybody; attention to it is attention to “not measured”, not to a value. It is relative to an even spread over what"
        " was measured in the patient, and is in none of the ranks. Nothing can be deleted of it: deletion of a value leaves it."
    )
    header = ("Column", "Patients without", "Attention when not measured", "Attention when measured")
    return (Table(caption=caption, header=header, rows=rows),)


def _ranks(title: str, table: pd.DataFrame, about: About) -> Table:
    best = table["change_rank"].min()
    rows = tuple(
        Row(
            cells=(
                str(r["column"]), wording.count(r["patients"]), _rank(r, ""), _stable(r["stability"]),
                wording.count(r["change_patients"]), _rank(r, "change_"), _stable(r["change_stability"]),
            ),
            strong=bool(r["change_rank"] == best),
        )
        for _, r in table.iterrows()
    )  # fmt: skip
    caption = (
        f"Ranks of the {title[0].lower()}{title[1:]}. In brackets: where 95% of the resamples of patients rank it; stability: the"
        " share of resamples in which it has this very rank. Patients: those in whom it was measured. In bold: that whose"
        f" deletion moves the output most, in {about.unit}."
    )
    header = ("Patients", "Rank by attention", "Stability", "Deleted in", "Rank by deletion", "Stability")
    return Table(caption=caption, header=(str(table["kind"].iloc[0]).capitalize(), *header), rows=rows)


def _rank(row: pd.Series, prefix: str) -> str:
    if not wording.known(row[f"{prefix}rank"]):
        return "–"
    low, high = (wording.count(row[f"{prefix}{end}"]) for end in ("rank_low", "rank_high"))
    return f"{wording.count(row[f'{prefix}rank'])} ({low} to {high})"


def _stable(share: object) -> str:
    return wording.percent(100 * share, 100) if wording.known(share) else "–"


def words_sections(found: CohortFindings, about: About) -> list[Section]:
    """Rank the words of each modality of texts."""
    sections = []
    for name in found.punctuation:
        listed = found.words[found.words["modality"] == name]
        sections.append(_words(name, listed, found, about))
    return sections


def _words(name: str, table: pd.DataFrame, found: CohortFindings, about: About) -> Section:
    key, title = f"words-{name}", f"Words of {name}"
    if table.empty:
        return absent(key, title, f"No word stands in the texts of {LEAST_PATIENTS} patients or more, so none is listed.")
    shown, rest, alone = _first(table)
    if shown.empty:
        drawn = wording.plural(found.sampled, "patient")
        return absent(key, title, f"No word stands in the texts of {LEAST_PATIENTS} of the {drawn} drawn; draw more (--sample).")
    rows = [Pair(label=str(r["word"]), left=_bar(r, "attention"), right=_bar(r, "change")) for _, r in shown.iterrows()]
    chart = paired_bars(rows, left=_relative(), right=_deletion(shown, about), title=title)
    caption = (
        f"{title} that {LEAST_PATIENTS} patients or more have, most attended first, with 95% intervals over them. Left:"
        " attention, summed over the pieces of a word, relative to an even spread over the words of the text (dashed: 1, a word"
        " like any other); of a word that stands more than once, the most attended. Right: how far the output moves when the"
        f" word is deleted wherever it stands, in those of the {wording.plural(found.sampled, 'patient')} drawn who have it. A"
        " word that is looked at may be denied in the text: “no effusion” is attended as “effusion” is."
    )
    notes = [f"{wording.percent(found.punctuation[name], 1)} of the attention on {name} lies on punctuation, which is not shown."]
    if (unlisted := found.unlisted.get(name, 0)) > 0:
        notes.append(f"Left out: {wording.plural(unlisted, 'word')} that may be part of an identifier.")
    if rest:
        notes.append(f"In words.parquet: {wording.plural(rest, 'more word')} that were deleted.")
    if not alone.empty:
        notes.append(f"In words.parquet: {_undeleted(alone, 'word')}")
    blocks = (Figure(svg=chart, caption=caption), _decisive(shown, about), Prose(text=" ".join(notes), role="note"))
    return Section(key=key, title=title, blocks=blocks)


def _decisive(shown: pd.DataFrame, about: About) -> Table:
    """Tabulate the words whose deletion changes most."""
    rows = tuple(
        Row(
            cells=(
                str(r["word"]), wording.count(r["patients"]), wording.number(r["times"], 1), _stable(r["top"]),
                wording.count(r["change_patients"]), wording.estimate(r["change"], r["change_low"], r["change_high"]),
            )
        )
        for _, r in shown.nlargest(_FIRST, "change").iterrows()
    )  # fmt: skip
    caption = (
        f"The words whose deletion moves the output most, in {about.unit}. Times: how often a word stands in the texts that have"
        " it; one that stands often takes more of the text along. Among the most attended: the share of patients with the word"
        f" in whom it is among the {wording.percent(TOP_SHARE, 1)} of words attended most."
    )
    header = ("Word", "Patients", "Times", "Among the most attended", "Deleted in", "Change when deleted")
    return Table(caption=caption, header=header, rows=rows)


def _first(table: pd.DataFrame) -> tuple[pd.DataFrame, int, pd.DataFrame]:
    """Choose what is shown, most attended first: the first by attention and the first by deletion.

    Also count the rest, and give what was deleted in too few, whose attention would stand alone, most attended first.
    """
    both = table[table["change"].notna()]
    chosen = {*both["attention"].nlargest(_FIRST).index, *both["change"].nlargest(_FIRST).index}
    shown = both[both.index.isin(chosen)].sort_values("attention", ascending=False)
    alone = table[table["change"].isna()].sort_values("attention", ascending=False)
    return shown, len(both) - len(shown), alone


def agreement_section(found: CohortFindings) -> Section:
    """Say how far attention ranks things within a patient as deletion does."""
    key, title, table = "agreement", "Do attention and deletion agree?", found.agreement
    known = table[table["correlation"].notna()]
    if known.empty:
        return absent(key, title, "No patient has two modalities, columns, gene sets, words or patches that could be compared.")
    rows = [
        Estimate(
            label=level_name(r),
            value=r["correlation"],
            low=r["low"],
            high=r["high"],
            columns=(wording.count(r["patients"]),),
            tone="fusion",
        )
        for _, r in known.iterrows()
    ]
    chart = forest_plot(
        [("", rows)],
        axis="rank correlation of attention and size of change, within patients",
        headers=("Mean (95% interval)", "Patients"),
        guides=[
            Guide(value=0.0, label="no agreement", class_="guide chance"),
            Guide(value=1.0, label="the same order", class_="guide"),
        ],
        title=title,
        digits=2,
    )
    caption = (
        "Agreement. Within each patient, Spearman’s correlation of what is attended with how far the output moves without it,"
        " averaged over patients, with 95% intervals over them. Where it is low, the most attended is not what the output rests"
        " on, and deletion is what to read."
    )
    blocks: list[Block] = [Figure(svg=chart, caption=caption), *(Prose(text=note, role="note") for note in _not_compared(found))]
    return Section(key=key, title=title, blocks=tuple(blocks))


def _not_compared(found: CohortFindings) -> list[str]:
    """Say what agreement is not known of, and why."""
    left_out = [level_name(r) for _, r in found.agreement[found.agreement["correlation"].isna()].iterrows()]
    notes = [f"Not comparable: {wording.listed(left_out)}."] if left_out else []
    if found.pooled:
        notes.append(
            f"Not told apart inside, as the encoder gives no token for each it is given: {wording.listed(list(found.pooled))}."
            " A variant of an encoder that keeps tokens (such as bert/tokens, tabular/tokens, film_vit/tokens) does."
        )
    if found.whole:
        notes.append(f"Not deleted piece by piece: {wording.listed(list(found.whole))}.")
    return notes


def level_name(row: pd.Series) -> str:
    """Name what a row of agreement compares."""
    return _LEVELS[str(row["level"])][0].format(row["modality"])


def level_words(row: pd.Series) -> str:
    """Name the same inside a sentence."""
    return _LEVELS[str(row["level"])][1].format(row["modality"])


def _bar(row: pd.Series, name: str, prefix: str | None = None) -> Bar:
    stem = f"{name}_" if prefix is None else prefix
    return Bar(value=row[name], low=row[f"{stem}low"], high=row[f"{stem}high"])


def _deletion(shown: pd.DataFrame, about: About) -> Side:
    """Measure changes, with more digits where the largest would hardly show in two."""
    return Side(head="Deletion", axis=_change_axis(about), digits=2 if shown["change"].max() >= 0.05 else 4)


def _relative() -> Side:
    return Side(head="Attention", axis="relative to an even spread", guide=1.0)


def _change_axis(about: About) -> str:
    return f"change ({about.unit.partition(',')[0]})"
