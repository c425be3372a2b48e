from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from oncoweave.core.errors import ConfigError
from oncoweave.encoders import vit
from oncoweave.nn.vit_blocks import Block, BlockShape, SwiGluFeedForward, fit_tiles
from oncoweave.train.tile_encoder import TileEncoder, load_tile_encoder, tile_settings
from oncoweave.train.weights import read_weights

SMALL = vit.Config(image=32, patch=8, dim=24, depth=2, heads=2, hidden=48)


def small(**changes) -> vit.VisionTransformer:
    return vit.build(replace(SMALL, **changes), generator=torch.Generator().manual_seed(1)).eval()


def images(count=2, side=32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(2))


def test_every_variant_has_a_card_with_its_number_of_parameters():
    assert set(vit.CARDS) == set(vit.VARIANTS)
    for name, config in vit.VARIANTS.items():
        with torch.device("meta"):
            model = vit.VisionTransformer(config)
        assert sum(p.numel() for p in model.parameters()) == vit.CARDS[name].parameters, name
        assert model.dim == vit.CARDS[name].dim, name
        assert model.mean.device.type == "cpu"  # no checkpoint brings it


def test_published_sizes_are_the_published_ones():
    """Counts that others print: GigaPath's notebook, timm's builds of the recipes that the encoders' pages give."""
    published = {"gigapath": 1_134_953_984, "virchow": 631_229_184, "virchow2": 631_239_424, "uni": 303_350_784}
    published |= {"uni2-h": 681_394_176, "h-optimus-0": 1_134_774_272, "phikon": 85_798_656, "h0-mini": 85_739_520}
    assert {name: vit.CARDS[name].parameters for name in published} == published
    assert {name: vit.CARDS[name].dim for name in ("gigapath", "virchow2", "uni")} == {
        "gigapath": 1536,
        "virchow2": 2560,
        "uni": 1024,
    }
    assert vit.CARDS["gigapath"].input == "resized to 256 px (bicubic), middle 224 px"


def test_masks_put_the_mask_token_where_patches_were():
    model = small(mask_token=True)
    with torch.no_grad():
        model.mask_token.copy_(torch.linspace(-1, 1, 24))
        masks = torch.zeros(2, 16, dtype=torch.bool)
        masks[0, [0, 5]] = True
        image, other = images(), images()
        other[0, :, :8, :8] = 0.5  # what lies under a mask has no influence
        other[0, :, 8:16, 8:16] = 0.1
        assert torch.equal(model.tokens(image, masks), model.tokens(other, masks))
        assert not torch.allclose(model.tokens(image, masks)[0], model.tokens(image)[0])
        assert torch.equal(model.tokens(image, masks)[1], model.tokens(image)[1])
    with pytest.raises(ValueError, match=r"masks need a mask token; build the encoder with mask_token=True"):
        small().tokens(images(), masks)


def test_dropped_residuals_leave_a_row_and_scale_the_rest():
    block = Block(BlockShape(dim=8, heads=2, hidden=16, drop=0.25)).train()
    x = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0))
    attended = block._attend(x)
    y = x.clone()
    y[[1, 3]] += attended[[1, 3]] / 0.75
    wanted = y.clone()
    wanted[[0, 3]] += block._feed(y)[[0, 3]] / 0.75
    came = block(x, torch.tensor([1, 3]), torch.tensor([0, 3]))
    torch.testing.assert_close(came, wanted)
    torch.testing.assert_close(block(x, torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64)), x)


def test_dropping_is_drawn_from_the_generator_and_only_in_training():
    model = small(drop_path=0.5)
    assert torch.equal(model.tokens(images()), model.tokens(images()))
    model.train()
    drawn = [model.tokens(images(8), generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    kept = [
        model.blocks[0].draw_kept(1000, device=torch.device("cpu"), generator=torch.Generator().manual_seed(s)) for s in (0, 1)
    ]
    assert 900 < sum(len(k) for pair in kept for k in pair) / 2 < 1100  # half of 2 x 1000
    (drawn[0] * torch.linspace(-1, 2, 24)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_swiglu_is_its_equation():
    feed = SwiGluFeedForward(4, 6)
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    gate = x @ feed.fc1.weight[:3].T + feed.fc1.bias[:3]
    value = x @ feed.fc1.weight[3:].T + feed.fc1.bias[3:]
    torch.testing.assert_close(feed(x), (gate / (1 + (-gate).exp()) * value) @ feed.fc2.weight.T + feed.fc2.bias)


def test_output_is_class_token_mean_or_both_without_registers():
    outputs = {pool: small(registers=3, pool=pool)(images()) for pool in ("class", "mean", "class_and_mean")}
    tokens = small(registers=3).tokens(images())
    torch.testing.assert_close(outputs["class"], tokens[:, 0])
    torch.testing.assert_close(outputs["mean"], tokens[:, 4:].mean(dim=1))
    torch.testing.assert_close(outputs["class_and_mean"], torch.cat([outputs["class"], outputs["mean"]], dim=1))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_resizing_is_pillows(rng, interpolation):
    from PIL import Image

    smooth = np.kron(rng.integers(0, 256, (16, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    theirs = Image.fromarray(smooth).resize((224, 224), getattr(Image.Resampling, interpolation.upper()))
    ours = fit_tiles(torch.from_numpy(smooth).permute(2, 0, 1)[None] / 255, resize=224, interpolation=interpolation, crop=None)
    difference = (ours[0].permute(1, 2, 0) * 255 - torch.from_numpy(np.array(theirs)).float()).abs()
    assert difference.max() <= 1.01  # Pillow rounds to 8 bits after rows and after columns


def test_a_tile_of_gigapath_loses_its_rim():
    """256 px: not resized, the outer 16 px cut off; 512 px: halved first."""
    config = vit.VARIANTS["gigapath"]
    tile = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    fit = {"resize": config.resize, "interpolation": config.interpolation, "crop": config.crop}
    assert torch.equal(fit_tiles(tile, **fit), tile[:, :, 16:240, 16:240])
    assert fit_tiles(torch.rand(1, 3, 512, 512), **fit).shape == (1, 3, 224, 224)
    model = small(resize=40, crop=32)
    rim = torch.rand(1, 3, 40, 40)
    other = rim.clone()
    other[:, :, :4], other[:, :, :, 36:] = 0, 1
    assert torch.equal(model(rim), model(other))
    with pytest.raises(ValueError, match=r"tiles of 256 x 128 px: wanted square ones, as they are resized to 256 px"):
        fit_tiles(torch.rand(1, 3, 128, 256), **fit)
    with pytest.raises(ValueError, match=r"tiles of 100 x 100 px: wanted at least 224 px"):
        fit_tiles(torch.rand(1, 3, 100, 100), resize=None, interpolation="bicubic", crop=224)


def test_standardisation_follows_the_config():
    config = replace(SMALL, mean=(0.1, 0.2, 0.3), deviation=(0.5, 0.25, 1.0))
    model = vit.build(config, generator=torch.Generator().manual_seed(1)).eval()
    usual = small()
    given = torch.tensor(config.mean).view(1, 3, 1, 1) + images() * torch.tensor(config.deviation).view(1, 3, 1, 1)
    torch.testing.assert_close(model(given), usual(usual.mean + images() * usual.deviation), rtol=1e-4, atol=1e-5)


def test_weights_that_miss_and_have_too_much_are_one_error():
    state = small().state_dict()
    del state["norm.bias"], state["blocks.1.ls2.gamma"]
    state["blocks.7.norm1.weight"] = torch.zeros(24)
    state["pos_embed"] = torch.zeros(1, 26, 24)
    wanted = (
        r"2 missing: blocks\.1\.ls2\.gamma, norm\.bias; 1 unexpected: blocks\.7\.norm1\.weight;"
        r" 1 of another shape: pos_embed \(1, 26, 24\) where \(1, 17, 24\) is wanted"
    )
    with pytest.raises(ConfigError, match=wanted):
        vit.from_upstream(state, SMALL)


def test_weights_of_something_else_are_named():
    with pytest.raises(ConfigError, match=r"wanted one class token, found 0 \(none\) among 1 keys: conv1\.weight"):
        vit.from_upstream({"conv1.weight": torch.zeros(2)}, SMALL)
    two = {f"{side}.{key}": value for key, value in small().state_dict().items() for side in ("a", "b")}
    with pytest.raises(ConfigError, match=r"wanted one class token, found 2 \('a\.', 'b\.'\)"):
        vit.from_upstream(two, SMALL)
    with pytest.raises(ConfigError, match=r"rotary positions \(as DINOv3\), which is not supported"):
        vit.from_upstream({"cls_token": torch.zeros(1, 1, 24), "rope_embed.periods": torch.zeros(3)}, SMALL)


def test_what_is_no_tensor_is_passed_over():
    trained = small()
    model, left_out = vit.from_upstream({**trained.state_dict(), "epoch": 3, "args": {"rate": 1.0}}, SMALL)
    assert left_out == ()
    assert torch.equal(model.eval()(images()), trained(images()))
    with pytest.raises(ConfigError, match=r"wanted one class token, found 0 \(none\) among 0 keys"):
        vit.from_upstream({"epoch": 3}, SMALL)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_weights_that_are_not_finite_are_refused(tmp_path, value, dtype):
    state = {"a": torch.ones(4), "empty": torch.zeros(0), "count": torch.tensor(3)}
    save_file(state, tmp_path / "good.safetensors")
    assert read_weights(tmp_path / "good.safetensors").keys() == state.keys()
    state["b.weight"] = torch.tensor([[1.0, value], [value, 2.0]]).to(dtype)
    wanted = r"w\.\w+: wanted finite weights, got 2 NaN or infinite values of 4 in b\.weight; take"
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=wanted):
        read_weights(tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=wanted):
        read_weights(tmp_path / "w.pth")


def test_our_own_weights_come_back_bit_for_bit(tmp_path):
    trained = small(mask_token=True)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    model, left_out = vit.from_upstream(read_weights(tmp_path / "w.safetensors"), SMALL)
    assert left_out == ("mask_token",)
    assert torch.equal(model.eval()(images()), trained(images()))
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_of_torch_are_read_without_running_code(tmp_path, zipped):
    path = tmp_path / "w.pth"
    content = {"teacher": {"backbone.cls_token": torch.ones(1)}, "epoch": 3, "optimizer": {"state": {0: {"exp": torch.zeros(2)}}}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert list(read_weights(path)) == ["teacher.backbone.cls_token", "optimizer.state.0.exp"]
    torch.save({"model": torch.nn.Linear(2, 2)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ConfigError, match=r"w\.pth: wanted a checkpoint of tensors alone, got .*code in a file is never run"):
        read_weights(path)


def test_files_that_hold_no_weights_are_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"none\.bin: no such file of weights \(--weights\); it is never replaced by random ones"
    ):
        read_weights(tmp_path / "none.bin")
    (tmp_path / "w.safetensors").write_bytes(b"short")
    with pytest.raises(ConfigError, match=r"w\.safetensors: not readable as safetensors"):
        read_weights(tmp_path / "w.safetensors")
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=r"w\.pt: no tensor in it; give a state dict"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("name", [name for name, card in vit.CARDS.items() if card.published])
def test_published_encoders_are_never_random(name):
    with pytest.raises(
        ConfigError, match=rf"vit/{name} needs its weights, which are published at .*; random ones are never used"
    ):
        load_tile_encoder(f"vit/{name}")


def with_card(name) -> TileEncoder:
    card = vit.CARDS[name]
    module = torch.nn.Identity()
    return TileEncoder(name=f"vit/{name}", module=module, dim=card.dim, fingerprint="", device=torch.device("cpu"), card=card)


def test_tiles_are_those_of_the_card_unless_given():
    said: list[str] = []
    assert tile_settings(with_card("gigapath"), tile=None, mpp=None, warn=said.append) == (256, 0.5)
    assert tile_settings(with_card("virchow"), tile=None, mpp=None, warn=said.append) == (224, 0.5)
    assert tile_settings(with_card("virchow2"), tile=None, mpp=1.0, warn=said.append) == (224, 1.0)
    assert tile_settings(with_card("tiny"), tile=512, mpp=2.0, warn=said.append) == (512, 2.0)
    assert tile_settings(load_tile_encoder("colour"), tile=None, mpp=None, warn=said.append) == (256, 0.5)
    assert said == []


@pytest.mark.parametrize(("tile", "mpp"), [(512, None), (None, 0.25), (None, 0.0)])
def test_other_tiles_than_the_cards_are_said_loudly(tile, mpp):
    said: list[str] = []
    given = tile_settings(with_card("gigapath"), tile=tile, mpp=mpp, warn=said.append)
    assert given == (tile or 256, 0.5 if mpp is None else mpp)
    assert "vit/gigapath WAS TRAINED ON OTHER TILES: 256 px at 0.5 um/px" in said[0]
    assert f"given {given[0]} px at {given[1]:g} um/px (resized to 256 px (bicubic), middle 224 px)" in said[0]


def test_precision_changes_little_and_the_fingerprint(monkeypatch):
    monkeypatch.setitem(vit.VARIANTS, "tiny", SMALL)
    tiles = (images() * 255).to(torch.uint8)
    exact = load_tile_encoder("vit/tiny", warn=lambda text: None)
    rounded = load_tile_encoder("vit/tiny", precision="bf16", warn=lambda text: None)
    assert rounded.fingerprint != exact.fingerprint
    a, b = exact.encode(tiles), rounded.encode(tiles)
    assert b.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(a, b).min() > 0.999
    assert not torch.equal(a, b)


def test_precisions_that_cannot_be_are_refused():
    with pytest.raises(LookupError, match=r"no precision named 'fp61'; did you mean 'fp16'"):
        load_tile_encoder("vit/tiny", precision="fp61")
    with pytest.raises(ConfigError, match=r"precision fp16 \(--precision\) is several times slower than fp32 on a processor"):
        load_tile_encoder("vit/tiny", precision="fp16", warn=lambda text: None)
    with pytest.raises(ConfigError, match=r"precision bf16 \(--precision\): colour/plain has no weights to round"):
        load_tile_encoder("colour", precision="bf16")


def test_a_setting_added_later_changes_no_fingerprint():
    """Only settings that are not the usual ones are hashed."""
    from oncoweave.train.encoder_parts import told

    assert told(vit.Config()) == {}
    assert told(vit.VARIANTS["small-registers"]) == {
        "dim": 384, "heads": 6, "hidden": 1536, "registers": 4, "prefix_positions": False,
    }  # fmt: skip
