"""The pretraining loop: schedules, groups, accumulation, resuming bit for bit, collapse, refusals."""

import io
import json
import math
import tarfile

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from pretraining_toys import SIDE, VIEWS, Toy, plan, tiles
from safetensors.torch import load_file

from oncoweave.core.encoder_card import read_card
from oncoweave.core.errors import ConfigError, DataError
from oncoweave.core.files import sha256
from oncoweave.nn.optim import Group
from oncoweave.nn.schedules import cosine
from oncoweave.train import pretrain as module
from oncoweave.train.plan import Optimisation, Plan, learning_rate, weight_decay
from oncoweave.train.pretrain import CARD, CHECKPOINT, CURVES, FAULTS, LOG, WEIGHTS, Loop, Machine, pretrain
from oncoweave.train.tile_stream import TileData


@pytest.fixture
def shard(tmp_path):
    return tiles(tmp_path)


@pytest.fixture
def toy(monkeypatch):
    """Let the loop pretrain a toy where a plan names an objective; returns the toys made."""
    made = []

    def use(**settings):
        def build(*args, **kwargs):
            made.append(Toy(**settings))
            return made[-1]

        monkeypatch.setattr(module, "build", build)
        monkeypatch.setattr(module.shelf, "configure", lambda *a: type("Config", (), {"views": VIEWS}))
        return made

    return use


class Stopped(RuntimeError):
    pass


def stop_at(done: int):
    def progress(step, steps, row):
        if step == done:
            raise Stopped

    return progress


def files(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (WEIGHTS, LOG, CURVES, CHECKPOINT)}


def test_schedules_are_those_of_the_plan():
    made = plan(optimisation=Optimisation(rate=1e-3, reference_batch=24, power=0.5, warm_up=2, weight_decay=(0.1, 0.3)))
    peak = 1e-3 * math.sqrt(6 / 24)
    assert learning_rate(made, 0) == 0.0
    assert learning_rate(made, 1) == pytest.approx(peak / 2)
    assert learning_rate(made, 2) == pytest.approx(peak)
    assert learning_rate(made, 6) == cosine(6, start=peak, end=1e-6, steps=10, warm_up=2)
    assert weight_decay(made, 0) == pytest.approx(0.1)
    assert weight_decay(made, 5) == pytest.approx(0.2)


def test_groups_learn_at_their_pace(shard, tmp_path, toy):
    made = toy()
    seen = []

    def progress(step, steps, row):
        seen.append((made[0].late.detach().abs().sum().item(), made[0].unused.detach().clone()))

    result = pretrain(plan(), tmp_path / "run", data=[shard], progress=progress)
    assert [late == 0 for late, _ in seen] == [True] * 3 + [False] * 7  # frozen until step 3
    assert all(torch.equal(unused, torch.ones(2)) for _, unused in seen)  # no gradient, no decay
    assert result.log[0]["learning_rate"] == 0.0


@pytest.mark.parametrize("stopped", [1, 4])
def test_a_stopped_run_ends_with_the_same_bytes(shard, tmp_path, toy, stopped):
    toy()
    pretrain(plan(), tmp_path / "whole", data=[shard])
    with pytest.raises(Stopped):
        pretrain(plan(), tmp_path / "cut", data=[shard], progress=stop_at(stopped))
    torch.manual_seed(123)  # the caller's numbers must not matter
    pretrain(plan(), tmp_path / "cut", data=[shard])
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_a_line_cut_short_is_written_again(shard, tmp_path, toy):
    toy()
    pretrain(plan(), tmp_path / "whole", data=[shard])
    with pytest.raises(Stopped):
        pretrain(plan(), tmp_path / "cut", data=[shard], progress=stop_at(4))
    with (tmp_path / "cut" / LOG).open("a") as stream:
        stream.write('{"step": 4, "lo')
    pretrain(plan(), tmp_path / "cut", data=[shard])
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_a_finished_run_is_left_as_it_is(shard, tmp_path, toy):
    toy()
    first = pretrain(plan(), tmp_path / "run", data=[shard])
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir() if p.name in (WEIGHTS, CHECKPOINT, CARD)}
    again = pretrain(plan(), tmp_path / "run", data=[shard])
    assert again.log == first.log
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir() if p.name in before} == before


def test_a_card_that_was_removed_is_written_anew_without_training(shard, tmp_path, toy):
    toy()
    run = pretrain(plan(), tmp_path / "run", data=[shard])
    assert read_card(run.weights).sha256 == sha256(run.weights)
    before = files(run.folder)
    (run.folder / CARD).write_text((run.folder / CARD).read_text().replace('"encoder": "vit/tiny"', '"encoder": "vit/nano"', 1))
    with pytest.raises(ConfigError, match="this card was changed since it was written"):
        read_card(run.weights)
    (run.folder / CARD).unlink()
    assert pretrain(plan(), run.folder, data=[shard]).log == run.log
    assert read_card(run.weights).sha256 == sha256(run.weights)
    assert files(run.folder) == before


def test_the_callers_random_state_is_left_alone(shard, tmp_path, toy):
    toy()
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    pretrain(plan(steps=2), tmp_path / "run", data=[shard])
    assert torch.equal(torch.rand(3), wanted)


def test_accumulated_parts_make_the_same_step(shard, tmp_path, toy):
    toy(noisy=False)
    whole = pretrain(plan(), tmp_path / "whole", data=[shard])
    parts = pretrain(plan(accumulate=3), tmp_path / "parts", data=[shard])
    a, b = load_file(whole.weights), load_file(parts.weights)
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=1e-4, atol=1e-6)
    assert parts.log[4]["loss"] == pytest.approx(whole.log[4]["loss"], rel=1e-4)


def damaged(folder, *, of: int = 12, broken=(2, 5, 9)):
    """A shard of pictures, of which some are none."""
    path = folder / "damaged.tar"
    with tarfile.open(path, "w") as tar:
        for i in range(of):
            picture = io.BytesIO()
            Image.fromarray(np.full((12, 12, 3), 20 * i, dtype=np.uint8)).save(picture, "PNG")
            content = b"nothing" if i in broken else picture.getvalue()
            member = tarfile.TarInfo(f"t{i:02d}.png")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_log_card_and_faults_count_the_same_tiles_drawn_again(tmp_path, toy):
    """Neither batches read in advance, nor the sample that is watched, nor the parts of a batch make a difference."""
    toy()
    data = TileData(side=SIDE, readers=2, ahead=3)
    run = pretrain(plan(data=data, accumulate=3), tmp_path / "run", data=[damaged(tmp_path)])
    logged = sum(row["redrawn"] for row in run.log)
    faults = json.loads((run.folder / FAULTS).read_text())
    assert logged == sum(faults["redrawn"].values()) == faults["redrawn_since_start"] == run.card["data"]["redrawn_since_start"]
    assert logged >= 3 * 60 // 12  # five epochs meet each damaged tile
    assert sum(faults["redrawn_of_watched"].values()) >= 3


def test_gradients_are_clipped(shard, tmp_path, toy):
    """Adam's step does not show the norm of its gradient, so the moment it keeps is looked at."""
    made = toy(noisy=False)
    tight = plan(steps=1, optimisation=Optimisation(rate=0.0, power=0.0, clip=1e-3, betas=(0.0, 0.9)))
    result = pretrain(tight, tmp_path / "run", data=[shard])
    kept = load_file(tmp_path / "run" / CHECKPOINT)
    moments = [v for k, v in kept.items() if k.endswith("exp_avg")]
    assert torch.cat([m.flatten() for m in moments]).norm() == pytest.approx(1e-3, rel=1e-3)
    assert result.log[0]["gradient_norm"] > 1e-2
    assert made


def test_collapse_is_seen(shard, tmp_path, toy, capsys):
    toy(collapses=True)
    fast = Optimisation(rate=0.2, power=0.0, weight_decay=(5.0, 5.0), clip=None)  # decay takes every weight, bias stays
    result = pretrain(plan(steps=12, optimisation=fast, watch_every=6), tmp_path / "run", data=[shard])
    assert "collapsed" not in result.log[0]
    assert result.log[-1]["collapsed"] == 1.0
    assert "collapse: " in capsys.readouterr().out
    assert "gradient_norm" not in result.log[0]


def test_the_probe_is_asked_when_due(shard, tmp_path, toy):
    toy()
    asked = []

    def probe(encoder):
        asked.append(encoder)
        return {"linear": 0.5}

    result = pretrain(plan(), tmp_path / "run", data=[shard], probe=probe)
    assert [row["step"] for row in result.log if "probe_linear" in row] == [4, 9]
    assert len(asked) == 2


def test_the_folder_says_what_was_done(shard, tmp_path, toy):
    made = toy()
    result = pretrain(plan(log_every=4), tmp_path / "run", data=[shard])
    assert [row["step"] for row in result.log] == [0, 4, 8, 9]
    lines = (tmp_path / "run" / LOG).read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(result.log)
    assert result.card["recipe"] == "toy"
    assert result.card["plan"]["optimisation"]["rate"] == 0.05
    assert result.card["data"]["tiles"] == 20
    assert result.card["data"]["groups"] == 4
    assert (tmp_path / "run" / CURVES).read_text().startswith("<svg")
    assert torch.equal(load_file(result.weights)["linear.weight"], made[0].encoder.linear.weight)


def test_another_plan_or_other_data_are_refused(shard, tmp_path, toy):
    toy()
    pretrain(plan(), tmp_path / "run", data=[shard])
    with pytest.raises(ConfigError, match=r"holds a run of another plan \(steps: 10 there, 12 here\)"):
        pretrain(plan(steps=12), tmp_path / "run", data=[shard])
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="holds a run on other data"):
        pretrain(plan(), tmp_path / "run", data=[tiles(tmp_path / "other", count=22)])


def test_a_damaged_checkpoint_is_named(shard, tmp_path, toy):
    toy()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"\x00" * 20)
    with pytest.raises(DataError, match=r"checkpoint\.safetensors: not a readable checkpoint .* remove it to start anew"):
        pretrain(plan(), tmp_path / "run", data=[shard])


@pytest.mark.parametrize("fault", ["checkpoint", "log line", "no log"])
def test_a_run_goes_on_only_from_what_it_wrote(shard, tmp_path, toy, fault):
    toy()
    with pytest.raises(Stopped):
        pretrain(plan(), tmp_path / "run", data=[shard], progress=stop_at(4))
    path, log = tmp_path / "run" / CHECKPOINT, tmp_path / "run" / LOG
    if fault == "checkpoint":
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)
    elif fault == "no log":
        log.unlink()
    else:
        log.write_text("{broken\n" + log.read_text())
    told = "was changed since the run wrote it; remove it" if fault == "checkpoint" else r"log\.jsonl: the log of this run cannot"
    with pytest.raises(DataError, match=told):
        pretrain(plan(), tmp_path / "run", data=[shard])


def test_a_loss_that_is_not_finite_stops_the_run(shard, tmp_path, toy):
    made = toy()

    def spoil(step, steps, row):
        made[0].centre.fill_(math.nan)

    with pytest.raises(FloatingPointError, match="the loss is nan in step 1; lower the learning rate"):
        pretrain(plan(), tmp_path / "run", data=[shard], progress=spoil)


@pytest.mark.parametrize("accelerator", ["cuda", "tpu", "cpux"])
def test_a_machine_that_is_not_there_is_refused(tmp_path, monkeypatch, accelerator):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr("lightning_fabric.accelerators.CUDAAccelerator.is_available", lambda: False)
    with pytest.raises(ConfigError, match=rf"cannot train on 1 x '{accelerator}' \(--device, .*; there is cpu(, mps)?$"):
        pretrain(plan(), tmp_path / "run", data=[], machine=Machine(accelerator=accelerator))
    assert not (tmp_path / "run").exists()


def test_a_parameter_in_two_groups_is_refused(tmp_path, shard):
    class Twice(Toy):
        def parameter_groups(self):
            return [Group(params=(self.late,), name="a"), Group(params=(self.late,), name="b")]

    made = plan()
    stream = made.data.open([shard], views=VIEWS, batch=6, seed=0)
    with pytest.raises(ConfigError, match="a parameter of group 'b' is in another group as well"):
        Loop(Twice(), stream, plan=made, out=tmp_path, fabric=Fabric(accelerator="cpu", devices=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "plan 'toy': steps wanted 1 or more, got 0"),
        ({"batch": 7, "accumulate": 2}, "a batch of 7 cannot be worked off in 2 equal parts"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        plan(**changes)


def test_plans_are_told_from_their_settings():
    assert isinstance(plan(), Plan)
    assert plan().data.side == SIDE
