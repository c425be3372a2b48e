"""How far patients are from training patients, by the blocks that both have."""

from collections.abc import Mapping

import numpy as np

from oncoweave.nn.block_columns import Standard


def standard_blocks(
    blocks: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray], standards: Mapping[str, Standard]
) -> dict[str, np.ndarray]:
    """Standardise blocks ``[n, d]``, each divided by the root of its width, lest a wide one decide alone; absent rows are 0."""
    return {name: s.apply(blocks[name], present[name]) / np.sqrt(blocks[name].shape[1]) for name, s in standards.items()}


def shared_distances(
    columns: Mapping[str, np.ndarray],
    present: Mapping[str, np.ndarray],
    train: Mapping[str, np.ndarray],
    train_present: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Mean squared distance ``[n, train]`` over the blocks that both have; infinite where they share none."""
    from scipy.spatial.distance import cdist

    num = len(next(iter(columns.values()))), len(next(iter(train.values())))
    total, shared = np.zeros(num), np.zeros(num)
    for name, block in columns.items():
        both = np.outer(present[name], train_present[name])
        # pair by pair, not by a matrix product: a patient alone gets the same distances as among others
        total += np.where(both, cdist(block, train[name], "sqeuclidean"), 0.0)
        shared += both
    return np.divide(total, shared, out=np.full(num, np.inf), where=shared > 0)
