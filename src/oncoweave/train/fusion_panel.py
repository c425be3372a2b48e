"""Panels of fusions of whatever modalities a task's cohort has: linear models that take minutes, and networks beside them.

Site alone, each modality alone and permuted outcomes are in every study and are not listed here.
"""

from oncoweave.train.study import ModelSpec, Protocol

LINEAR = (
    ModelSpec(name="early_concat", fusion="concat"),
    ModelSpec(name="early_blocks", fusion="pca", penalty="per_modality"),
    ModelSpec(name="late_mean", fusion="average"),
    ModelSpec(name="late_rank", fusion="rank"),
    ModelSpec(name="stacking", fusion="stacking"),
)
NETWORKS = (ModelSpec(name="joint_network", fusion="joint"), ModelSpec(name="gated_network", fusion="gated"))
MAIN = "stacking"
RELEASED = Protocol(folds=5, repeats=1, group_by_site="auto", bootstrap=2000)
"""For tasks with five released folds: without them, five of our own, and hospitals kept apart where they are known."""
