"""DINOv2 of Prov-GigaPath's ViT-g/16 on 32 GPUs of 80 GB, as far as the paper says.

Published (Xu et al., Nature 2024): "standard DINOv2 settings", base learning rate 4e-3, 12 tiles a GPU, batch 384. These are
the values of DINOv2's default configuration, so the rest is taken from there: two crops of 224 px and eight of 96, flips left to
right and solarisation included; 65,536 prototypes in a shared head, centring, KoLeo 0.1, momentum .992 to 1, weight decay .04 to
.4, 10 of 100 epochs of 1,250 steps of warm-up, clip 3, layer decay .9, patch rate x .2, drop path .3, LayerScale 1e-5.
Departures: bf16 instead of fp16. Not run: it needs 32 GPUs, and --strategy sharded.
"""

from oncoweave.nn.augment import Crop, Views
from oncoweave.train.plan import Optimisation, Plan
from oncoweave.train.tile_stream import TileData

_EPOCH = 1250
"""Steps that DINOv2 calls an epoch, whatever the data."""


def plan(*, steps: int = 100 * _EPOCH) -> Plan:
    """Plan the run; warm-ups are those of DINOv2 at its length, and the same shares of any other."""
    epoch = steps // 100
    views = Views(
        crops=(
            Crop(name="global", count=2, side=224, scale=(0.32, 1.0), blur=(1.0, 0.1), solarise=(0.0, 0.2)),
            Crop(name="local", count=8, side=96, scale=(0.05, 0.32), blur=(0.5,)),
        ),
        flip_vertical=0.0,
        rotate=False,
        stain=0.0,
    )
    return Plan(
        name="vit_giant_32gpu",
        encoder="vit/giant",
        encoder_settings={"mask_token": True, "drop_path": 0.3},
        objective="dinov2",
        objective_settings={
            "views": views,
            "teacher_temperature_warm_up": 30 * epoch,
            "freeze_prototypes": epoch,
        },
        data=TileData(side=224, readers=8, ahead=4),
        batch=384,
        steps=steps,
        optimisation=Optimisation(rate=4e-3, reference_batch=1024, power=0.5, warm_up=10 * epoch),
        precision="bf16-mixed",
        log_every=20,
        checkpoint_every=1000,
        watch_every=0,  # parameters lie in shards; the log's entropies tell of collapse
    )
