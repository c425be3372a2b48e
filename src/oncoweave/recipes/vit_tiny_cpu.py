"""DINOv2 of ViT-Ti/16 on small tiles, in about ten minutes on two cores: to try the chain, and to beat random weights."""

from oncoweave.nn.augment import Crop, Views
from oncoweave.train.plan import Optimisation, Plan
from oncoweave.train.tile_stream import TileData


def plan(*, steps: int = 400) -> Plan:
    """Plan the run; warm-ups are shares of its length."""
    views = Views(
        crops=(
            Crop(name="global", count=2, side=64, scale=(0.32, 1.0), blur=(0.5, 0.1)),
            Crop(name="local", count=4, side=32, scale=(0.05, 0.32)),
        )
    )
    return Plan(
        name="vit_tiny_cpu",
        encoder="vit/tiny",
        encoder_settings={"mask_token": True},
        objective="dinov2",
        objective_settings={
            "views": views,
            "hidden": 512,
            "bottleneck": 128,
            "prototypes": 1024,
            "centring": "sinkhorn",
            "momentum": 0.99,
            "teacher_temperature_warm_up": steps // 3,
            "freeze_prototypes": steps // 40,
            "layer_decay": 1.0,
            "patch_rate": 1.0,
        },
        data=TileData(side=112),
        batch=64,
        steps=steps,
        optimisation=Optimisation(rate=1e-3, power=0.0, warm_up=steps // 10, weight_decay=(0.04, 0.2)),
        checkpoint_every=100,
        watch_every=100,
    )
