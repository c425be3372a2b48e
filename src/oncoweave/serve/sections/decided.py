"""Which line of a decision list decided for how many patients, and what became of them."""

import numpy as np
import pandas as pd

from oncoweave.evaluate.tables import DECIDED_BY
from oncoweave.serve import wording
from oncoweave.serve.page import Row, Section, Table
from oncoweave.serve.run_folder import RunFolder


def decided_section(run: RunFolder) -> tuple[Section, ...]:
    """Show the lines that decided, most patients first; nothing where the main model is no decision list."""
    told = run.predictions
    if DECIDED_BY not in told or told.loc[told["model"] == run.main, DECIDED_BY].isna().all():
        return ()
    rows = told[(told["model"] == run.main) & (told["repeat"] == told["repeat"].min())]
    counted = {"survival": "event", "binary": "y"}.get(run.endpoint.kind)
    written = []
    for line in rows[DECIDED_BY].value_counts().index:
        of_line = rows[rows[DECIDED_BY] == line]
        cells = [str(line), wording.count(len(of_line))]
        written.append(Row(cells=(*cells, *([] if counted is None else [_share(of_line[counted])]))))
    header = ("Line", "Patients", *({"event": ("With an event",), "y": ("With the outcome",)}.get(str(counted), ())))
    until = " Events are those seen before follow-up ended." if counted == "event" else ""
    caption = (
        f"{wording.capital(wording.model(run.main))}: the line of the decision list that decided, for tested patients (first"
        " repeat), most patients first. The first line that holds decides; a number in it is the share of the training patients"
        " of the fold who score lower by models that did not see them. Those scores spread less than the final model's, so that"
        f" a line at the end of the scale decides for more than its share.{until}"
    )
    return (
        Section(key="decided", title="Which line decided", blocks=(Table(caption=caption, header=header, rows=tuple(written)),)),
    )


def _share(came: pd.Series) -> str:
    known = came.to_numpy(dtype=float, na_value=np.nan)
    known = known[~np.isnan(known)]
    return f"{wording.count(known.sum())} ({wording.percent(float(known.sum()), float(len(known)))})" if len(known) else "–"
