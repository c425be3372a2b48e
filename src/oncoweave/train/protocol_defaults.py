"""What a protocol leaves open, decided by the cohort: whether hospitals are kept apart, and the horizons."""

from pathlib import Path
from typing import TYPE_CHECKING

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.units import convert_time
from oncoweave.data.cohort import Cohort
from oncoweave.data.how_split import how_split
from oncoweave.data.published_splits import read_published
from oncoweave.data.splits import site_names

if TYPE_CHECKING:
    from oncoweave.train.study import Protocol


def fill_in(protocol: "Protocol", cohort: Cohort, endpoint: Endpoint) -> "Protocol":
    """Decide ``group_by_site: auto`` and the horizons of a survival endpoint; others have none."""
    grouped, horizons = protocol.group_by_site, protocol.horizons
    if grouped == "auto":
        grouped = _keeps_apart(protocol, cohort)
    if endpoint.kind == "survival" and horizons is None:
        years = [convert_time(y, source="years", target=endpoint.time_unit or "years") for y in (1, 3, 5)]
        horizons = tuple(round(h) if endpoint.time_unit != "years" else h for h in years)
    if endpoint.kind != "survival":
        horizons = ()
    return protocol.model_copy(update={"group_by_site": grouped, "horizons": horizons})


def _keeps_apart(protocol: "Protocol", cohort: Cohort) -> bool:
    """Published splits keep hospitals apart or do not; of our own they are kept apart where that is possible."""
    if protocol.splits is None:
        site = site_names(cohort.site, len(cohort))
        return bool(site.notna().all()) and site.nunique() >= protocol.folds
    splits = read_published(Path(protocol.splits))
    return how_split(splits[splits["patient_id"].isin(cohort.patient_ids)], cohort.patient_ids, cohort.site).unseen
