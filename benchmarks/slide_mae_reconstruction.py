"""Held-out tiles predicted by the masked autoencoder and by what needs no training; called by ``slide_mae.py``.

Errors are mean squared errors of standardised features over all hidden tiles, with 95 % intervals over slides. The kernel is a
Gaussian of the distance in tiles over the visible tiles; its width is the best of five on unlabelled slides.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from oncoweave.evaluate.intervals import draw_weights, percentile_interval
from oncoweave.nn.coordinates import SlideView
from oncoweave.nn.tile_masking import hide_tiles
from oncoweave.nn.tokens import Tokens
from oncoweave.train.plan import Plan
from oncoweave.train.pretrain import CHECKPOINT, build

WIDTHS = (0.5, 1.0, 1.5, 2.0, 3.0)


def measure_reconstruction(plan: Plan, folder: Path, unlabelled: Path, tokens: Tokens, *, ratio: float) -> pd.DataFrame:
    """Tabulate errors on some slides of which ``ratio`` is hidden, drawn once for all predictors."""
    stream = plan.data.open([unlabelled], views=SlideView(), batch=plan.batch, seed=0)
    module = build(plan, stream)
    saved = load_file(folder / CHECKPOINT)
    module.load_state_dict({k.removeprefix("module/"): v for k, v in saved.items() if k.startswith("module/")})
    module.eval()
    own = stream.sample(150)
    width = min(WIDTHS, key=lambda w: _mean(_kernel(w), own, ratio))
    predictors = {
        "training mean": lambda seen, at, values: torch.zeros(len(at), values.shape[1]),
        "mean of the slide's visible tiles": lambda seen, at, values: values.mean(dim=0).expand(len(at), -1),
        "nearest visible tiles": _nearest,
        f"kernel of {width} tiles": _kernel(width),
    }
    rows = [_row(name, _errors(predictor, tokens, ratio)) for name, predictor in predictors.items()]
    rows.append(_row("MAE", _errors_of(module, tokens, ratio)))
    return pd.DataFrame(rows)


def _nearest(seen, at, values):
    """Mean of the visible tiles at the least distance."""
    distance = torch.cdist(at, seen)
    weight = (distance <= distance.amin(dim=1, keepdim=True) + 1e-6).float()
    return weight @ values / weight.sum(dim=1, keepdim=True)


def _kernel(width):
    def predict(seen, at, values):
        return torch.softmax(-(torch.cdist(at, seen) ** 2) / (2 * width**2), dim=1) @ values

    return predict


def _hidden(tokens, ratio):
    cells = tokens.positions[..., :2].long()
    return hide_tiles(cells, tokens.keep, ratio=ratio, generator=torch.Generator().manual_seed(7))


def _errors(predictor, tokens, ratio):
    """Sum of squared errors (mean over features) and number of hidden tiles of each slide."""
    sums = []
    for values, places, keep, out in zip(tokens.values, tokens.positions, tokens.keep, _hidden(tokens, ratio), strict=True):
        seen = keep & ~out
        predicted = predictor(places[seen, :2], places[out, :2], values[seen])
        sums.append((float((predicted - values[out]).square().mean(dim=1).sum()), int(out.sum())))
    return np.array(sums)


@torch.no_grad()
def _errors_of(module, tokens, ratio):
    hidden, sums = _hidden(tokens, ratio), []
    for rows in torch.arange(len(tokens.keep)).split(50):
        batch = tokens.take(rows)
        out = hidden[rows]
        error = (module.predict(batch, out) - batch.values[out]).square().mean(dim=1)
        sums += [(float(e.sum()), len(e)) for e in error.split(out.sum(dim=1).tolist())]
    return np.array(sums)


def _mean(predictor, tokens, ratio):
    errors = _errors(predictor, tokens, ratio)
    return errors[:, 0].sum() / errors[:, 1].sum()


def _row(name, errors):
    weights = draw_weights(len(errors), replicates=1000, generator=np.random.default_rng(0))
    value = errors[:, 0].sum() / errors[:, 1].sum()
    interval = percentile_interval(value, (weights @ errors[:, 0]) / (weights @ errors[:, 1]))
    return {"predicted by": name, "error": round(value, 3), "95 %": f"{interval.low:.3f} to {interval.high:.3f}",
            "slides": len(errors), "tiles": int(errors[:, 1].sum())}  # fmt: skip
