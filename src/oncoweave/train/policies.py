"""Which policies of the missingness shelf have a meaning before, or in, which models."""

from typing import TYPE_CHECKING

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from oncoweave.train.study import ModelSpec

MASK = "mask"
"""How what is absent is treated where no policy stands in for it: left out by the fusion itself."""


def _policies() -> dict[str, dict[str, object]]:
    return {entry.name: entry.constants for entry in shelf.catalogue("missingness")}


def acts_on_blocks(policy: str | None) -> bool:
    """Whether a policy stands in for what is absent before anything reads it."""
    return policy is not None and _policies().get(policy, {}).get("ACTS_ON") == "blocks"


def check_missing(model: "ModelSpec", stage: str, kinds: dict[str, str]) -> None:
    """Refuse a policy, or settings of one, that has no meaning before or in the models of a stage.

    Args:
        model: the model; its ``missing`` and ``missing_settings`` are judged.
        stage: its own, or of two levels that of the feature level.
        kinds: kind of each of its modalities.
    """
    where, policies = f"model {model.name!r}", _policies()
    if model.missing is None:
        if model.missing_settings:
            msg = f"{where}: missing_settings belong to a policy; name it: missing: ... (there are: {', '.join(policies)})"
            raise ConfigError(msg)
        return
    if model.missing not in policies:
        raise unknown_name(f"missingness policy ({where})", model.missing, policies)
    shelf.configure("missingness", model.missing, model.missing_settings, where=f"{where}, missing_settings")
    if acts_on_blocks(model.missing):
        _check_columns(model, stage, kinds, gives=policies[model.missing].get("GIVES"))
    elif stage in ("early", "late") and model.missing != MASK:
        columns = ", ".join(name for name, stated in policies.items() if stated["ACTS_ON"] == "blocks")
        reads = "fits a linear model on columns" if stage == "early" else "combines models that read one modality each"
        msg = (
            f"{where}: missing: {model.missing} acts inside a network that reads several modalities, and {model.fusion!r} is"
            f" {stage}: it {reads}; use one that fills in columns ({columns}), or mask"
        )
        raise ConfigError(msg)


def _check_columns(model: "ModelSpec", stage: str, kinds: dict[str, str], *, gives: object) -> None:
    """Refuse columns in the place of what a network reads as tiles, words or pixels."""
    networks = stage in ("intermediate", "hybrid")
    for modality, kind in kinds.items():
        is_read = networks or modality in model.encoders or kind in model.encoders
        if is_read and gives != "samples" and not hasattr(shelf.load("modalities", kind).Preparation, "lay_back"):
            msg = (
                f"model {model.name!r}: missing: {model.missing} fills in columns, and a network reads {modality!r} ({kind}) as"
                " tokens that no columns give; use retrieval, which hands on whole samples, or learned, latent or mask"
            )
            raise ConfigError(msg)
