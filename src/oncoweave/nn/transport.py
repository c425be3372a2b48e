"""Entropic optimal transport between two sets of tokens whose masses may be partly left behind."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def unbalanced_plan(
    cost: Float[Tensor, "batch query key"],
    *,
    keep_query: Bool[Tensor, "batch query"],
    keep_key: Bool[Tensor, "batch key"],
    reg: float,
    relax: float,
    iterations: int,
) -> Float[Tensor, "batch query key"]:
    """Find the plan P that minimises <cost, P> + reg KL(P | a b') + relax KL(P 1 | a) + relax KL(P' 1 | b).

    ``a`` and ``b`` are uniform over the kept tokens, so that a token twice in a bag counts as one of double mass. Sinkhorn's
    iterations in the log domain (Chizat et al. 2018, alg. 1) find the dual potentials without a graph; one step of Newton's
    method on the potentials of the queries then both sharpens them and carries the exact gradient (the implicit function theorem:
    memory does not grow with the iterations). Work is done in float32 at least. Rows and columns not kept are zero, as is
    everything of a patient one of whose sets is empty.
    """
    with torch.autocast(cost.device.type, enabled=False):
        scaled = cost.to(torch.promote_types(cost.dtype, torch.float32)) / reg
        rho = relax / (relax + reg)
        log_a, log_b = (_log_masses(keep, scaled.dtype) for keep in (keep_query, keep_key))
        with torch.no_grad():
            g = scaled.new_zeros(keep_query.shape)
            for _ in range(iterations):
                g = _query_step(_key_step(g, scaled, log_a, rho), scaled, log_b, rho)
            f = _key_step(g, scaled, log_a, rho)
            over_queries = torch.softmax(log_a.unsqueeze(2) + g.unsqueeze(2) - scaled, dim=1)
            over_keys = torch.softmax(log_b.unsqueeze(1) + f.unsqueeze(1) - scaled, dim=2)
            slope = rho**2 * over_keys @ over_queries.transpose(1, 2)
            inverse = torch.linalg.inv(torch.eye(slope.shape[1], dtype=slope.dtype, device=slope.device) - slope)
        step = _query_step(_key_step(g, scaled, log_a, rho), scaled, log_b, rho) - g
        g = g + (inverse @ step.unsqueeze(2)).squeeze(2)
        f = _key_step(g, scaled, log_a, rho)
        log_plan = log_a.unsqueeze(2) + log_b.unsqueeze(1) + g.unsqueeze(2) + f.unsqueeze(1) - scaled
        kept = keep_query.unsqueeze(2) & keep_key.unsqueeze(1)
        return torch.where(kept, torch.exp(torch.where(kept, log_plan, 0.0)), 0.0).to(cost.dtype)


def _log_masses(keep: Bool[Tensor, "batch token"], dtype: torch.dtype) -> Float[Tensor, "batch token"]:
    """Log of equal masses that sum to one; an empty row has them everywhere, so that nothing is 0/0: it is cut out at the end."""
    kept = keep | ~keep.any(dim=1, keepdim=True)
    share = -torch.log(kept.sum(dim=1, keepdim=True).to(dtype))
    return torch.where(kept, share, -torch.inf)


def _key_step(g: Tensor, scaled: Tensor, log_a: Tensor, rho: float) -> Float[Tensor, "batch key"]:
    return -rho * torch.logsumexp((log_a + g).unsqueeze(2) - scaled, dim=1)


def _query_step(f: Tensor, scaled: Tensor, log_b: Tensor, rho: float) -> Float[Tensor, "batch query"]:
    return -rho * torch.logsumexp((log_b + f).unsqueeze(1) - scaled, dim=2)
