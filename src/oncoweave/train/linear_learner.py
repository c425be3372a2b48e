"""Linear models on fused feature blocks: ridge Cox, logistic and ridge regression, for one modality or several."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from oncoweave.core import shelf
from oncoweave.core.endpoint import Target
from oncoweave.nn.availability import present_blocks
from oncoweave.nn.fitted import EarlyFusion, SupervisedFusion
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold, Preparation, Trained
from oncoweave.train.heads import Head, Penalised, fit_head
from oncoweave.train.linear import BlockPenalty


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FittedLinear:
    """Preparations, an early fusion and a linear head, all fitted on the same training rows."""

    modalities: tuple[str, ...]
    preparations: dict[str, Preparation]
    fusion: EarlyFusion
    head: Head

    def predict(self, data: Dataset) -> np.ndarray:
        """Return ``[n, c]``; NaN for patients who have none of the modalities."""
        blocks = {m: self.preparations[m].block(data.samples[m]) for m in self.modalities}
        present = np.any([~np.isnan(b).all(axis=1) for b in blocks.values()], axis=0)
        output = np.full((len(data), self.head.num_outputs), np.nan)
        if present.any():
            output[present] = self.head.predict(self.fusion.transform({m: b[present] for m, b in blocks.items()}))
        return output


def fit_linear(
    fold: Fold,
    modalities: Sequence[str],
    *,
    fusion: str,
    settings: Mapping[str, object] = MappingProxyType({}),
    penalty: Literal["shared"] | BlockPenalty = "shared",
) -> Trained:
    """Fit an early fusion and a penalised linear head on a fold's training rows.

    ``penalty`` shared is one ridge for all columns; the others give each modality its own, chosen on inner folds, so that a block
    that does not help is shrunk away or dropped. Training rows without any of the modalities are left out. The out-of-fold scores
    are those by which the penalty was chosen: the imputation, scaling and fusion behind them saw the row's features, but no
    coefficient saw its outcome; but with ``priority_lasso`` later blocks start from out-of-fold scores of the earlier ones, which
    other folds' outcomes went into. Where the fusion is supervised (``NEEDS = ("target",)``), a row's columns come from a fusion
    that left out its inner fold.
    """
    preparations = {m: fold.preparation(m) for m in modalities}
    blocks = {m: preparations[m].block(fold.train.samples[m]) for m in modalities}
    rows = np.any([~np.isnan(b).all(axis=1) for b in blocks.values()], axis=0) & fold.train.outcome.known
    blocks, target, inner = {m: b[rows] for m, b in blocks.items()}, fold.train.outcome.take(rows), fold.inner_of(rows)
    fuse = _fuser(fusion, settings)
    fused = fuse(blocks, target)
    columns = left_out_columns(fuse, blocks, target, inner, like=fused) if _is_supervised(fusion) else fused.transform(blocks)
    apart = None if penalty == "shared" else Penalised(groups=np.asarray(fused.groups), kind=penalty)
    head, scores = fit_head(columns, target, inner=inner, blocks=apart)
    fitted = FittedLinear(modalities=tuple(modalities), preparations=preparations, fusion=fused, head=head)
    return Trained(fitted=fitted, out_of_fold=_scattered(scores, rows))


def _is_supervised(fusion: str) -> bool:
    return "target" in getattr(shelf.load("fusion", fusion), "NEEDS", ())


def _fuser(fusion: str, settings: Mapping[str, object]) -> Callable[[Mapping[str, np.ndarray], Target], EarlyFusion]:
    module, config = shelf.load("fusion", fusion), shelf.configure("fusion", fusion, settings)
    supervised = _is_supervised(fusion)
    return lambda blocks, target: module.fit(blocks, config, **({"target": target} if supervised else {}))


def left_out_columns(
    fuse: Callable[[Mapping[str, np.ndarray], Target], EarlyFusion],
    blocks: Mapping[str, np.ndarray],
    target: Target,
    inner: np.ndarray,
    *,
    like: EarlyFusion,
) -> np.ndarray:
    """Fused columns ``[n, d]`` of each row by the fusion that left out its inner fold, directed and scaled as by ``like``."""
    columns, whole, present = np.empty((len(inner), len(like.groups))), like.transform(blocks), present_blocks(blocks)
    has = np.stack([present[name] for name in like.groups], axis=1)
    for k in np.unique(inner):
        rest = fuse({m: b[inner != k] for m, b in blocks.items()}, target.take(inner != k))
        assert isinstance(rest, SupervisedFusion), f"a fusion that needs the outcome, {type(rest).__module__}, has no 'like'"
        columns[inner == k] = _on_the_scale_of(whole, rest.like(like).transform(blocks), has)[inner == k]
    return columns


def _on_the_scale_of(whole: np.ndarray, part: np.ndarray, has: np.ndarray) -> np.ndarray:
    """Give columns ``[n, d]`` the mean and deviation that those of ``whole`` have over the rows of ``has``, ``Bool[n, d]``.

    A fit of other rows has other units; a head that is fitted on columns in several of them reads none of them well.
    """
    centre, spread = part.mean(axis=0, where=has), part.std(axis=0, where=has)
    scaled = (part - centre) / np.where(spread > 0, spread, 1.0) * whole.std(axis=0, where=has) + whole.mean(axis=0, where=has)
    return np.where(has & (spread > 0), scaled, part)


def _scattered(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Lay scores of some training rows (``Bool[n]``) into all, NaN elsewhere."""
    everyone = np.full((len(rows), scores.shape[1]), np.nan)
    everyone[rows] = scores
    return everyone


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FittedSite:
    """The outcome predicted from the hospital alone: what any model that can tell hospitals apart gets for nothing."""

    modalities: tuple[str, ...]
    sites: tuple[str, ...]
    head: Head

    @property
    def preparations(self) -> dict[str, Preparation]:
        """None: it reads the hospital only."""
        return {}

    def predict(self, data: Dataset) -> np.ndarray:
        """Return ``[n, c]``; a hospital that was not in training gets the average."""
        # once a hospital: a matrix product may round equal rows differently, and its patients would be ranked by that
        place = {site: row for row, site in enumerate(self.sites)}
        scores = self.head.predict(np.vstack([np.eye(len(self.sites)), np.zeros(len(self.sites))]))
        return scores[[place.get(site, len(self.sites)) for site in data.site]]


def fit_site(fold: Fold) -> Trained:
    """Fit the site-only baseline."""
    rows = fold.train.outcome.known
    sites = tuple(sorted(set(fold.train.site[rows])))
    columns, target = _one_hot(fold.train.site[rows], sites), fold.train.outcome.take(rows)
    head, scores = fit_head(columns, target, inner=fold.inner_of(rows), blocks=None)
    return Trained(fitted=FittedSite(modalities=(), sites=sites, head=head), out_of_fold=_scattered(scores, rows))


def _one_hot(site: np.ndarray, sites: tuple[str, ...]) -> np.ndarray:
    return (site[:, None] == np.array(sites, dtype=object)[None, :]).astype(float)
