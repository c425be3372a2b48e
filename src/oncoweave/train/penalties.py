"""Penalties of the linear model that stands above an early fusion; a study names one as ``penalty:``."""

PENALTIES = {
    "shared": "One ridge penalty for all columns.",
    "per_modality": "A ridge penalty for each modality's block; one that does not help is shrunk away (van de Wiel et al. 2021).",
    "group_lasso": "Blocks are kept whole or dropped (Yuan and Lin 2006).",
    "ipf_lasso": "Columns are dropped, with a penalty factor for each block (IPF-lasso, Boulesteix et al. 2017).",
    "priority_lasso": "A lasso a block, one after the other, each given what those before it said (Klau et al. 2018).",
}
"""What each one does; all are chosen on inner folds (``train.ridge``, ``train.block_ridge``, ``train.sparse``)."""
