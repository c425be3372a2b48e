"""Mean ranks of models over tasks with the critical difference: models that one bar joins cannot be told apart."""

import numpy as np

from oncoweave.evaluate.ranking import Ranking
from oncoweave.serve.charts import draw

_WIDTH = 640.0
_ROW = 22.0
_MOST_LABEL = 250.0
_BAR_GAP = 12.0


def rank_plot(ranking: Ranking, *, title: str) -> str:
    """Draw one row a model, best first, at its mean rank; the bar above the axis is as long as the critical difference."""
    num = len(ranking.models)
    labels = min(max(draw.text_width(name) for name in ranking.models), _MOST_LABEL)
    right = _WIDTH - 70 - _BAR_GAP * (len(ranking.groups) + 1)
    scale = draw.Scale(low=1.0, high=float(max(num, 2)), start=labels + 20, end=right)
    top = 40.0
    reach = min(1.0 + ranking.critical_difference, scale.high)
    body = [
        draw.line(scale(1.0), 24, scale(reach), 24, class_="whisker"),
        *(draw.line(scale(end), 20, scale(end), 28, class_="whisker") for end in (1.0, reach)),
        draw.text(scale(1.0), 14, f"critical difference {ranking.critical_difference:.2f}", class_="note"),
    ]
    middles = top + _ROW * (np.arange(num) + 0.5)
    for name, rank, y in zip(ranking.models, ranking.mean_ranks.tolist(), middles.tolist(), strict=True):
        (shown,) = draw.wrap(name, labels, max_lines=1)
        body += [
            draw.text(0, y + 4, shown, class_="label"),
            draw.line(scale.start, y, scale.end, y, class_="hair"),
            draw.marker("circle", scale(rank), y, class_="mark", hover=f"{name}: mean rank {rank:.2f}"),
            draw.text(right + 52, y + 4, f"{rank:.2f}", class_="cell", text_anchor="end"),
        ]
    for index, (first, last) in enumerate(ranking.groups):
        x = right + 62 + _BAR_GAP * (index + 0.5)
        body.append(draw.line(x, middles[first] - 6, x, middles[last] + 6, class_="whisker joined"))
    body = [draw.element("g", *body, class_="row fusion")]
    bottom = top + _ROW * num + 4
    body += draw.x_axis(scale, bottom, f"mean rank over {ranking.tasks} tasks (1 is best)", values=draw.ticks(1.0, scale.high))
    described = "; ".join(f"{name} {rank:.2f}" for name, rank in zip(ranking.models, ranking.mean_ranks, strict=True))
    joined = "; ".join(" to ".join((ranking.models[a], ranking.models[b])) for a, b in ranking.groups) or "none"
    return draw.svg(_WIDTH, bottom + 48, body, title=title, description=f"Mean ranks: {described}. Not told apart: {joined}.")
