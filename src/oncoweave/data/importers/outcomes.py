"""Outcomes of the plain manifest: from columns as they stand in a table to an endpoint and its values."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import ConfigError, DataError, unknown_name
from oncoweave.core.units import TimeUnit
from oncoweave.data.importers.schema import Binary, Classes, Multilabel, Regression, Survival
from oncoweave.data.importers.sources import first_place, numbers
from oncoweave.data.plausible import check_times

Columns = Callable[[str | None, list[str]], pd.DataFrame]
"""Reads columns of a table, one row a patient of the cohort; None is the patient table."""

_EVENT_WORDS = ("dead", "deceased", "died", "death", "yes", "true", "recur", "progress", "relapse", "event", "1:")


def survival(name: str, source: Survival, columns: Columns, *, where: object) -> tuple[Endpoint, pd.DataFrame]:
    """Read a time and an event.

    Raises:
        ConfigError: one column is to be both.
        DataError: text events without ``event_values``, values outside 0 and 1, negative or infinite times, or times that no
            patient can have in the declared unit.
    """
    extra = [source.censored_time] if source.censored_time else []
    if source.event in (source.time, *extra):
        msg = f"{where}: endpoint {name!r}: time and event are both column {source.event!r}; name the column of each"
        raise ConfigError(msg)
    table = columns(source.table, [source.time, source.event, *extra])
    event = zero_one(name, table[source.event], source.event_values, key="event_values", where=where)
    times = numbers(table[[source.time, *extra]], where=where)
    time = times[source.time]
    if source.censored_time:
        time = time.where(event == 1, times[source.censored_time])
    if source.negative_times == "unknown":
        time = time.mask(time < 0)
    return store_survival(name, time, event, unit=source.unit, where=where)


def store_survival(
    name: str, time: pd.Series, event: pd.Series, *, unit: TimeUnit, where: object
) -> tuple[Endpoint, pd.DataFrame]:
    """Make a survival endpoint of a time and a 0/1 event, refusing times that cannot be."""
    negative = (time < 0).to_numpy()
    if negative.any():
        msg = (
            f"{where}: endpoint {name!r}: {int(negative.sum())} follow-up time(s) are negative, first {time[negative].iloc[0]:g}"
            f" in {first_place(time < 0, where)}; correct them, or let them be unknown with negative_times: unknown"
        )
        raise DataError(msg)
    endpoint = Endpoint(name=name, kind="survival", columns=(f"{name}_time", f"{name}_event"), time_unit=unit)
    values = np.column_stack([time.to_numpy(dtype=float, na_value=np.nan), event.to_numpy(dtype=float, na_value=np.nan)])
    for finding in check_times(Target(endpoint=endpoint, values=values)):
        if finding.level == "error":
            msg = f"{where}: {finding.where}: {finding.message}"
            raise DataError(msg)
    return endpoint, pd.DataFrame({f"{name}_time": time.astype(float), f"{name}_event": event}, index=time.index)


def binary(name: str, source: Binary, columns: Columns, *, where: object) -> tuple[Endpoint, pd.DataFrame]:
    """Read a yes or no."""
    if source.column is None:
        msg = f"{where}: endpoint {name!r} of kind binary needs a column, or within and of (the survival endpoint it is cut from)"
        raise ConfigError(msg)
    values = zero_one(name, columns(source.table, [source.column])[source.column], source.values, key="values", where=where)
    return Endpoint(name=name, kind="binary", columns=(name,), classes=source.classes or ("no", "yes")), pd.DataFrame(
        {name: values}
    )


def within(name: str, source: Binary, survivals: Mapping[str, pd.DataFrame], *, where: object) -> tuple[Endpoint, pd.DataFrame]:
    """Cut a survival endpoint at a horizon: 1 = event by then, 0 = followed to the horizon or beyond without, else unknown."""
    if source.of is None or source.within is None or source.column is not None:
        msg = f"{where}: endpoint {name!r}: within and of go together, without a column"
        raise ConfigError(msg)
    if source.of not in survivals:
        raise ConfigError(f"{where}: endpoint {name!r}: {unknown_name('survival endpoint', source.of, survivals)}")
    values = survivals[source.of]
    time, event = values[f"{source.of}_time"], values[f"{source.of}_event"]
    happened = (event == 1) & (time <= source.within)
    label = pd.Series(np.nan, index=values.index).mask(time >= source.within, 0.0).mask(happened, 1.0)
    label = label.where(time.notna() & event.notna())
    return Endpoint(name=name, kind="binary", columns=(name,), classes=source.classes or ("no", "yes")), pd.DataFrame(
        {name: label}
    )


def classes(name: str, source: Classes, columns: Columns, *, where: object) -> tuple[Endpoint, pd.DataFrame]:
    """Read one of several classes; an ordinal endpoint must list its classes from low to high."""
    column = columns(source.table, [source.column])[source.column]
    text = column.map(lambda v: None if pd.isna(v) else str(v)).astype(object)
    found = sorted(text.dropna().unique())
    if source.kind == "ordinal" and source.classes is None:
        msg = f"{where}: endpoint {name!r} is ordinal: list its classes from low to high; the column has {found[:10]}"
        raise ConfigError(msg)
    order = source.classes or tuple(found)
    _refuse_unknown(name, text, order, key="classes", where=where)
    endpoint = Endpoint(name=name, kind=source.kind, columns=(name,), classes=order)
    return endpoint, pd.DataFrame(
        {name: pd.Categorical(text, categories=list(order), ordered=source.kind == "ordinal")}, index=text.index
    )


def multilabel(name: str, source: Multilabel, columns: Columns, *, where: object) -> tuple[Endpoint, pd.DataFrame]:
    """Read several labels, each of which may be unknown."""
    table = columns(source.table, list(source.columns))
    made = {f"{name}_{c}": zero_one(name, table[c], source.values, key="values", where=where) for c in source.columns}
    return Endpoint(name=name, kind="multilabel", columns=tuple(made), classes=source.columns), pd.DataFrame(made)


def regression(name: str, source: Regression, columns: Columns, *, where: object) -> tuple[Endpoint, pd.DataFrame]:
    """Read a number."""
    values = numbers(columns(source.table, [source.column]), where=where)[source.column].astype(float)
    return Endpoint(name=name, kind="regression", columns=(name,)), pd.DataFrame({name: values})


def zero_one(name: str, column: pd.Series, meaning: Mapping[str, int] | None, *, key: str, where: object) -> pd.Series:
    """Read a column as 0, 1 or unknown (NaN).

    Raises:
        DataError: text without a ``meaning`` (one is suggested), a value that ``meaning`` lacks, or a number that is not 0 or 1.
    """
    text = column.map(lambda v: None if pd.isna(v) else str(v)).astype(object)
    if meaning is not None:
        _refuse_unknown(name, text, meaning, key=key, where=where)
        return text.map(lambda v: np.nan if v is None else float(meaning[v])).astype(float)
    read = pd.to_numeric(text.replace({"True": "1", "False": "0"}), errors="coerce").astype(float)
    found = sorted(text.dropna().unique())
    if (read.isna() & text.notna()).any():
        guess = {v: int(any(w in v.casefold() for w in _EVENT_WORDS)) for v in found}
        suggestion = f"{key}: {{{', '.join(f'{k}: {v}' for k, v in guess.items())}}}" if len(found) <= 8 else f"{key}: {{...}}"
        msg = (
            f"{where}: endpoint {name!r}: column {column.name!r} holds text; say what its {len(found)} values mean: {suggestion}"
        )
        raise DataError(msg)
    other = sorted(set(read.dropna()) - {0.0, 1.0})
    if other:
        msg = f"{where}: endpoint {name!r}: column {column.name!r} must hold 0 or 1, also holds {other[:5]}; give {key}"
        raise DataError(msg)
    return read


def _refuse_unknown(name: str, text: pd.Series, known: Mapping[str, int] | tuple[str, ...], *, key: str, where: object) -> None:
    for value in text.dropna().unique():
        if value not in known:
            count = int((text == value).sum())
            hint = unknown_name(f"value in {key}", value, known)
            msg = f"{where}: endpoint {name!r}: column {text.name!r}, {count} row(s): {hint}"
            raise DataError(msg)
