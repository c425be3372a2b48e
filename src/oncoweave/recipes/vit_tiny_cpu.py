"""DINOv2 of a ViT of four layers on small crops, in minutes on two cores: to try the chain, and to beat random weights.

Some hundred steps are a hundredth of an ordinary run, so that choices differ from it: a network of half a million parameters,
which learns more in that time than a larger one; few prototypes over a narrow bottleneck, and a teacher that stays cold, whose
assignments of tiles differ from the first step on; and colours that are varied little, as a network that has learnt nothing yet
should learn colour. A tile's embedding is the mean of its patches': in so short a run the class token, on which the losses act,
learns the slides at hand. Tiles are best embedded as the crops show them: ``--tile 112 --mpp 1``.
"""

from oncoweave.nn.augment import Crop, Views
from oncoweave.train.plan import Optimisation, Plan
from oncoweave.train.tile_stream import TileData


def plan(*, steps: int = 250) -> Plan:
    """Plan the run; warm-ups are shares of its length."""
    views = Views(
        crops=(
            Crop(name="global", count=2, side=64, scale=(0.4, 1.0), blur=(0.1,)),
            Crop(name="local", count=2, side=32, scale=(0.1, 0.4), blur=(0.1,)),
        ),
        stain=0.5,
        stain_factor=0.1,
        stain_offset=0.01,
        colour=0.5,
        brightness=0.1,
        contrast=0.1,
        saturation=0.05,
        hue=0.02,
        grey=0.0,
    )
    return Plan(
        name="vit_tiny_cpu",
        encoder="vit/nano",
        encoder_settings={"mask_token": True},
        objective="dinov2",
        objective_settings={
            "views": views,
            "hidden": 256,
            "bottleneck": 64,
            "prototypes": 512,
            "centring": "sinkhorn",
            "teacher_temperature": 0.05,
            "teacher_temperature_warm_up": steps // 3,
            "momentum": 0.99,
            "freeze_prototypes": 0,
            "layer_decay": 1.0,
            "patch_rate": 1.0,
        },
        data=TileData(side=112),
        batch=64,
        steps=steps,
        optimisation=Optimisation(rate=5e-4, power=0.0, warm_up=steps // 10, weight_decay=(0.04, 0.04)),
        checkpoint_every=100,
        watch_every=100,
    )
