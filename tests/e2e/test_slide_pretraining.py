"""A slide encoder is pretrained on bags through the one loop, killed, and goes on to the same bytes."""

from dataclasses import replace

import pytest
import torch

from oncoweave.core import shelf
from oncoweave.phantom.arrangement import Config, write_arrangement
from oncoweave.recipes import longnet_base_64gpu, longnet_tiny_cpu
from oncoweave.train.bag_stream import open_bags
from oncoweave.train.pretrain import pretrain


@pytest.fixture
def bags(tmp_path):
    write_arrangement(Config(patients=0, unlabelled=6, side=8), tmp_path / "cohort")
    return tmp_path / "cohort"


def _plan(readers=0):
    plan = longnet_tiny_cpu.plan(steps=4)
    return replace(
        plan,
        data=replace(plan.data, readers=readers, budget=100),
        batch=2,
        encoder_settings={"dim": 16, "depth": 1, "segments": (64,), "dilations": (1,)},
        objective_settings={**plan.objective_settings, "decoder_dim": 16, "decoder_heads": 2},
        checkpoint_every=2,
        watch_every=2,
        log_every=1,
    )


def test_a_killed_run_ends_with_the_same_weights_and_the_same_log(bags, tmp_path):
    whole = pretrain(_plan(), tmp_path / "whole", data=[bags])

    def kill(step, steps, row):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(_plan(), tmp_path / "cut", data=[bags], progress=kill)
    cut = pretrain(_plan(), tmp_path / "cut", data=[bags])
    assert cut.weights.read_bytes() == whole.weights.read_bytes()
    assert cut.log == whole.log
    assert whole.card["data"]["slides"] == 6
    assert whole.log[-1]["tiles"] > 0
    assert whole.log[-1]["embedding_rank"] > 1.5

    # what is published is the network of the encoders shelf, by its own names
    network = shelf.load("encoders", "longnet").LongNet(
        replace(shelf.variant("encoders", "longnet/tiny"), **_plan().encoder_settings), dim_in=open_bags([bags]).dim
    )
    from safetensors.torch import load_file

    network.load_state_dict(load_file(whole.weights), strict=True)


def test_the_recipe_of_the_paper_is_one_that_the_shelves_know():
    plan = longnet_base_64gpu.plan()
    assert plan.steps == 30 * 669  # 171,189 slides, 256 a step
    assert plan.optimisation.warm_up == 669
    assert (plan.optimisation.rate, plan.batch) == (5e-4, 4 * 64)
    views = shelf.configure("objectives", plan.objective, plan.objective_settings).views
    assert (views.crop, views.flip, views.grid) == (0.875, 0.5, 1000)
    with torch.device("meta"):
        config = replace(shelf.variant("encoders", plan.encoder), **plan.encoder_settings)
        network = shelf.load("encoders", "longnet").LongNet(config, dim_in=1536)
        module = shelf.load("objectives", plan.objective)
        objective = shelf.configure("objectives", plan.objective, plan.objective_settings)
        decoder = module.Decoder(objective, dim_in=network.dim, dim_out=network.dim_in)
    assert sum(p.numel() for p in network.parameters()) == 86_330_880 - 12 * 768  # the peer's, less the keys' biases
    assert sum(p.numel() for p in decoder.parameters()) < 0.05 * 86_330_880
