"""What every statistic asks of its arrays: one value a patient, finite, of one length."""

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError


def finite(name: str, values: np.ndarray, length: int | None = None) -> np.ndarray:
    """Return a float64 vector, or say which row cannot be used.

    Raises:
        DataError: no numbers, not one-dimensional, of another length than the outcomes, or a value that is NaN or infinite.
    """
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = (
            f"{name}: wanted numbers, got {_first_without_number(values)}; give classes as 0, 1, ... in the order of the columns"
        )
        raise DataError(msg) from error
    if np.asarray(values).dtype.kind in "US":
        msg = f"{name}: wanted numbers, got text such as {np.asarray(values).ravel()[0].item()!r}; turn it into numbers first"
        raise DataError(msg)
    if vector.ndim != 1 or (length is not None and len(vector) != length):
        wanted = "one value a patient" if length is None else f"{length} values, one a patient"
        msg = f"{name}: wanted {wanted}, got an array of shape {vector.shape}"
        raise DataError(msg)
    bad = ~np.isfinite(vector)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        msg = (
            f"{name}: wanted finite numbers, got {vector[first]} in row {first} ({int(bad.sum())} such row(s) of {len(vector)});"
            " a model that predicts nothing for a patient must leave the row out"
        )
        raise DataError(msg)
    return vector


def _first_without_number(values: np.ndarray) -> str:
    """Name the first value that is no number, and its row."""
    for row, value in enumerate(np.asarray(values, dtype=object).ravel()):
        try:
            float(value)
        except (TypeError, ValueError):
            return f"{value!r} in row {row}"
    return f"rows of different lengths ({type(values).__name__})"


def check_level(level: float) -> None:
    """Refuse the level of an interval that is not a share.

    Raises:
        DataError: not between 0 and 1; 95 is said to be .95.
    """
    if not 0 < level < 1:
        percent = f"; {level:g} per cent is {level / 100:g}" if 1 <= level < 100 else ""
        msg = f"level: wanted a share between 0 and 1, such as 0.95, got {level!r}{percent}"
        raise DataError(msg)


def labels(name: str, values: np.ndarray, length: int | None = None) -> np.ndarray:
    """Return a vector of labels of any kind (classes, strata, groups), or say which row has none.

    Raises:
        DataError: not one-dimensional, of another length, or a label that is NaN, NaT or None.
    """
    vector = np.asarray(values)
    if vector.ndim != 1 or (length is not None and len(vector) != length):
        wanted = "one label a patient" if length is None else f"{length} labels, one a patient"
        msg = f"{name}: wanted {wanted}, got an array of shape {vector.shape}"
        raise DataError(msg)
    absent = np.flatnonzero(pd.isna(vector))
    if len(absent):
        msg = (
            f"{name}: wanted a label in every row, got {vector[absent[0]]} in row {int(absent[0])} ({len(absent)} such row(s) of"
            f" {len(vector)}); leave these rows out"
        )
        raise DataError(msg)
    return vector


def owners(name: str, ids: np.ndarray, length: int) -> np.ndarray:
    """Number whose each row is, ``Int[row]`` from 0, by ids of any kind.

    Raises:
        DataError: not one id a row, or a row without one, which is nobody's and not that of one person more.
    """
    if np.shape(ids) != (length,):
        msg = f"{name}: wanted one a row, {length}, got an array of shape {np.shape(ids)}"
        raise DataError(msg)
    return np.unique(labels(name, ids), return_inverse=True)[1]


def check_rows(weights: np.ndarray, num_rows: int) -> None:
    """Refuse weights of other rows than those of a statistic, of which it would leave some unread.

    Raises:
        DataError: not one column a row.
    """
    if weights.shape[1] != num_rows:
        msg = f"patients: wanted whose each of the {num_rows} rows of the statistic is, got {weights.shape[1]}"
        raise DataError(msg)


def outcome(time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return follow-up times (float64) and events (bool).

    Raises:
        DataError: no patients, a negative time, or an event that is neither 0 nor 1.
    """
    time = finite("time", time)
    event = finite("event", event, len(time))
    if not len(time):
        msg = "time: wanted at least one patient, got none"
        raise DataError(msg)
    if (time < 0).any():
        msg = f"time: wanted zero or more, got {time.min()} in row {int(time.argmin())}"
        raise DataError(msg)
    strange = ~np.isin(event, (0.0, 1.0))
    if strange.any():
        msg = f"event: wanted 1 (happened) or 0 (censored), got {event[strange][0]} in row {int(np.flatnonzero(strange)[0])}"
        raise DataError(msg)
    return time, event > 0.5
