"""DINOv2 of ViT-Ti/16 on small crops, in about ten minutes on two cores: to try the chain, and to beat random weights.

Some hundred steps are a hundredth of an ordinary run, so that choices differ from it: few prototypes over a narrow bottleneck and
a cold teacher, whose assignments of tiles differ from the first step on; kernel density instead of KoLeo, and stronger, which
spreads embeddings sooner; and colours that are varied little, as a network that learns nothing else yet should learn colour.
Tiles are best embedded at 112 px of 1 um (``--tile 112 --mpp 1``), as its crops show them.
"""

from oncoweave.nn.augment import Crop, Views
from oncoweave.train.plan import Optimisation, Plan
from oncoweave.train.tile_stream import TileData


def plan(*, steps: int = 300) -> Plan:
    """Plan the run; its warm-up is a share of its length."""
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
        encoder="vit/tiny",
        encoder_settings={"mask_token": True},
        objective="dinov2",
        objective_settings={
            "views": views,
            "hidden": 256,
            "bottleneck": 16,
            "prototypes": 1024,
            "centring": "sinkhorn",
            "patch_weight": 0.5,
            "spread": "kde",
            "spread_weight": 0.3,
            "teacher_temperature": 0.04,
            "teacher_temperature_start": 0.04,
            "momentum": 0.99,
            "freeze_prototypes": 0,
            "layer_decay": 1.0,
            "patch_rate": 1.0,
        },
        data=TileData(side=112),
        batch=64,
        steps=steps,
        optimisation=Optimisation(rate=5e-4, power=0.0, warm_up=steps // 10, weight_decay=(0.04, 0.04)),
        checkpoint_every=50,
        watch_every=100,
    )
