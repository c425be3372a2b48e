"""Gaussian mixtures with diagonal covariances: fitted to many vectors, and what a patient's own vectors say of each component."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from oncoweave.core.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Mixture:
    """Components of a mixture, and how they were found."""

    weights: Float[np.ndarray, " component"]
    means: Float[np.ndarray, "component dim"]
    variances: Float[np.ndarray, "component dim"]
    by_k_means: bool
    """EM degenerated: the components are clusters of k-means with their shares and variances."""


def fit_mixture(values: Float[np.ndarray, "sample dim"], *, components: int, floor: float, steps: int, seed: int) -> Mixture:
    """Fit by expectation maximisation from k-means; where a component loses its last vector, k-means' clusters are taken.

    ``floor`` is added to every variance; values should have a spread of about one.

    Raises:
        DataError: there are fewer different vectors than components.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    different = len(np.unique(values, axis=0))
    if different < components:
        msg = f"wanted at least {components} different vectors for as many components of a mixture, got {different}"
        raise DataError(msg)
    mixture = GaussianMixture(
        components, covariance_type="diag", init_params="kmeans", reg_covar=floor, max_iter=steps, random_state=seed
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # more steps move prototypes a little; they stay prototypes
            mixture.fit(values)
    except ValueError:  # a variance fell to zero or below
        return _by_k_means(values, components=components, floor=floor, seed=seed)
    fitted = Mixture(weights=mixture.weights_, means=mixture.means_, variances=mixture.covariances_, by_k_means=False)
    sound = all(np.isfinite(part).all() for part in (fitted.weights, fitted.means, fitted.variances))
    if not sound or fitted.weights.min() * len(values) < 1.0:
        return _by_k_means(values, components=components, floor=floor, seed=seed)
    return fitted


def _by_k_means(values: np.ndarray, *, components: int, floor: float, seed: int) -> Mixture:
    from sklearn.cluster import KMeans

    labels = KMeans(components, n_init=3, random_state=seed).fit(values).labels_
    clusters = [values[labels == c] for c in range(components)]
    return Mixture(
        weights=np.array([len(cluster) for cluster in clusters]) / len(values),
        means=np.stack([cluster.mean(axis=0) for cluster in clusters]),
        variances=np.stack([cluster.var(axis=0) for cluster in clusters]) + floor,
        by_k_means=True,
    )


def responsibilities(
    values: Float[Tensor, "batch token dim"],
    *,
    log_weights: Float[Tensor, " component"],
    means: Float[Tensor, "component dim"],
    variances: Float[Tensor, "component dim"],
) -> Float[Tensor, "batch token component"]:
    """Return the chance that each vector comes from each component, by Bayes' rule."""
    precision = 1.0 / variances
    distance = values**2 @ precision.T - 2.0 * values @ (means * precision).T + (means**2 * precision).sum(dim=1)
    return torch.softmax(log_weights - 0.5 * (distance + variances.log().sum(dim=1)), dim=2)


def patient_components(
    values: Float[Tensor, "batch token dim"],
    keep: Bool[Tensor, "batch token"],
    share: Float[Tensor, "batch token component"],
    *,
    means: Float[Tensor, "component dim"],
    variances: Float[Tensor, "component dim"],
    prior: float,
) -> tuple[Float[Tensor, "batch component"], Float[Tensor, "batch component dim"], Float[Tensor, "batch component dim"]]:
    """Return each patient's own probability, mean and variance of every component: one maximum a posteriori step of EM.

    ``prior`` is how many vectors the common component counts for: where the patient has none, its mean and variance are the
    common ones.
    """
    share = torch.where(keep.unsqueeze(-1), share, 0.0).transpose(1, 2)
    count = share.sum(dim=2)
    total = (count + prior).unsqueeze(-1)
    mean = (share @ values + prior * means) / total
    square = (share @ values**2 + prior * (variances + means**2)) / total
    probability = count / keep.sum(dim=1, keepdim=True).clamp(min=1)
    return probability, mean, square - mean**2
