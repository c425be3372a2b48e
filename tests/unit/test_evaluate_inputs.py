"""What statistics refuse, and what they say of it."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError, UnknownNameError
from oncoweave.evaluate import discrimination, weighted
from oncoweave.evaluate.calibration import recalibrate, reliability
from oncoweave.evaluate.clustered import exact_share
from oncoweave.evaluate.compare import corrected_resampled_t, paired_bootstrap
from oncoweave.evaluate.conformal import calibrate_sets
from oncoweave.evaluate.delong import delong
from oncoweave.evaluate.intervals import bca_interval, bootstrap
from oncoweave.evaluate.pairs import ordered_pairs
from oncoweave.evaluate.rescale import fit_temperature
from oncoweave.evaluate.restricted import restricted_mean_of
from oncoweave.evaluate.significance import cochran_q, mcnemar
from oncoweave.evaluate.summary import SummaryOptions, summarise
from oncoweave.evaluate.tables import check_predictions

BINARY = Endpoint(name="response", kind="binary", columns=("response",))
HALF, TWO = np.full((2, 2), 0.5), np.array([0.2, 0.7])
ABC = np.array(list("ab"))


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda: reliability(np.array([1, 2]), TWO, bins=2), r"y: wanted 0 or 1, got 2\.0 in row 1"),
        (lambda: recalibrate(np.array([1, 2]), TWO), r"y: wanted 0 or 1, got 2\.0 in row 1"),
        (lambda: recalibrate(np.array([0.3, 1]), TWO), r"y: wanted 0 or 1, got 0\.3 in row 0"),
        (lambda: delong(np.array([1, 2]), TWO), r"y: wanted 0 or 1, got 2\.0 in row 1"),
        (
            lambda: discrimination.kappa(np.array([0, -1]), np.array([0, 1]), 2),
            r"y: wanted whole numbers, class indices from 0 to 1, got -1 in row 1",
        ),
        (
            lambda: discrimination.kappa(np.array([0, 1]), np.array([0, 3]), 2),
            r"predicted: wanted whole numbers, class indices from 0 to 1, got 3 in row 1",
        ),
        (
            lambda: weighted.kappa(np.array([0, -1]), np.array([0, 1]), 2),
            r"y: wanted whole numbers.*got -1 in row 1",
        ),
        (lambda: discrimination.kappa(ABC, ABC, 2), r"y: wanted numbers, got 'a' in row 0"),
        (
            lambda: discrimination.log_loss(np.array([0.7, 1]), HALF),
            r"wanted whole numbers, class indices from 0 to 1, got 0\.7 in row 0",
        ),
        (lambda: discrimination.log_loss(np.array([0, 1]), HALF + 0.4), r"sum to 1, got 1\.8 in row 0 \(2 such row"),
        (lambda: calibrate_sets(np.array([0.6, 1]), HALF), r"class indices from 0 to 1, got 0\.6 in row 0"),
        (lambda: calibrate_sets(np.array([0, 1]), HALF + 0.4), r"sum to 1, got 1\.8"),
        (lambda: fit_temperature(np.array([0.7, 1]), HALF), r"class indices from 0 to 1, got 0\.7 in row 0"),
        (
            lambda: discrimination.accuracy(np.array([0, np.nan]), np.array([0, 1])),
            r"y: wanted a label in every row, got nan in row 1 \(1 such row",
        ),
        (
            lambda: discrimination.balanced_accuracy(np.array([0, np.nan]), np.array([0, 1])),
            r"y: wanted a label in every row, got nan in row 1",
        ),
        (lambda: discrimination.f1(ABC, ABC), r"y: wanted numbers, got 'a' in row 0"),
        (lambda: discrimination.auroc(ABC, TWO), r"y: wanted numbers, got 'a' in row 0"),
        (lambda: discrimination.macro_auroc(ABC, HALF), r"y: wanted numbers, got 'a' in row 0"),
        (lambda: discrimination.auroc(np.array(["0", "1"]), TWO), r"y: wanted numbers, got text such as '0'"),
    ],
)
def test_outcomes_and_probabilities_that_cannot_be_are_refused(call, wanted):
    with pytest.raises(DataError, match=wanted):
        call()


def test_classes_of_any_name_are_right_or_wrong():
    assert (
        discrimination.accuracy(ABC, np.array(["a", "a"])) == discrimination.balanced_accuracy(ABC, np.array(["a", "a"])) == 0.5
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda level: bootstrap(weighted.mean_of(TWO), np.arange(2), generator=np.random.default_rng(0), level=level),
        lambda level: bca_interval(0.5, TWO, left_out=TWO, level=level),
        lambda level: corrected_resampled_t(TWO, test_to_train=0.25, level=level),
        lambda level: delong(np.array([0, 1]), TWO).interval(level=level),
        lambda level: summarise(
            table(), BINARY, roles={"m": "fusion"}, generator=np.random.default_rng(0), options=SummaryOptions(level=level)
        ),
    ],
)
def test_a_level_in_per_cent_is_refused(call):
    with pytest.raises(DataError, match=r"level: wanted a share between 0 and 1, such as 0\.95, got 95; 95 per cent is 0\.95"):
        call(95)


def table():
    y = np.arange(20) % 2
    keys = {"patient_id": [f"p{i:02d}" for i in range(20)], "site": "s", "model": "m", "repeat": 0, "fold": 0, "pattern": "rna"}
    return pd.DataFrame({**keys, "y": y, "p": np.linspace(0.1, 0.9, 20)})


def test_text_and_doubled_columns_of_a_prediction_table_are_refused():
    for column, value in (("y", "0"), ("p", "0.1")):
        with pytest.raises(DataError, match=rf"column '{column}': wanted .*, as a number and not as text, got '{value}"):
            check_predictions(table().astype({column: str}), BINARY)
    with pytest.raises(DataError, match=r"wanted each column once, got \['p'\] more than once"):
        check_predictions(pd.concat([table(), table()[["p"]]], axis=1), BINARY)


def test_roles_that_there_are_not_are_refused():
    for role in ("fuson", "null "):
        with pytest.raises(UnknownNameError, match=r"role \(of model 'm'\)"):
            summarise(table(), BINARY, roles={"m": role}, generator=np.random.default_rng(0))


def boot(statistic, patients):
    return bootstrap(statistic, patients, generator=np.random.default_rng(0), replicates=20)


NOBODY = np.array(["a", None], dtype=object)


@pytest.mark.parametrize(
    "ids", [np.array([1.0, np.nan]), NOBODY, np.array([1, pd.NA], dtype=object), np.array(["2020", "NaT"], "M8[D]")]
)
@pytest.mark.parametrize(
    "call",
    [
        lambda ids: mcnemar(np.array([1, 0]), np.array([0, 1]), persons=ids),
        lambda ids: cochran_q(np.eye(2), persons=ids),
        lambda ids: reliability(np.array([1, 0]), TWO, bins=1, persons=ids),
        lambda ids: exact_share(np.array([1, 0]), ids),
        lambda ids: delong(np.array([1, 0]), TWO, patients=ids),
        lambda ids: boot(weighted.mean_of(TWO), ids),
        lambda ids: paired_bootstrap(weighted.mean_of(TWO), weighted.mean_of(TWO), ids, generator=np.random.default_rng(0)),
    ],
)
def test_a_row_of_nobody_is_not_one_persons(call, ids):
    with pytest.raises(DataError, match=r"(persons|patients): wanted a label in every row, got .* in row 1 \(1 such row"):
        call(ids)


def test_models_on_different_patients_are_not_paired():
    with pytest.raises(DataError, match=r"decisions: wanted two models' on the same patients, got shapes \(3,\) and \(2,\)"):
        mcnemar(np.ones(3), np.ones(2))


@pytest.mark.parametrize("num", [25, 29, 35])
@pytest.mark.parametrize(
    "make",
    [
        lambda y, score: ordered_pairs(y, score, np.zeros(30, dtype=int)),
        lambda y, score: weighted.average_precision(y, score, np.zeros(30, dtype=int)),
        lambda y, score: weighted.rank_correlation(y, score, np.zeros(30, dtype=int)),
        lambda y, score: weighted.micro_area(y[:, None], score[:, None], np.zeros(30, dtype=int)),
        lambda y, score: weighted.mean_of(score),
        lambda y, score: restricted_mean_of(score, y, until=0.5),
    ],
)
def test_ids_of_other_rows_than_the_statistics_are_refused(make, num, rng):
    statistic = make((rng.random(30) < 0.5).astype(float), rng.random(30))
    with pytest.raises(DataError, match=f"whose each of the 30 rows of the statistic is, got {num}"):
        boot(statistic, np.arange(num))
