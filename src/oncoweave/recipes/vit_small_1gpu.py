"""DINOv2 of ViT-S/16 with registers on one GPU of 40 GB or more, about a day: a tile encoder for a laboratory of its own.

DINOv2's defaults, with pathology's augmentations, Sinkhorn centring, heads of a size that suits some million tiles, and a shorter
schedule. Not run yet: nobody has measured what it reaches.
"""

from oncoweave.nn.augment import Views, multi_crop
from oncoweave.train.plan import Optimisation, Plan
from oncoweave.train.tile_stream import TileData


def plan(*, steps: int = 100_000) -> Plan:
    """Plan the run; warm-ups are shares of its length."""
    return Plan(
        name="vit_small_1gpu",
        encoder="vit/small-registers",
        encoder_settings={"mask_token": True, "drop_path": 0.1},
        objective="dinov2",
        objective_settings={
            "views": Views(crops=multi_crop()),
            "prototypes": 16_384,
            "centring": "sinkhorn",
            "teacher_temperature_warm_up": 3 * steps // 10,
            "freeze_prototypes": steps // 100,
        },
        data=TileData(side=224, readers=14, ahead=4),
        batch=256,
        steps=steps,
        optimisation=Optimisation(rate=4e-3, warm_up=steps // 10),
        precision="bf16-mixed",
        log_every=20,
        checkpoint_every=1000,
        watch_every=5000,
    )
