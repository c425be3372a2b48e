"""Write tests/golden/vit_parity.json: what timm and transformers make of small vision transformers with weights by formula.

Needs timm 1.0.31, transformers 5.23 and a torchvision that fits torch, which the project's environment does not have: run
``python tests/reference/make_vit_parity.py`` in one of its own. Keys and shapes are those the libraries write to disk. DINOv2's
names, for which there is no package, are turned into timm's by timm.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from analytic import images, weights

PARITY = Path(__file__).parents[1] / "golden" / "vit_parity.json"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDES = (32, 48)
SWIGLU = {"mlp_ratio": 4.0, "feed": "swiglu"}
OURS = {"image": 32, "patch": 8, "dim": 16, "depth": 2, "heads": 2, "hidden": 64, "layer_scale": 1.0}


def timm_model(**options: object) -> nn.Module:
    """Build timm's transformer; ``feed`` chooses packed SwiGLU."""
    from timm.layers import SwiGLUPacked
    from timm.models.vision_transformer import VisionTransformer

    if options.pop("feed", None):
        options |= {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0}
    return VisionTransformer(**shape, **({"init_values": 1.0, "dynamic_img_size": True} | options)).eval()


def hugging_face(name: str, **options: object) -> nn.Module:
    """Build a transformer of Hugging Face's."""
    import transformers

    shape = {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"intermediate_size": 64} if name == "ViT" else {"mlp_ratio": 4}
    config = getattr(transformers, f"{name}Config")(**shape, **options)
    return getattr(transformers, f"{name}Model")(config).eval()


def saved(model: nn.Module) -> dict[str, Tensor]:
    """State dict as the library writes it to disk."""
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def reloaded(model: nn.Module, state: dict[str, np.ndarray]) -> nn.Module:
    """Load a state dict of names as on disk, through the library's own reader."""
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        save_file({k: torch.from_numpy(v) for k, v in state.items()}, Path(folder) / "model.safetensors", {"format": "pt"})
        return type(model).from_pretrained(folder).eval()


def dinov2_shapes(registers: int, *, swiglu: bool) -> dict[str, tuple[int, ...]]:
    """Keys and shapes as facebookresearch/dinov2 names them."""
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, 16), "pos_embed": (1, 17, 16), "mask_token": (1, 16)}
    shapes |= {"register_tokens": (1, registers, 16)} if registers else {}
    shapes |= {"patch_embed.proj.weight": (16, 3, 8, 8), "patch_embed.proj.bias": (16,)}
    feed = {"w12": (64, 16), "w3": (16, 32)} if swiglu else {"fc1": (64, 16), "fc2": (16, 64)}
    for i in range(2):
        block: dict[str, tuple[int, ...]] = {"norm1.weight": (16,), "norm1.bias": (16,)}
        for layer, shape in {"attn.qkv": (48, 16), "attn.proj": (16, 16), **{f"mlp.{k}": v for k, v in feed.items()}}.items():
            block |= {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}
        block |= {"ls1.gamma": (16,), "norm2.weight": (16,), "norm2.bias": (16,), "ls2.gamma": (16,)}
        shapes |= {f"blocks.{i}.{key}": shape for key, shape in block.items()}
    return shapes | {"norm.weight": (16,), "norm.bias": (16,)}


def tokens_of(encode: Callable[[Tensor], Tensor], prefix: int, sides: tuple[int, ...]) -> dict[str, list[list[float]]]:
    """First token, mean of the patch tokens and last token of the second image, a side at a time."""
    made = {}
    for side in sides:
        mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
        with torch.no_grad():
            tokens = encode((torch.from_numpy(images(side)) - mean) / deviation)[1]
        rows = (tokens[0], tokens[prefix:].mean(dim=0), tokens[-1])
        made[str(side)] = [[float(f"{v:.8g}") for v in row.double().tolist()] for row in rows]
    return made


def timm_case(config: dict[str, object], **options: object) -> dict[str, object]:
    """Record one of timm's."""
    model = timm_model(**options)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights(shapes).items()})
    made = tokens_of(model.forward_features, model.num_prefix_tokens, SIDES)
    return {"config": OURS | config, "shapes": shapes, "tokens": made}


def hugging_face_case(config: dict[str, object], name: str, **options: object) -> dict[str, object]:
    """Record one of Hugging Face's, at the size its positions are stored for."""
    model = hugging_face(name, **options)
    shapes = {key: tuple(value.shape) for key, value in saved(model).items()}
    model = reloaded(model, weights(shapes))
    prefix = 1 + getattr(model.config, "num_register_tokens", 0)
    made = tokens_of(lambda x: model(pixel_values=x).last_hidden_state, prefix, SIDES[:1])
    return {"config": OURS | config, "shapes": shapes, "tokens": made}


def dinov2_case(config: dict[str, object], *, registers: int, swiglu: bool) -> dict[str, object]:
    """Record DINOv2's names, converted and run by timm."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    shapes = dinov2_shapes(registers, swiglu=swiglu)
    options = {"reg_tokens": registers, "no_embed_class": bool(registers)} | (SWIGLU if swiglu else {})
    model = timm_model(**options)
    state = checkpoint_filter_fn({key: torch.from_numpy(value) for key, value in weights(shapes).items()}, model)
    model.load_state_dict(state)
    made = tokens_of(model.forward_features, model.num_prefix_tokens, SIDES)
    return {"config": OURS | config, "shapes": shapes, "tokens": made}


def main() -> None:
    """Write every case."""
    swiglu, registers, plain = {"feed": "swiglu"}, {"registers": 4}, {"prefix_positions": False}
    cases = {
        "timm": timm_case({}),
        "timm-no-scale": timm_case({"layer_scale": None}, init_values=None),
        "timm-swiglu": timm_case(swiglu, **SWIGLU),
        "timm-swiglu-registers": timm_case(swiglu | registers, **SWIGLU, reg_tokens=4),
        "timm-swiglu-registers-no-embed": timm_case(swiglu | registers | plain, **SWIGLU, reg_tokens=4, no_embed_class=True),
        "dinov2": dinov2_case({}, registers=0, swiglu=False),
        "dinov2-swiglu-registers": dinov2_case(swiglu | registers | plain, registers=4, swiglu=True),
        "hf-vit": hugging_face_case({"layer_scale": None, "eps": 1e-12}, "ViT"),
        "hf-dinov2": hugging_face_case({}, "Dinov2"),
        "hf-dinov2-swiglu": hugging_face_case(swiglu | {"hidden": 96}, "Dinov2", use_swiglu_ffn=True),
        "hf-dinov2-registers": hugging_face_case(registers | plain, "Dinov2WithRegisters", num_register_tokens=4),
    }
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(case, separators=(',', ':'))}" for name, case in cases.items())
    PARITY.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
