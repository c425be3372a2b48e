"""Rendered sections show what the truth says, and their masks, table and maps agree."""

from dataclasses import replace

import numpy as np
import pytest

from oncoweave.core.truth import PatientTruth
from oncoweave.phantom import nuclei as cells
from oncoweave.phantom.histology import REGIONS, region_map, render, type_mask
from oncoweave.phantom.nuclei import TYPES
from oncoweave.phantom.placement import at, populate
from oncoweave.phantom.stain import Stain, develop, site_stain
from oncoweave.phantom.tissue import lay_out, necrotic_share

SIDE = 512
AVERAGE = PatientTruth(
    patient_id="PH1", site="site-01", subtype=1, driver_a=False, driver_b=False, immune=0.0, proliferation=0.0, stage=2,
    age_years=60.0, female=True, private_slide=0.0, private_expression=0.0, synergy=0.0, log_hazard=0.0,
)  # fmt: skip
TEXTBOOK = site_stain(np.random.default_rng(0), strength=0.0)


def section(stain=TEXTBOOK, spoil=0.0, **truth):
    return render(replace(AVERAGE, **truth), stain, np.random.default_rng(1), size_px=SIDE, spoil=spoil)


@pytest.fixture(scope="module")
def plain():
    return section()


def test_masks_and_table_name_the_same_nuclei(plain):
    table = plain.nuclei
    assert list(table["nucleus"]) == list(range(1, len(table) + 1))
    areas = np.bincount(plain.instances.ravel(), minlength=len(table) + 1)
    assert (areas[1:] == table["area_px"]).all()
    assert len(areas) == len(table) + 1
    assert table["area_px"].min() >= 6


def test_the_type_mask_gives_each_nucleus_its_type(plain):
    mask = type_mask(plain)
    assert ((mask == 0) == (plain.instances == 0)).all()
    for nucleus, kind in plain.nuclei.iloc[::7][["nucleus", "type"]].itertuples(index=False):
        assert set(mask[plain.instances == nucleus]) == {TYPES.index(kind) + 1}


def test_a_nucleus_lies_where_the_table_says(plain):
    rows, columns = np.nonzero(plain.instances)
    which = plain.instances[rows, columns]
    areas = np.bincount(which)[1:]
    centre = np.stack([np.bincount(which, columns + 0.5), np.bincount(which, rows + 0.5)])[:, 1:] / areas
    table = plain.nuclei
    ellipse = np.pi * table["major_px"] * table["minor_px"]
    inside = (table[["x_px0", "y_px0"]].min(axis=1) > 16) & (table[["x_px0", "y_px0"]].max(axis=1) < SIDE - 16)
    whole = ((areas > 0.9 * ellipse) & inside).to_numpy()
    assert whole.mean() > 0.6
    distance = np.hypot(*(centre - table[["x_px0", "y_px0"]].to_numpy().T))[whole]
    assert distance.max() < 2.5
    assert np.median(areas[whole] / ellipse[whole]) == pytest.approx(1.0, abs=0.06)


def test_nuclei_are_blue_on_pink_tissue_on_white_glass(plain):
    light = plain.image.astype(float)
    nucleus = light[plain.instances > 0].mean(axis=0)
    stroma = light[np.kron(plain.regions == REGIONS.index("stroma"), np.ones((4, 4), bool)) & (plain.instances == 0)].mean(axis=0)
    glass = light[np.kron(plain.regions == 0, np.ones((4, 4), bool))].mean(axis=0)
    assert nucleus[2] > nucleus[0] > nucleus[1] - 10
    assert stroma[0] > stroma[2] > stroma[1]
    assert nucleus.mean() < stroma.mean() - 40
    assert glass.min() > 225


def test_the_same_seed_renders_the_same_pixels(plain):
    again = section()
    assert (again.image == plain.image).all()
    assert (again.instances == plain.instances).all()


def test_a_site_changes_colours_and_no_cell(plain):
    other = section(stain=site_stain(np.random.default_rng(4), strength=1.4))
    assert (other.instances == plain.instances).all()
    assert np.abs(other.image.astype(float).mean(axis=(0, 1)) - plain.image.astype(float).mean(axis=(0, 1))).max() > 3


def placed(size_px=768, **truth):
    """Lay a section out and populate it, without painting it."""
    rng = np.random.default_rng(1)
    layout = lay_out(replace(AVERAGE, **truth), size_px, rng)
    return layout, populate(replace(AVERAGE, **truth), layout, size_px, 0.5, rng)


@pytest.mark.parametrize("subtype", [0, 1, 2])
def test_lymphocytes_rise_with_the_immune_score(subtype):
    found = [placed(subtype=subtype, immune=i)[1] for i in (-1.5, 0.0, 1.5)]
    few, some, many = ((nuclei.kind == cells.LYMPHOCYTE).sum() for nuclei in found)
    assert 2 * few < some
    assert 2 * some < many


def test_proliferation_brings_mitoses_and_larger_nuclei():
    slow, fast = (placed(proliferation=p, size_px=900)[1] for p in (-1.5, 1.5))
    assert (fast.kind == cells.MITOSIS).sum() > (slow.kind == cells.MITOSIS).sum() + 3
    size = [n.major[n.kind == cells.TUMOUR].mean() for n in (slow, fast)]
    assert size[1] > 1.08 * size[0]


@pytest.mark.parametrize("private", [-2.0, 0.0, 2.0])
def test_necrosis_covers_the_planted_share_and_holds_no_tumour_cells(private):
    layout, nuclei = placed(private_slide=private)
    regions = region_map(layout)
    necrosis = regions == REGIONS.index("necrosis")
    epithelium = necrosis | (regions == REGIONS.index("tumour"))
    assert necrosis.sum() / epithelium.sum() == pytest.approx(necrotic_share(private), abs=0.08)
    alive = nuclei.take(nuclei.kind == cells.TUMOUR)
    assert len(alive) > 30
    assert not at(necrosis, alive.x, alive.y).any()


def test_only_glands_have_lumina():
    glandular, solid = (placed(subtype=s)[0] for s in (0, 1))
    assert len(glandular.glands) > 2
    assert len(solid.glands) == 0
    assert (region_map(glandular) == REGIONS.index("lumen")).mean() > 0.01


def test_dense_collagen_is_pinker_than_loose():
    def pink(fibrosis):
        found = section(synergy_slide=fibrosis)
        stroma = np.kron(found.regions == REGIONS.index("stroma"), np.ones((4, 4), bool)) & (found.instances == 0)
        return 255 - found.image[stroma][:, 1].mean()

    assert pink(1.5) > pink(-1.5) + 12


def test_artefacts_are_drawn_and_mapped(plain):
    clean, spoiled = plain, section(spoil=1.0)
    assert not clean.artefacts.any()
    assert set(np.unique(spoiled.artefacts)) >= {1, 2}
    blurred = np.kron(spoiled.artefacts == 2, np.ones((4, 4), bool))
    sharpness = [np.abs(np.diff(s.image[..., 1].astype(float), axis=1))[blurred[:, 1:]].mean() for s in (clean, spoiled)]
    assert sharpness[1] < 0.6 * sharpness[0]


def test_light_follows_beer_lambert():
    stain = Stain(
        haematoxylin=(0.6, 0.7, 0.4), eosin=(0.2, 0.8, 0.5), haematoxylin_strength=1.5, eosin_strength=0.5,
        white=(240.0, 241.0, 242.0), gamma=1.0, blur_px=0.0, noise=0.0,
    )  # fmt: skip
    amounts = np.random.default_rng(0).uniform(0, 2, (2, 300, 7)).astype(np.float32)
    light = develop(*amounts, None, stain)
    density = 1.5 * amounts[0][..., None] * (0.6, 0.7, 0.4) + 0.5 * amounts[1][..., None] * (0.2, 0.8, 0.5)
    np.testing.assert_allclose(light, np.array(stain.white) * np.exp(-density), rtol=1e-5)  # float32


def test_thinning_keeps_earlier_points_and_a_distance(rng):
    x, y = rng.uniform(0, 100, (2, 400))
    keep = cells.thin(x, y, 6.0)
    distance = np.hypot(x[keep][:, None] - x[keep], y[keep][:, None] - y[keep]) + 1e3 * np.eye(keep.sum())
    assert distance.min() >= 6.0
    first_near = np.hypot(x[:, None] - x[keep], y[:, None] - y[keep]).min(axis=1)
    assert (first_near[~keep] < 6.0).all(), "a point was dropped though no kept one is near"
    assert keep[0]
