"""Distillation of a GigaPath-sized tile encoder into a ViT-S/16, on one GPU: what GigaPath-Flash is to GigaPath.

The teacher's weights come with --teacher; both see the same augmented crop of 224 px. Its optimisation is chosen here, not
published. Not run yet.
"""

from oncoweave.nn.augment import Crop, Views
from oncoweave.train.plan import Optimisation, Plan
from oncoweave.train.tile_stream import TileData


def plan(*, steps: int = 100_000) -> Plan:
    """Plan the run; the warm-up is a share of its length."""
    views = Views(crops=(Crop(name="image", count=1, side=224, scale=(0.32, 1.0), blur=(0.1,)),), grey=0.0)
    return Plan(
        name="vit_small_distil_1gpu",
        encoder="vit/gigapath-flash",
        objective="distil",
        objective_settings={"views": views},
        teacher="vit/gigapath",
        data=TileData(side=224, readers=14, ahead=4),
        batch=128,
        steps=steps,
        optimisation=Optimisation(rate=1e-3, power=0.0, warm_up=steps // 20, weight_decay=(0.04, 0.04)),
        precision="bf16-mixed",
        log_every=20,
        checkpoint_every=1000,
        watch_every=5000,
    )
