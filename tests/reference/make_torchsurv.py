"""Write tests/golden/torchsurv.json: what torchsurv makes of four small cohorts, times with and without ties.

Needs torchsurv 0.2.0 (``pip install --no-deps torchsurv``, with pydantic, torchmetrics and lightning-utilities), which is not
in the project's environment: run ``python tests/reference/make_torchsurv.py`` in one of its own. torchsurv casts times and
weights to float32, so that its values hold to seven digits. Weights by censoring are of the training patients, as ours are.
"""

import json
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parents[1] / "golden" / "torchsurv.json"
HORIZONS = (6.0, 12.0, 20.0)


def cohort(seed: int, *, tied: bool) -> dict[str, list[float]]:
    """Draw training and test patients with risks, and survival at the horizons; numbers as they are stored."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for part, size in (("train", 60), ("test", 40)):
        hazard = rng.normal(size=size)
        death, lost = 18 * rng.exponential(np.exp(-hazard)), 30 * rng.exponential(size=size)
        time = np.minimum(np.minimum(death, lost), 40.0)
        drawn[f"{part}_time"] = (np.ceil(time) if tied else np.round(time, 3)).tolist()
        drawn[f"{part}_event"] = ((death <= lost) & (death < 40)).astype(float).tolist()
        drawn["risk"] = np.round(hazard + rng.normal(size=size), 1 if tied else 3).tolist()
    last = max(drawn["train_time"])
    keep = [i for i, time in enumerate(drawn["test_time"]) if time < last]
    drawn |= {name: [drawn[name][i] for i in keep] for name in ("test_time", "test_event", "risk")}
    risk = np.array(drawn["risk"])[:, None]
    return drawn | {"survival": np.round(np.exp(-np.array(HORIZONS) / 30 * np.exp(risk / 2)), 6).tolist()}


def reference(drawn: dict[str, list[float]], *, tau: float) -> dict[str, object]:
    """Evaluate torchsurv on a cohort."""
    from torchsurv.loss.cox import neg_partial_log_likelihood
    from torchsurv.metrics.auc import Auc
    from torchsurv.metrics.brier_score import BrierScore
    from torchsurv.metrics.cindex import ConcordanceIndex
    from torchsurv.stats.ipcw import get_ipcw

    values = {name: torch.tensor(column, dtype=torch.float32) for name, column in drawn.items()}
    train = values["train_event"].bool(), values["train_time"]
    event, time, risk = values["test_event"].bool(), values["test_time"], values["risk"]
    horizons = torch.tensor(HORIZONS, dtype=torch.float32)
    weight, at_horizon = get_ipcw(*train, new_time=time), get_ipcw(*train, new_time=horizons)
    until = torch.tensor(tau, dtype=torch.float32)
    return {
        "tau": tau,
        "harrell_c": ConcordanceIndex()(risk, event, time).item(),
        "uno_c": ConcordanceIndex()(risk, event, time, weight=weight, tmax=until).item(),
        "auc": Auc()(risk, event, time, weight=weight, new_time=horizons, weight_new_time=at_horizon).tolist(),
        "brier": BrierScore()(values["survival"], event, time, horizons, weight, at_horizon).tolist(),
        "cox": {
            ties: neg_partial_log_likelihood(risk, event, time, ties_method=ties, reduction="sum").item()
            for ties in ("efron", "breslow")
        },
    }


def main() -> None:
    """Write the cohorts beside the values."""
    cases = []
    for seed, tied in ((0, False), (1, False), (2, True), (3, True)):
        drawn = cohort(seed, tied=tied)
        cases.append({"tied": tied, "cohort": drawn, "torchsurv": reference(drawn, tau=22.5)})
    GOLDEN.write_text(json.dumps({"version": "0.2.0", "horizons": HORIZONS, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
