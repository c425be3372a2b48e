import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from oncoweave.core import shelf
from oncoweave.core.encoder_card import EncoderCard, write_card
from oncoweave.core.errors import ConfigError, UnknownNameError
from oncoweave.encoders import colour, vit
from oncoweave.train.builtin_weights import builtin_weights
from oncoweave.train.tile_encoder import fingerprint, load_tile_encoder, random_twin

SMALL = vit.Config(image=32, patch=8, dim=24, depth=2, heads=2, hidden=48)


def small(**changes) -> vit.VisionTransformer:
    from dataclasses import replace

    return vit.build(replace(SMALL, **changes), generator=torch.Generator().manual_seed(1)).eval()


def flat(red, green, blue, side=32) -> torch.Tensor:
    return torch.tensor([red, green, blue]).view(1, 3, 1, 1).expand(1, 3, side, side).contiguous()


def column(name, images, config=colour.VARIANTS["plain"]) -> torch.Tensor:
    encoder = colour.build(config)
    return encoder(images)[:, encoder.names.index(name)]


def test_colour_measures_optical_density():
    images = flat(0.1, 0.01, 1.0)
    for name, wanted in (("red_mean", 1.0), ("green_mean", 2.0), ("blue_mean", 0.0), ("red_deviation", 0.0)):
        assert column(name, images).item() == pytest.approx(wanted, abs=1e-6)


def test_colour_unmixes_what_was_mixed():
    stains = torch.tensor(colour._STAINS)
    stains = stains / stains.norm(dim=1, keepdim=True)
    image = 10 ** -(0.4 * stains[0] + 0.25 * stains[1])
    for name, wanted in (("haematoxylin_mean", 0.4), ("eosin_mean", 0.25), ("residual_mean", 0.0), ("eosin_above_0.2", 1.0)):
        assert column(name, flat(*image.tolist())).item() == pytest.approx(wanted, abs=1e-5)


def test_patterns_count_what_they_say(rng):
    """A flat tile has eight neighbours as bright everywhere; shares sum to one; turning the tile changes nothing."""
    assert column("pattern_8_1px", flat(0.5, 0.5, 0.5)).item() == 1.0
    image = torch.from_numpy(rng.random((1, 3, 32, 32), dtype=np.float32))
    encoder = colour.build(colour.VARIANTS["plain"])
    index = [i for i, name in enumerate(encoder.names) if name.startswith("pattern") and name.endswith("_1px")]
    assert encoder(image)[0, index].sum().item() == pytest.approx(1.0)
    torch.testing.assert_close(encoder(torch.rot90(image, dims=(2, 3)))[:, index], encoder(image)[:, index])


def test_patterns_agree_with_counting(rng):
    grey = rng.integers(0, 9, (12, 14))
    image = torch.from_numpy(np.repeat((grey / 10 + 0.1)[None, None], 3, axis=1)).float()
    counts = np.zeros(10)
    for y in range(1, 11):
        for x in range(1, 13):
            ring = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]
            denser = [grey[y + dy, x + dx] <= grey[y, x] for dy, dx in ring]  # darker is denser
            changes = sum(denser[i] != denser[i - 1] for i in range(8))
            counts[sum(denser) if changes <= 2 else 9] += 1
    encoder = colour.build(colour.VARIANTS["plain"])
    index = [encoder.names.index(f"pattern_{i}_1px") for i in range(10)]
    np.testing.assert_allclose(encoder(image)[0, index].numpy(), counts / 120, atol=1e-6)


def test_edges_are_seen_at_their_scale():
    fine = torch.ones(1, 3, 64, 64)
    fine[..., ::2] = 0.3
    coarse = torch.ones(1, 3, 64, 64)
    coarse[..., (torch.arange(64) // 8) % 2 == 0] = 0.3
    assert column("gradient_mean_1px", fine).item() == pytest.approx(0.0, abs=1e-6)  # two pixels apart all are alike
    assert column("gradient_mean_4px", fine).item() == pytest.approx(0.0, abs=1e-6)
    assert column("gradient_mean_4px", coarse).item() > 0.1


def test_every_column_has_a_name():
    for config in colour.VARIANTS.values():
        encoder = colour.build(config)
        assert len(set(encoder.names)) == encoder.dim == encoder(flat(0.5, 0.4, 0.6)).shape[1]


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b = small(), small()
    assert torch.equal(before, torch.get_rng_state())
    assert fingerprint(1, a) == fingerprint(1, b)
    other = vit.build(SMALL, generator=torch.Generator().manual_seed(2))
    assert fingerprint(1, a) != fingerprint(1, other)
    assert fingerprint(1, a) != fingerprint(2, a)


@pytest.mark.parametrize("changes", [{}, {"registers": 3}, {"registers": 3, "prefix_positions": False}, {"layer_scale": None}])
def test_parameter_names_and_shapes_are_timms(changes):
    state = {k: tuple(v.shape) for k, v in small(**changes).state_dict().items()}
    registers = changes.get("registers", 0)
    prefix = 1 + registers if changes.get("prefix_positions", True) else 0
    wanted = {
        "cls_token": (1, 1, 24),
        "pos_embed": (1, prefix + 16, 24),
        "patch_embed.proj.weight": (24, 3, 8, 8),
        "patch_embed.proj.bias": (24,),
        "norm.weight": (24,),
        "norm.bias": (24,),
    }
    if registers:
        wanted["reg_token"] = (1, registers, 24)
    for i in range(2):
        block = {
            "norm1.weight": (24,),
            "norm1.bias": (24,),
            "attn.qkv.weight": (72, 24),
            "attn.qkv.bias": (72,),
            "attn.proj.weight": (24, 24),
            "attn.proj.bias": (24,),
            "norm2.weight": (24,),
            "norm2.bias": (24,),
            "mlp.fc1.weight": (48, 24),
            "mlp.fc1.bias": (48,),
            "mlp.fc2.weight": (24, 48),
            "mlp.fc2.bias": (24,),
        }
        if changes.get("layer_scale", 0.1) is not None:
            block |= {"ls1.gamma": (24,), "ls2.gamma": (24,)}
        wanted |= {f"blocks.{i}.{k}": v for k, v in block.items()}
    assert state == wanted


def test_a_block_is_the_equation():
    """Attention, LayerScale and feed-forward written out by hand for one block."""
    model = small(depth=1)
    block, x = model.blocks[0], torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    y = torch.nn.functional.layer_norm(x, (24,), block.norm1.weight, block.norm1.bias, 1e-6)
    q, k, v = (y @ block.attn.qkv.weight.T + block.attn.qkv.bias).split(24, dim=2)
    heads = []
    for h in (slice(0, 12), slice(12, 24)):
        weights = torch.softmax(q[..., h] @ k[..., h].transpose(1, 2) / 12**0.5, dim=2)
        heads.append(weights @ v[..., h])
    x1 = x + block.ls1.gamma * (torch.cat(heads, dim=2) @ block.attn.proj.weight.T + block.attn.proj.bias)
    z = torch.nn.functional.layer_norm(x1, (24,), block.norm2.weight, block.norm2.bias, 1e-6)
    z = torch.nn.functional.gelu(z @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
    wanted = x1 + block.ls2.gamma * (z @ block.mlp.fc2.weight.T + block.mlp.fc2.bias)
    torch.testing.assert_close(block(x), wanted, rtol=1e-5, atol=1e-6)


def test_patches_are_read_row_by_row():
    model = small()
    image = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    tokens = model.patch_embed(image)
    for index, (row, col) in enumerate([(0, 0), (0, 8), (0, 16), (8, 0), (8, 8), (8, 16)]):
        patch = image[:, :, row : row + 8, col : col + 8]
        torch.testing.assert_close(tokens[:, index : index + 1], model.patch_embed(patch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("registers", [0, 2])
def test_any_whole_number_of_patches_is_encoded(registers):
    model = small(registers=registers, pool="class_and_mean")
    with torch.no_grad():
        for side in (32, 40, 64):
            assert torch.isfinite(model(torch.rand(2, 3, side, side))).all()
        assert torch.equal(model._positions((4, 4)), model.pos_embed)
        tokens = model.tokens(torch.rand(1, 3, 32, 32))
        assert tokens.shape[1] == 1 + registers + 16
    with pytest.raises(ValueError, match=r"tiles of 30 x 30 px are not whole patches of 8 px"):
        model(torch.rand(1, 3, 30, 30))


def test_random_weights_say_so(capsys):
    first = load_tile_encoder("vit/tiny")
    assert "vit/tiny: RANDOM WEIGHTS" in capsys.readouterr().err
    assert load_tile_encoder("vit").fingerprint == first.fingerprint
    load_tile_encoder("colour")
    assert capsys.readouterr().err.count("RANDOM") == 1  # the second vit, and not colour


def test_given_weights_are_used_and_fingerprinted(tmp_path, capsys):
    random = load_tile_encoder("vit/tiny", warn=lambda text: None)
    state = {k: v + 0.01 for k, v in random.module.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    loaded = load_tile_encoder("vit/tiny", weights=tmp_path / "w.safetensors")
    said = "w.safetensors: no card beside these weights says which settings they were trained with; vit/tiny is built as"
    assert capsys.readouterr().err.startswith(said)
    assert loaded.fingerprint != random.fingerprint
    assert torch.equal(loaded.module.state_dict()["cls_token"], state["cls_token"])


@pytest.fixture
def run(tmp_path):
    """Weights of a small network that a pretraining run left with settings of its own, their card, and the network."""
    settings = {"image": 32, "patch": 8, "dim": 24, "depth": 2, "heads": 2, "hidden": 48, "pool": "mean", "mean": (0.5, 0.4, 0.3)}
    network = small(pool="mean", mean=(0.5, 0.4, 0.3), mask_token=True, drop_path=0.5)
    path = tmp_path / "encoder.safetensors"
    save_file(network.state_dict(), path)
    write_card(path, EncoderCard(encoder="vit/tiny", settings={**settings, "mask_token": True, "drop_path": 0.5}))
    return path, settings, network


def test_settings_of_a_pretraining_run_come_from_its_card(run, capsys):
    path, settings, network = run
    loaded = load_tile_encoder("vit/tiny", weights=path)
    assert capsys.readouterr().err == ""
    assert loaded.settings == settings
    tiles = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode(tiles), network(tiles / 255))
    assert random_twin(loaded).module.config == loaded.module.config
    assert loaded.title.startswith("vit/tiny (image=32, patch=8, dim=24, ")
    write_card(path, EncoderCard(encoder="vit/tiny", settings={**settings, "heads": 4}))
    other = load_tile_encoder("vit/tiny", weights=path)
    assert other.fingerprint != loaded.fingerprint
    assert not torch.allclose(other.encode(tiles), loaded.encode(tiles))


def test_settings_that_act_in_training_alone_leave_the_fingerprint(run):
    path, settings, _ = run
    marks = set()
    for training in ({}, {"mask_token": True}, {"mask_token": True, "drop_path": 0.1}):
        write_card(path, EncoderCard(encoder="vit/tiny", settings={**settings, **training}))
        marks.add(load_tile_encoder("vit/tiny", weights=path).fingerprint)
    assert len(marks) == 1


def test_weights_whose_card_says_otherwise_are_refused(run):
    path, settings, _ = run
    with pytest.raises(ConfigError, match=r"these are weights of vit/tiny, wanted vit/small; name the encoder they belong to"):
        load_tile_encoder("vit/small", weights=path)
    write_card(path, EncoderCard(encoder="vit/tiny", settings={**settings, "headz": 4}))
    with pytest.raises(ConfigError, match=r"its card states a setting that the encoder vit/tiny does not have: .*headz"):
        load_tile_encoder("vit/tiny", weights=path)
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace('"mean"', '"class"'))
    with pytest.raises(ConfigError, match="this card was changed since it was written"):
        load_tile_encoder("vit/tiny", weights=path)


def test_built_in_weights_keep_the_fingerprint_that_slides_were_embedded_with(capsys):
    pair = builtin_weights("vit/nano")[0], builtin_weights("longnet/tiny")[1]
    assert load_tile_encoder("vit/nano", weights=pair[0]).fingerprint == pair[1].tiles.fingerprint
    assert capsys.readouterr().err == ""


def test_weights_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match=r"w\.pt: wanted a checkpoint of tensors alone, got .*code in a file is never run"):
        load_tile_encoder("vit/tiny", weights=tmp_path / "w.pt")
    save_file({"cls_token": torch.zeros(1, 1, 8)}, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"these weights do not fit the encoder vit/tiny"):
        load_tile_encoder("vit/tiny", weights=tmp_path / "w.safetensors")
    save_file({f"layer{i}.weight": torch.zeros(1) for i in range(40)}, tmp_path / "w.safetensors")
    with pytest.raises(
        ConfigError, match=r'do not fit the encoder colour/plain: Unexpected key[^,]*"layer0\.weight" and 39 more$'
    ):
        load_tile_encoder("colour", weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize("device", ["cuda:63", "gpu", "meta"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(device):
    with pytest.raises(ConfigError, match=rf"device '{device}' \(--device\) cannot be used: .*; there is cpu"):
        load_tile_encoder("colour/tiny", device=device)


def test_an_unknown_encoder_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no tile encoder named 'color'; did you mean 'colour'"):
        load_tile_encoder("color")
    with pytest.raises(UnknownNameError, match=r"variant of 'vit' named 'tinny'; did you mean 'tiny'"):
        load_tile_encoder("vit/tinny")
    assert {"colour", "vit"} <= set(shelf.names("encoders"))
