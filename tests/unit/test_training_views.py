"""Networks with a loss of their own: views and penalties reach the gradient, in parts as in one; modalities dropped by rate."""

import numpy as np
import pytest
import torch
from torch import nn

from oncoweave.core import shelf
from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.model import ModalityShape, Model, ModelConfig, drop_modalities
from oncoweave.nn.tokens import Tokens, pad
from oncoweave.nn.views import Hybrid, Views, pack, unpack
from oncoweave.train.gradients import accumulate
from oncoweave.train.training_objective import TrainingObjective

N = 17
LENGTHS = np.random.default_rng(0).integers(1, 9, N).tolist()
BAGS = [torch.randn(n, 4, generator=torch.Generator().manual_seed(i)) for i, n in enumerate(LENGTHS)]


class Penalised(nn.Module):
    """Mean of tokens through a layer; its own loss is the squared length of what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, tokens):
        return self.layer(tokens["slide"].clean.mean(dim=1))

    def forward_with_penalty(self, tokens):
        fused = self(tokens)
        return fused, fused.pow(2).mean(dim=1)


def model() -> Model:
    torch.manual_seed(0)
    shape = ModalityShape(encoder="abmil/tiny", dim=4, num_tokens=None)
    made = Model(ModelConfig(modalities={"slide": shape}, fusion="mean", num_outputs=1, width=8, dropout=0.3))
    made.fusion = Penalised()
    return made.double().train()


def target(kind: str) -> Target:
    rng = np.random.default_rng(1)
    if kind == "survival":
        endpoint = Endpoint(name="y", kind=kind, columns=("t", "e"), time_unit="months")
        return Target(endpoint=endpoint, values=np.stack([np.ceil(rng.exponential(8, N)), rng.random(N) < 0.6], 1).astype(float))
    return Target(endpoint=Endpoint(name="y", kind=kind, columns=("y",)), values=rng.normal(size=N))


def gradient(made: Model, objective, values, parts):
    made.zero_grad()

    def load(part):
        tokens = pad([BAGS[i] for i in parts[part]], 4)
        return {"slide": Tokens(values=tokens.values.double(), keep=tokens.keep)}, values[parts[part]]

    torch.manual_seed(5)
    loss = accumulate(made, objective, load, num_parts=len(parts), backward=lambda loss: loss.backward())
    return float(loss), torch.cat([p.grad.flatten() for p in made.parameters()])


@pytest.mark.parametrize(("name", "kind"), [("cox", "survival"), ("regress", "regression")])
def test_the_penalty_is_in_the_gradient_whether_a_batch_comes_in_parts_or_not(name, kind):
    truth, made = target(kind), model()
    goal = shelf.load("objectives", name).fit(truth)
    objective, values = TrainingObjective(goal=goal, view_weights=(1.0,)), torch.from_numpy(truth.values)
    for part in made.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0  # parts and the whole draw differently
    whole = gradient(made, objective, values, [np.arange(N)])
    parts = gradient(made, objective, values, np.array_split(np.arange(N), 5))
    assert parts[0] == pytest.approx(whole[0])
    torch.testing.assert_close(parts[1], whole[1], rtol=1e-6, atol=1e-9)
    tokens = pad(BAGS, 4)
    tokens = {"slide": Tokens(values=tokens.values.double(), keep=tokens.keep)}
    fused, penalty = made.fusion.forward_with_penalty(made.encode(tokens))
    assert whole[0] == pytest.approx((goal.loss(made.head(fused), values) + penalty.mean()).item())
    assert made.eval()(tokens).shape == (N, 1)


def test_the_penalty_of_an_encoder_is_trained_beside_the_objective_and_falls():
    torch.manual_seed(0)
    # what is to be coded is one number a patient, which a few latents can hold
    values = torch.randn(40, 1, 1) * torch.linspace(0.5, 2, 6).view(1, 6, 1)
    tokens = {"rna": Tokens(values=values, keep=torch.ones(40, 6, dtype=torch.bool))}
    shape = ModalityShape(encoder="variational/tiny", dim=1, num_tokens=6, settings={"weight": 0.7})
    made = Model(ModelConfig(modalities={"rna": shape}, fusion="mean", num_outputs=1, width=8, dropout=0.0)).train()
    encoder = made.encoders["rna"]
    assert made.has_views
    goal, outcome = shelf.load("objectives", "regress").fit(target("regression")), torch.zeros(40)
    objective = TrainingObjective(goal=goal, view_weights=made.view_weights)

    def drawn(what) -> torch.Tensor:
        torch.manual_seed(1)
        return what()

    def whole() -> torch.Tensor:
        return drawn(lambda: objective.loss(made(tokens), outcome))

    def penalty() -> float:
        return drawn(lambda: encoder.forward_with_penalty(tokens["rna"])[1].mean()).item()

    alone = drawn(lambda: goal.loss(made.head(made.fusion(made.encode(tokens))), outcome))
    assert whole().item() == pytest.approx(alone.item() + penalty(), rel=1e-5)
    whole().backward()
    assert encoder.decode[2].weight.grad.abs().max() > 0  # which nothing but the penalty reads
    before, optimizer = penalty(), torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        whole().backward()
        optimizer.step()
    assert penalty() < 0.7 * before
    made.freeze(encoder)
    assert made.train().views(tokens).penalty.abs().max() == 0


def test_views_are_unpacked_as_they_were_packed_and_each_counts_on_those_who_have_it():
    rng = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, 3, 2, generator=rng, requires_grad=True)
    keep = torch.tensor([[True, True, False]] * 3 + [[True, False, False]] * 3)
    views = Views(outputs=outputs, keep=keep, weight=(1.0, 0.5, 0.5), penalty=torch.arange(6.0))
    again = unpack(pack(views), weight=views.weight, num_outputs=2)
    assert torch.equal(again.outputs, outputs)
    assert torch.equal(again.keep, keep)
    assert torch.equal(again.penalty, views.penalty)

    class Squares:
        num_outputs = 2

        def loss(self, given, values):
            return ((given - values) ** 2).mean()

    values, heard = torch.randn(6, 2, generator=rng), []
    objective = TrainingObjective(goal=Squares(), view_weights=views.weight, observe=heard.append)
    loss = objective.loss(pack(views), values)
    first = ((outputs[:, 0] - values) ** 2).mean()
    second = ((outputs[:3, 1] - values[:3]) ** 2).mean()
    assert loss.item() == pytest.approx((first + 0.5 * second + 2.5).item())
    loss.backward()
    assert (outputs.grad[3:, 1] == 0).all()
    assert (outputs.grad[:, 2] == 0).all()
    assert float(heard[0][1]) == pytest.approx((second / (values[:3] ** 2).mean()).item())
    assert heard[0][2].isnan()
    with pytest.raises(ValueError, match=r"3 views of 1 output\(s\) are 7 columns, got 10"):
        unpack(pack(views), weight=views.weight, num_outputs=1)


@pytest.mark.parametrize(
    ("chance", "told"), [(1.0, "1.0 of 'a'"), (-0.1, "-0.1 of 'a'"), ({"b": 0.2, "z": 0.5}, "0.5 of 'z'"), (float("nan"), "nan")]
)
def test_chances_of_no_modality_and_beyond_their_range_are_refused(chance, told):
    tokens = {m: Tokens(values=torch.zeros(4, 1, 2), keep=torch.ones(4, 1).bool()) for m in "ab"}
    with pytest.raises(ValueError, match=rf"^wanted a chance from 0 to below 1 of some of a, b, got {told}"):
        drop_modalities(tokens, chance)


def test_modalities_are_dropped_at_the_rate_of_each_and_survivors_are_not_scaled():
    n, rates = 4000, {"a": 0.3, "b": 0.6}
    generator = torch.Generator().manual_seed(2)
    tokens = {m: Tokens(values=torch.randn(n, 2, 3, generator=generator), keep=torch.ones(n, 2).bool()) for m in "abc"}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        dropped = drop_modalities(tokens, rates)
    for name, rate in {**rates, "c": 0.0}.items():  # one is never dropped, so that the rates of the others are exact
        gone = 1 - float(dropped[name].present.float().mean())
        assert abs(gone - rate) <= 3 * (rate * (1 - rate) / n) ** 0.5, name
        assert torch.equal(dropped[name].values, tokens[name].values)
        assert torch.equal(dropped[name].keep.any(dim=1), dropped[name].keep.all(dim=1))


def test_a_half_written_hybrid_cannot_be_built():
    class HalfWritten(Hybrid):
        """Scores, but does not say what it is trained on."""

    with pytest.raises(TypeError, match=r"abstract method '?views"):
        HalfWritten((1.0, 0.5), dims={"slide": 4}, dim_out=8, num_outputs=1, fusion=Penalised())
