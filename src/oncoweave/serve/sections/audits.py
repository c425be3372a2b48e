"""What the run checked of itself: every audit with its verdict, failures first."""

from collections.abc import Callable

from oncoweave.serve import wording
from oncoweave.serve.page import Block, Prose, Row, Section, Table, absent
from oncoweave.serve.run_folder import RunFolder


def audits_section(run: RunFolder, erase: Callable[[str], str]) -> Section:
    """List the audits, each named by the fault it looks for."""
    key, title, table = "audits", "Audits", run.audits
    if table is None or table.empty:
        return absent(key, title, "The run folder has no audits.parquet, so it is not known which faults were looked for.")
    rows = tuple(
        Row(
            cells=(wording.capital(str(row["audit"])), str(row["verdict"]), erase(str(row["evidence"])), wording.count(row["n"])),
            faint=row["verdict"] == "not applicable",
            strong=row["verdict"] == "failed",
        )
        for _, row in table.iterrows()
    )
    counts = table["verdict"].value_counts()
    told = ", ".join(f"{wording.count(counts.get(v, 0))} {v}" for v in ("failed", "passed", "not applicable"))
    blocks: list[Block] = [
        Prose(text=f"The run looked for {wording.plural(len(table), 'kind')} of fault by itself: {told}."),
        Table(
            caption="Audits, each named by the fault it looks for; n counts the patients looked at.",
            header=("Fault", "Verdict", "Evidence", "n"),
            rows=rows,
            num_text=3,
        ),
    ]
    return Section(key=key, title=title, blocks=tuple(blocks))
