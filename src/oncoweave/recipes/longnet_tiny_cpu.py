"""Masked autoencoding of a small LongNet on sections of some hundred tiles, in some minutes on two cores: to try the chain."""

from oncoweave.nn.coordinates import SlideView
from oncoweave.train.bag_stream import BagData
from oncoweave.train.plan import Optimisation, Plan

GRID = 256


def plan(*, steps: int = 3000) -> Plan:
    """Plan the run; the warm-up is a share of its length.

    The grid in which slides are shifted is small, so that a short run meets each place often. The encoder refuses a section that
    does not fit it: 256 tiles a side, 28 mm in tiles of 112 um.
    """
    return Plan(
        name="longnet_tiny_cpu",
        encoder="longnet/tiny",
        encoder_settings={
            "dim": 48,
            "depth": 3,
            "segments": (1024, 16384),
            "dilations": (1, 4),
            "branch_start": 0.2,
            "grid": GRID,
        },
        objective="mae",
        objective_settings={
            "views": SlideView(grid=GRID),
            "mask_ratio": 0.5,
            "decoder_dim": 48,
            "decoder_depth": 1,
            "decoder_heads": 4,
        },
        data=BagData(budget=8192, readers=0),
        batch=16,
        steps=steps,
        optimisation=Optimisation(
            rate=2e-3, power=0.0, warm_up=steps // 20, weight_decay=(0.05, 0.05), betas=(0.9, 0.95), clip=1.0
        ),
        log_every=10,
        checkpoint_every=500,
        watch_every=500,
    )
