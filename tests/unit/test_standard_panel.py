"""Which fusions a study compares when it names none."""

import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.train.study import Study, resolve

ALWAYS = ["early_concat", "early_pca", "early_blocks", "joint_network", "experts_network"]
LATE = ["late_mean", "late_weighted", "late_rank", "late_product", "stacking"]


@pytest.mark.parametrize(
    ("kinds", "asked", "mmp"),
    [
        ({"he": "slide", "rna": "expression", "blood": "record"}, None, ["mmp_network"]),
        ({"he": "slide", "rna": "expression", "blood": "record"}, ("he", "blood"), []),
        ({"he": "embedding", "rna": "expression"}, None, []),
    ],
)
def test_mmp_stands_in_the_panel_where_the_study_has_slides_and_expression(kinds, asked, mmp):
    ids = pd.Index(["p1", "p2"], dtype=object, name="patient_id")
    cohort = Cohort(
        name="c",
        patients=pd.DataFrame({"site": ["A", "A"], "y": [0.0, 1.0]}, index=ids),
        tables=dict.fromkeys(kinds, pd.DataFrame({"patient_id": ids, "sample_id": ["s1", "s2"], "x": [0.0, 1.0]})),
        modalities={name: ModalitySpec(name=name, kind=kind) for name, kind in kinds.items()},
        endpoints={"y": Endpoint(name="y", kind="binary", columns=("y",))},
    )
    resolved = resolve(Study(name="s", cohort="c", endpoint="y", modalities=asked), cohort)
    assert [model.name for model in resolved.models] == [*ALWAYS, *mmp, *LATE]
    assert resolved.main == "stacking"
    assert all(model.modalities == (asked or tuple(kinds)) for model in resolved.models)
