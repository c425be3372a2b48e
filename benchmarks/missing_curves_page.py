"""The table and the picture of ``missing_curves.py``."""

import numpy as np
import pandas as pd

from oncoweave.serve.charts import draw

_WIDTH, _HEIGHT, _COLUMNS = 150.0, 104.0, 6
_STYLE = (
    "<style>text{font:10px Helvetica,Arial,sans-serif;fill:#222}.name{font-weight:bold;font-size:11px}.plain{stroke:#0072b2;"
    "fill:none;stroke-width:1.6}.dropped{stroke:#d55e00;fill:none;stroke-width:1.6;stroke-dasharray:5 3}.band{fill:#0072b2;"
    "opacity:.13;stroke:none}.hair{stroke:#ccc}.chance{stroke:#888;stroke-dasharray:2 2}</style>"
)


def markdown(curves: pd.DataFrame, stages: dict[str, str], gone: dict[float, float]) -> str:
    """One row an operator: its figure at each rate, plain and with modality dropout, and what dropout adds on the whole.

    ``gone`` is the share of what patients have that each rate takes away.
    """
    values = curves[curves["metric"] != "gain"]
    metric, rates = values["metric"].iloc[0], sorted(values["rate"].dropna().unique())
    head = [f"{rate:.0%} ({gone[rate]:.0%})" for rate in rates]
    lines = [
        f"{metric}; n = {curves['n'].iloc[0]:.0f}, events = {curves['events'].iloc[0]:.0f}. Columns: the chance with which each"
        " modality is taken away, and in brackets the share of them that is gone, as one of each patient's stays.",
        "",
        f"| operator | stage | dropout | {' | '.join(head)} | mean (95 %) | gain of dropout (95 %) |",
        "|---|---|---|" + "---|" * (len(rates) + 2),
    ]
    means = values[values["rate"].isna()].sort_values("value", ascending=False)
    for mean in means.itertuples():
        own = values[(values["operator"] == mean.operator) & (values["dropout"] == mean.dropout)].set_index("rate")["value"]
        cells = [f"{own[rate]:.3f}" for rate in rates]
        gain = curves[(curves["metric"] == "gain") & (curves["operator"] == mean.operator) & curves["rate"].isna()]
        told = shown(gain.iloc[0], "+") if len(gain) and mean.dropout else ""
        lines.append(
            f"| {mean.operator} | {stages[mean.operator]} | {f'{mean.dropout:g}' if mean.dropout else ''} | {' | '.join(cells)}"
            f" | {shown(mean._asdict())} | {told} |"
        )
    return "\n".join(lines) + "\n"


def shown(row: dict | pd.Series, sign: str = "") -> str:
    return f"{row['value']:{sign}.3f} ({row['low']:{sign}.3f} to {row['high']:{sign}.3f})"


def chart(curves: pd.DataFrame) -> str:
    """One small panel an operator, in the order of the table; solid plain, dashed with modality dropout."""
    values = curves[(curves["metric"] != "gain")]
    points = values.dropna(subset=["rate"])
    low, high = np.floor(points["low"].min() * 20) / 20, np.ceil(points["high"].max() * 20) / 20
    order = values[values["rate"].isna() & (values["dropout"] == 0)].sort_values("value", ascending=False)["operator"]
    body, rows = [], -(-len(order) // _COLUMNS)
    for place, operator in enumerate(order):
        left, top = 34 + (place % _COLUMNS) * (_WIDTH + 40), 30 + (place // _COLUMNS) * (_HEIGHT + 44)
        x = draw.Scale(low=0.0, high=float(points["rate"].max()), start=left, end=left + _WIDTH)
        y = draw.Scale(low=float(low), high=float(high), start=top + _HEIGHT, end=top)
        body += [draw.text(left, top - 6, operator, class_="name")]
        for tick in np.arange(low, high + 0.01, 0.1):
            body += [
                draw.line(left, y(tick), left + _WIDTH, y(tick), class_="hair"),
                draw.text(left - 26, y(tick) + 3, f"{tick:.2f}"),
            ]
        body += [draw.text(x(r), top + _HEIGHT + 12, f"{r:.0%}", text_anchor="middle") for r in sorted(points["rate"].unique())]
        for dropout, name in ((0.0, "plain"), (None, "dropped")):
            own = points[(points["operator"] == operator) & ((points["dropout"] == 0) == (dropout == 0))].sort_values("rate")
            if own.empty:
                continue
            if name == "plain":
                edge = [(x(r), y(v)) for r, v in zip(own["rate"], own["high"], strict=True)]
                edge += [(x(r), y(v)) for r, v in zip(own["rate"][::-1], own["low"][::-1], strict=True)]
                body.append(draw.polygon(edge, class_="band"))
            body.append(draw.polyline([(x(r), y(v)) for r, v in zip(own["rate"], own["value"], strict=True)], class_=name))
    width, height = 40 + _COLUMNS * (_WIDTH + 40), 40 + rows * (_HEIGHT + 44)
    described = "One panel an operator: solid without modality dropout in training, with its 95 % interval; dashed with it."
    return draw.svg(
        width, height, [_STYLE, *body], title="Performance against the rate of missing modalities", description=described
    )
