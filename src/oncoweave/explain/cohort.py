"""What a network attends to in a cohort, always beside what its outputs do without it (IRENE, Zhou et al. 2023, fig. 3).

Attention has no sign and attributes nothing, so no number of it is given here that does not stand beside the change of the output
when the same modality, column, word or patch is deleted, and beside how far the two agree. Tokens are deleted in a drawn part of
the patients, as each costs another pass through the network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float

from oncoweave.core.errors import DataError
from oncoweave.evaluate.intervals import Interval
from oncoweave.explain.attention import Attention, attend
from oncoweave.explain.batches import MAX_TOKENS
from oncoweave.explain.deletion import COLUMNS, TABLES, WORDS, Looked, agreed_row, columns_table, patches_agreement, words_table
from oncoweave.explain.occlusion import delete_modalities, sizes
from oncoweave.explain.ranking import mean_interval, mean_shares
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork, count_tokens

MOST_LEFT_OUT = 0.1
"""Share of the patients that may have too many tokens; were more left out, the others would not stand for the cohort."""
Progress = Callable[[str, int, int], None]
"""Told what is being done, how many patients are done with it, and of how many."""


def _silent(_: str, __: int, ___: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a cohort is looked at."""

    sample: int = 50
    """Patients, drawn at random, in whom tokens are deleted."""
    hidden: frozenset[str] = frozenset()
    """Words, in lower case, that are never listed: parts of identifiers."""
    replicates: int = 1000
    """Of the bootstrap."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class CohortFindings:
    """Tables over a cohort; no row is one patient's."""

    patients: int
    """Those who have any of the modalities."""
    without: int
    """Those who have none; those left out are in neither."""
    sampled: int
    """Those in whom tokens were deleted."""
    outputs: int
    """Of the network."""
    shares: pd.DataFrame
    """A row a modality: share of attention on what was given, on values that were not measured (``share_unmeasured``, a part of
    it) and on what stands in where it is absent (``share_stand_in``, no part of it), change of the output when it is deleted."""
    columns: pd.DataFrame
    """A row a column of each modality that is a table, or a gene set where the encoder gives a token a set: rank by attention
    and by deletion."""
    words: pd.DataFrame
    """A row a word that the reports of ``explain.words.LEAST_PATIENTS`` patients or more hold."""
    agreement: pd.DataFrame
    """Rank correlation of attention and deletion within patients, by modality; NaN where nothing can be compared."""
    pooled: tuple[str, ...] = ()
    """Modalities whose encoder gives no token for each it is given: nothing inside them can be told apart."""
    whole: tuple[str, ...] = ()
    """Modalities whose tokens have no name and are not deleted one by one, such as tiles."""
    unlisted: dict[str, int] = field(default_factory=dict)
    """By modality, how many columns were measured in nobody, or words were parts of identifiers."""
    punctuation: dict[str, float] = field(default_factory=dict)
    """By modality of texts, the share of the text's attention that lies on punctuation."""
    left_out: int = 0
    """Patients with too many tokens for whole attention maps, of whom nothing is told."""
    drawn: int = 0
    """Patients of whom some tiles of a bag were looked at, not all."""


def explain_cohort(
    fitted: FittedNetwork,
    data: Dataset,
    *,
    generator: np.random.Generator,
    options: Options = Options(),
    progress: Progress = _silent,
) -> CohortFindings:
    """Follow a network's attention in a cohort, and delete what is attended to.

    Args:
        fitted: a network whose fusion can be followed (``explain.attention``).
        data: patients with exactly the network's modalities.
        generator: of the sample and of the bootstrap.
        options: how many patients tokens are deleted in, and what is not listed.
        progress: told of each patient.

    Raises:
        ConfigError: the fusion has no attention from its vector to the tokens.
        DataError: nobody has a modality, or more than ``MOST_LEFT_OUT`` of the patients have too many tokens.
    """
    attention = attend(fitted, data, generator=generator, advance=counted(progress, "following attention", len(data)))
    changes = delete_modalities(fitted, data, advance=counted(progress, "deleting modalities", len(data)))
    usable, left_out = np.flatnonzero(~np.isnan(attention.rollout.shares).any(axis=1)), int(attention.left_out.sum())
    if left_out > MOST_LEFT_OUT * (len(usable) + left_out):
        msg = (
            f"{left_out} of {len(usable) + left_out} patients have too many tokens for whole attention maps (those of"
            f" {MAX_TOKENS} tokens); shorten what is long in them (reports, tables encoded token by token), or take encoders that"
            " pool"
        )
        raise DataError(msg)
    if not len(usable):
        msg = f"none of the {len(data)} patients has any of the network's modalities ({', '.join(fitted.modalities)})"
        raise DataError(msg)
    rows = np.sort(generator.choice(usable, size=min(options.sample, len(usable)), replace=False))
    shares, agreed = _modalities(fitted, data, attention, sizes(fitted, changes), generator, options.replicates)
    inside = _Inside(agreed=[agreed])
    for name in fitted.modalities:
        advance = counted(progress, f"deleting tokens of {name}", len(rows))
        looked = Looked(
            fitted=fitted, data=data, received=attention.rollout, sets=attention.sets.get(name, ()), modality=name, rows=rows,
            advance=advance,
        )  # fmt: skip
        _look_inside(looked, inside, generator, options)
    return CohortFindings(
        patients=len(usable),
        without=len(data) - len(usable) - left_out,
        sampled=len(rows),
        outputs=fitted.config.num_outputs,
        shares=shares,
        columns=_joined(inside.columns, COLUMNS),
        words=_joined(inside.words, WORDS),
        agreement=pd.DataFrame(inside.agreed),
        pooled=tuple(inside.pooled),
        whole=tuple(inside.whole),
        unlisted=inside.unlisted,
        punctuation=inside.punctuation,
        left_out=left_out,
        drawn=int(attention.drawn.sum()),
    )


def counted(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    """Add up patients who are done, and tell their sum."""
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        progress(what, done, total)

    return advance


@dataclass(kw_only=True, eq=False, slots=True)
class _Inside:
    """What is found inside the modalities, one after the other."""

    agreed: list[dict[str, object]]
    columns: list[pd.DataFrame] = field(default_factory=list)
    words: list[pd.DataFrame] = field(default_factory=list)
    pooled: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)
    unlisted: dict[str, int] = field(default_factory=dict)
    punctuation: dict[str, float] = field(default_factory=dict)


def _look_inside(looked: Looked, inside: _Inside, generator: np.random.Generator, options: Options) -> None:
    name, kind = looked.modality, looked.data.kinds[looked.modality]
    if not looked.is_traced:
        inside.pooled.append(name)
    elif kind in TABLES:
        table, agreed, unlisted = columns_table(looked, generator=generator, replicates=options.replicates)
        inside.columns.append(table)
        inside.agreed.append(agreed)
        inside.unlisted[name] = unlisted
    elif kind == "report":
        found = words_table(looked, generator=generator, hidden=options.hidden, replicates=options.replicates)
        inside.words.append(found.table)
        inside.agreed.append(found.agreed)
        inside.unlisted[name], inside.punctuation[name] = found.unlisted, found.punctuation
    elif kind == "film":
        inside.agreed.append(patches_agreement(looked, generator=generator, replicates=options.replicates))
    else:
        inside.whole.append(name)


def _joined(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Put the tables of several modalities below each other; one of no rows has its columns all the same."""
    return pd.DataFrame([row for part in parts for row in part.to_dict("records")], columns=list(columns))


def _modalities(
    fitted: FittedNetwork,
    data: Dataset,
    attention: Attention,
    size: Float[np.ndarray, "patient modality"],
    generator: np.random.Generator,
    replicates: int,
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Lay shares and changes side by side; an absent modality has no influence and counts as 0, as does its share.

    What stands in for it has a share apart.
    """
    shares, counts = attention.rollout.shares, count_tokens(data, fitted.preparations)
    means, usable = (
        mean_shares(shares, fitted.modalities, generator=generator, replicates=replicates),
        ~np.isnan(shares).any(axis=1),
    )
    rows = []
    for m, name in enumerate(fitted.modalities):
        has, known = usable & (counts[name] > 0), usable & ~np.isnan(size[:, m])
        change = _mean(size[known, m], generator, replicates)
        rows.append({
            "modality": name, "kind": data.kinds[name], "patients": int(has.sum()), "only": int((has & ~known).sum()),
            "tokens": float(np.median(counts[name][has])) if has.any() else np.nan,
            "share": means[name].value, "low": means[name].low, "high": means[name].high,
            "share_where_present": _plain_mean(shares[has, m]),
            "share_unmeasured": _plain_mean(attention.rollout.shares_unmeasured[usable, m]),
            "share_stand_in": _plain_mean(attention.rollout.stand_ins[usable, m]),
            "stand_ins": int((attention.rollout.stand_ins[usable, m] > 0).sum()),
            "change": change.value, "change_low": change.low, "change_high": change.high,
            "change_where_present": _plain_mean(size[has & known, m]),
        })  # fmt: skip
    has = np.stack([counts[name] > 0 for name in fitted.modalities], axis=1)
    compared = list(np.where(has, shares, np.nan)), list(np.where(has, size, np.nan)[:, :, None])
    return pd.DataFrame(rows), agreed_row("modalities", "", *compared, generator=generator, replicates=replicates)


def _mean(values: Float[np.ndarray, " patient"], generator: np.random.Generator, replicates: int) -> Interval:
    """Average, where there is anybody: a network of one modality has nothing left when it is deleted."""
    if not len(values):
        return Interval(value=np.nan, low=np.nan, high=np.nan, replicates=0)
    return mean_interval(values, generator=generator, replicates=replicates)


def _plain_mean(values: Float[np.ndarray, " patient"]) -> float:
    return float(values.mean()) if len(values) else np.nan
