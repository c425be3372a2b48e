"""Planted arrangements: one bag of tiles for both labels, another order, and the truth beside the cohort."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import binary_dilation

from oncoweave.core.errors import ConfigError
from oncoweave.data.cohort import Cohort
from oncoweave.modalities import slide
from oncoweave.phantom.arrangement import LYMPHOCYTES, STROMA, TUMOUR, Config, draw_slide, write_arrangement
from oncoweave.phantom.truth_folder import truth_folder

CONFIG = Config(patients=6, unlabelled=4, seed=3)


def _sorted(rows):
    return rows[np.lexsort(rows.T)]


def _pair(index):
    return [draw_slide(CONFIG, index, infiltrated=label) for label in (False, True)]


def test_both_labels_have_the_same_tiles_and_the_same_cells():
    for index in range(20):
        excluded, infiltrated = _pair(index)
        np.testing.assert_array_equal(_sorted(excluded.bag.features), _sorted(infiltrated.bag.features))
        np.testing.assert_array_equal(excluded.bag.coords, infiltrated.bag.coords)
        np.testing.assert_array_equal(np.bincount(excluded.tissue), np.bincount(infiltrated.tissue))
        assert not np.array_equal(excluded.bag.features, infiltrated.bag.features)


def test_no_moment_of_the_bag_tells_the_labels_apart():
    """Whatever sees a bag as a set, or its cells without features, is at chance: not by much data, but exactly."""
    for index in range(5):
        excluded, infiltrated = (_sorted(s.bag.features).astype(float) for s in _pair(index))
        for moment in (1, 2, 3):
            np.testing.assert_array_equal((excluded**moment).mean(axis=0), (infiltrated**moment).mean(axis=0))


def test_lymphocytes_stand_where_the_label_says():
    """Among the neighbours of lymphocytes, tumour outweighs stroma where they infiltrate, by much more than where they do not."""
    shares = {False: [], True: []}
    for index in range(30):
        for drawn in _pair(index):
            grid = np.full((CONFIG.side, CONFIG.side), -1)
            x, y = (drawn.bag.coords // 512).T
            grid[y, x] = drawn.tissue
            beside = binary_dilation(grid == LYMPHOCYTES) & (grid != LYMPHOCYTES)
            tumour, stroma = ((beside & (grid == t)).sum() for t in (TUMOUR, STROMA))
            shares[drawn.infiltrated].append(tumour / (tumour + stroma))
    assert np.median(shares[True]) > np.median(shares[False]) + 0.2
    assert (np.array(shares[True]) > np.array(shares[False])).mean() > 0.9


def test_features_say_the_tissue():
    drawn = [draw_slide(CONFIG, i) for i in range(20)]
    features, tissue = np.concatenate([d.bag.features for d in drawn]), np.concatenate([d.tissue for d in drawn])
    means = np.stack([features[tissue == t].mean(axis=0) for t in range(3)])
    nearest = np.linalg.norm(features[:, None] - means, axis=2).argmin(axis=1)
    assert (nearest == tissue).mean() > 0.99


def test_a_patient_is_the_same_in_any_cohort_and_seeds_differ():
    again = draw_slide(dataclasses.replace(CONFIG, patients=100, unlabelled=0), 5)
    np.testing.assert_array_equal(again.bag.features, draw_slide(CONFIG, 5).bag.features)
    other = draw_slide(dataclasses.replace(CONFIG, seed=4), 5).bag.features
    assert other.shape != again.bag.features.shape or not np.array_equal(other, again.bag.features)
    labels = [draw_slide(CONFIG, i).infiltrated for i in range(60)]
    assert 15 < sum(labels) < 45


def test_the_cohort_shows_labels_of_its_patients_only_and_the_truth_shows_all(tmp_path):
    cohort = write_arrangement(CONFIG, tmp_path / "cohort")
    shown = cohort.target("infiltrated").values
    truth = pd.read_parquet(truth_folder(tmp_path / "cohort") / "patients.parquet")
    np.testing.assert_array_equal(shown[:6], truth["infiltrated"][:6].astype(float))
    assert np.isnan(shown[6:]).all()
    assert truth["labelled"].tolist() == [True] * 6 + [False] * 4
    samples = [slide.read(record) for record in Cohort.open(tmp_path / "cohort").records("slide")]
    np.testing.assert_array_equal(samples[7].bags[0].features, draw_slide(CONFIG, 7).bag.features)
    tiles = pd.read_parquet(truth_folder(tmp_path / "cohort") / "tiles.parquet")
    assert len(tiles) == sum(s.num_tiles for s in samples)
    positions = slide.fit(samples).collate(samples[:1]).positions[0]
    assert positions[:, :2].max() <= CONFIG.side - 1
    assert (positions == positions.floor()).all()


@pytest.mark.parametrize("wrong", [{"patients": 0, "unlabelled": 0}, {"patients": -1}, {"side": 4}, {"dim": 2}, {"stray": 1.5}])
def test_cohorts_that_cannot_be_drawn_are_refused(wrong):
    with pytest.raises(ConfigError, match="wanted"):
        dataclasses.replace(CONFIG, **wrong)
