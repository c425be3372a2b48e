"""Masked autoencoding of GigaPath's LongNet on 64 GPUs of 80 GB, as far as Prov-GigaPath (Xu et al., Nature 2024) published it.

Published: learning rate 5e-4, 4 slides a GPU, 30 epochs of which the first is the warm-up, coordinates cropped to .875, shifted
within a grid of 1000 and flipped with probability .5, 16 nodes of 4 A100. Not published, and chosen here: mask ratio, decoder,
target (see ``objectives/mae``), optimiser (that of MAE, He et al. 2022, in bf16) and the tiles a step that a GPU takes.
"""

from oncoweave.train.bag_stream import BagData
from oncoweave.train.plan import Optimisation, Plan

SLIDES = 171_189
"""Of Prov-Path; an epoch of another laboratory has another number of steps."""
_BATCH = 256
_EPOCHS = 30


def plan(*, steps: int = _EPOCHS * -(-SLIDES // _BATCH)) -> Plan:
    """Plan the run; ``steps`` are 30 epochs of Prov-Path unless said, and the warm-up is a thirtieth of them."""
    return Plan(
        name="longnet_base_64gpu",
        encoder="longnet/base",
        encoder_settings={"key_bias": False, "checkpoint": "layers", "drop_path": 0.1},
        objective="mae",
        objective_settings={
            "mask_ratio": 0.5,
            "decoder_dim": 384,
            "decoder_depth": 1,
            "decoder_heads": 8,
            "segments": (1024, 5792, 32768, 185363, 1048576),
            "dilations": (1, 2, 4, 8, 16),
        },
        data=BagData(budget=150_000, memory=0, readers=8, ahead=4),
        batch=_BATCH,
        steps=steps,
        optimisation=Optimisation(
            rate=5e-4, power=0.0, warm_up=steps // _EPOCHS, weight_decay=(0.05, 0.05), betas=(0.9, 0.95), clip=1.0
        ),
        precision="bf16-mixed",
        log_every=10,
        checkpoint_every=500,
        watch_every=500,
    )
