"""All audits of a study, in one table."""

import pandas as pd

from oncoweave.train.audits.amounts import audit_events, audit_horizons
from oncoweave.train.audits.baselines import audit_missingness, audit_null, audit_site_only
from oncoweave.train.audits.columns import audit_columns, audit_times
from oncoweave.train.audits.optimism import audit_epochs
from oncoweave.train.audits.refits import audit_refits
from oncoweave.train.audits.result import Audit, Audited
from oncoweave.train.audits.sides import audit_patients, audit_sites, audit_slides, audit_twins
from oncoweave.train.audits.sources import audit_sources

_AUDITS = (
    audit_refits,
    audit_patients,
    audit_sites,
    audit_twins,
    audit_slides,
    audit_columns,
    audit_null,
    audit_site_only,
    audit_missingness,
    audit_sources,
    audit_events,
    audit_horizons,
    audit_times,
)


def run_audits(run: Audited, optimism: pd.DataFrame) -> list[Audit]:
    """Run every audit; ``optimism`` is what :func:`oncoweave.train.audits.optimism.measure_optimism` made."""
    return [*(audit(run) for audit in _AUDITS), audit_epochs(run, optimism)]
