"""The audits of a run, written into its folder."""

from pathlib import Path

from oncoweave.train.audits.every import run_audits
from oncoweave.train.audits.optimism import measure_optimism
from oncoweave.train.audits.result import Audited, audits_table
from oncoweave.train.results import write_table


def write_audits(out: Path, run: Audited) -> list[Path]:
    """Run every audit and write ``audits.parquet``; returns the files written.

    Where the study trains a network, ``optimism.parquet`` has its measure by fold, and ``metrics.parquet`` a column ``optimism``.
    """
    optimism = measure_optimism(run)
    written = [write_table(out / "audits.parquet", audits_table(run_audits(run, optimism)))]
    of_model = optimism.groupby("model")["optimism"].mean()
    gained = run.metrics["model"].map(of_model).where(run.metrics["metric"] == run.metric).astype(float)
    written.append(write_table(out / "metrics.parquet", run.metrics.assign(optimism=gained)))
    return written + ([] if optimism.empty else [write_table(out / "optimism.parquet", optimism)])
