"""What a synthetic run folder for the tests of the report is to look like."""

from dataclasses import dataclass

MODALITIES = {"clinical": "record", "blood": "record", "pathology": "record", "he_slides": "slide", "rna": "expression"}
ENDPOINTS = {
    "survival": {"name": "overall_survival", "columns": ["time", "event"], "classes": [], "time_unit": "months"},
    "binary": {"name": "recurrence", "columns": ["recurrence"], "classes": ["no recurrence", "recurrence"], "time_unit": None},
    "multiclass": {"name": "subtype", "columns": ["subtype"], "classes": ["luminal", "basal", "HER2"], "time_unit": None},
    "multilabel": {"name": "finding", "columns": ["edema", "effusion"], "classes": ["edema", "effusion"], "time_unit": None},
    "ordinal": {"name": "grade", "columns": ["grade"], "classes": ["1", "2", "3"], "time_unit": None},
    "regression": {"name": "ki67", "columns": ["ki67"], "classes": [], "time_unit": None},
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the run is to look like."""

    kind: str = "survival"
    num: int = 610
    modalities: tuple[str, ...] = tuple(MODALITIES)
    num_patterns: int = 8
    num_sites: int = 9
    fusions: tuple[str, ...] = ("early_concat", "gated_network", "late_mean", "stacking")
    main: str = "stacking"
    gain: float = 0.021
    null: float = 0.5
    permutations: int = 1
    seed: int = 0
    wide: float = 1.0
