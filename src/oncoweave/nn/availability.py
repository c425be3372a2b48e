"""Which patient has which modality, for feature blocks and for scores; arrays without a network."""

from collections.abc import Mapping

import numpy as np

from oncoweave.core.errors import DataError


def present_blocks(blocks: Mapping[str, np.ndarray], widths: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Say who has each block, ``Bool[n]``; a row of NaN is an absent patient.

    Args:
        blocks: ``[n, d]`` of each modality.
        widths: names and widths seen in training, where there was a training.

    Raises:
        DataError: a row with some NaN or infinite values, a patient without any modality, other names or widths than in training,
            or numbers of patients that differ.
    """
    if widths is not None and set(blocks) != set(widths):
        msg = (
            f"wanted blocks of the modalities {sorted(widths)}, got {sorted(blocks)}; hand in rows of NaN for an absent modality"
        )
        raise DataError(msg)
    lengths = {name: len(block) for name, block in blocks.items()}
    if len(set(lengths.values())) != 1:
        msg = f"wanted blocks of equally many patients, got {lengths}"
        raise DataError(msg)
    present = {}
    for name, block in blocks.items():
        wanted = None if widths is None else widths[name]
        if block.ndim != 2 or block.shape[1] == 0 or wanted not in (None, block.shape[1]):
            msg = f"modality {name!r}: wanted a block [patient, {wanted or 'feature'}], got shape {block.shape}"
            raise DataError(msg)
        present[name] = ~np.isnan(block).all(axis=1)
        bad = present[name] & ~np.isfinite(block).all(axis=1)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            column = int(np.flatnonzero(~np.isfinite(block[row]))[0])
            msg = (
                f"modality {name!r}: row {row}, column {column} is {block[row, column]}; wanted a row either finite or all NaN"
                f" (absent), {int(bad.sum())} row(s) are neither; impute single values first"
            )
            raise DataError(msg)
    _refuse_nobody(np.stack(list(present.values()), axis=1))
    return present


def present_scores(scores: np.ndarray, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Say who has each modality's score, ``Bool[n, m]``; all NaN is absent.

    Args:
        scores: ``[n, m, c]``.
        shape: ``(m, c)`` seen in training, where there was a training.

    Raises:
        DataError: another shape, a score with some NaN or infinite values, or a patient without any.
    """
    if scores.ndim != 3 or shape not in (None, scores.shape[1:]):
        msg = f"wanted scores [patient, modality, column] with the last two {shape or 'free'}, got shape {scores.shape}"
        raise DataError(msg)
    present = ~np.isnan(scores).all(axis=2)
    bad = present & ~np.isfinite(scores).all(axis=2)
    if bad.any():
        row, modality = (int(i) for i in np.argwhere(bad)[0])
        msg = f"row {row}, modality {modality}: wanted scores all finite or all NaN (absent), got {scores[row, modality]}"
        raise DataError(msg)
    _refuse_nobody(present)
    return present


def _refuse_nobody(present: np.ndarray) -> None:
    nothing = ~present.any(axis=1)
    if nothing.any():
        row = int(np.flatnonzero(nothing)[0])
        msg = f"row {row} has no modality at all ({int(nothing.sum())} such row(s)); leave such patients out"
        raise DataError(msg)


def weighted_mean(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average scores ``[n, m, c]`` over the modalities present, weights ``[m]`` renormalised to them.

    Returns ``[n, c]``, NaN for patients whose modalities all have weight 0.
    """
    share = np.where(np.isnan(scores).all(axis=2), 0.0, weights)
    total = share.sum(axis=1, keepdims=True)
    share = np.divide(share, total, out=np.full_like(share, np.nan), where=total > 0)
    return np.einsum("nm,nmc->nc", share, np.nan_to_num(scores))
