"""Panels of fusions of whatever modalities a task's cohort has: linear models that take minutes, and networks beside them.

Site alone, each modality alone and permuted outcomes are in every study and are not listed here.
"""

from oncoweave.train.study import ModelSpec, Protocol
from oncoweave.train.task import Published, Split

LINEAR = (
    ModelSpec(name="early_concat", fusion="concat"),
    ModelSpec(name="early_blocks", fusion="pca", penalty="per_modality"),
    ModelSpec(name="late_mean", fusion="average"),
    ModelSpec(name="late_rank", fusion="rank"),
    ModelSpec(name="stacking", fusion="stacking"),
)
NETWORKS = (ModelSpec(name="joint_network", fusion="joint"), ModelSpec(name="experts_network", fusion="experts"))
MAIN = "stacking"
RELEASED = Protocol(folds=5, repeats=1, group_by_site="auto", bootstrap=2000)
"""For tasks with five released folds: without them, five of our own, and hospitals kept apart where they are known."""
THRICE_FIVE = Protocol(folds=5, repeats=3)
THRICE = Split(rule="By patient, and by hospital where every patient's is known; three times five folds.")
"""``THRICE_FIVE`` in words."""
REVIEW = Published(
    citation="Steyaert et al., Nature Machine Intelligence 2023 (Multimodal data fusion for cancer biomarker discovery)",
    source="the review gives no benchmark of its own",
    notes="No figure: the review compares published works on different patients, which cannot be held against one another.",
)
