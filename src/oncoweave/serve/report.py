"""The report of a run: one self-contained HTML page, made from the tables of its folder alone."""

from pathlib import Path

from oncoweave.core.files import publish
from oncoweave.serve import wording
from oncoweave.serve.page import Page, render
from oncoweave.serve.privacy import eraser
from oncoweave.serve.run_folder import RunFolder, read_run
from oncoweave.serve.sections.acting import acting_section
from oncoweave.serve.sections.audits import audits_section
from oncoweave.serve.sections.certainty import certainty_section
from oncoweave.serve.sections.cohort import flow_section, missingness_section
from oncoweave.serve.sections.decided import decided_section
from oncoweave.serve.sections.differences import comparison_section, contribution_section
from oncoweave.serve.sections.groups import groups_section
from oncoweave.serve.sections.methods import methods_section, provenance_section, warnings_section
from oncoweave.serve.sections.models import measures_section, performance_section
from oncoweave.serve.sections.risk import calibration_section, km_section
from oncoweave.serve.verdict import verdict


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    The page asks nothing of the network, needs no scripts, and holds no patient identifiers. A table that the folder lacks leaves
    a section that says so.

    Raises:
        DataError: the folder, its manifest or its predictions are missing; the text names them and the command that makes them.
    """
    folder = read_run(run)
    path = folder.path / "report.html"
    html = render(page_of(folder))
    with publish(path) as partial:
        partial.write_text(html, encoding="utf-8")
    return path


def page_of(run: RunFolder) -> Page:
    """Put the report of a run together."""
    erase = eraser(run.predictions["patient_id"].unique())
    sections = (
        flow_section(run, erase),
        missingness_section(run),
        performance_section(run),
        comparison_section(run),
        km_section(run),
        calibration_section(run),
        acting_section(run),
        *decided_section(run),
        certainty_section(run),
        contribution_section(run, erase),
        groups_section(run),
        measures_section(run),
        audits_section(run, erase),
        methods_section(run),
        warnings_section(run, erase),
        provenance_section(run, erase),
    )
    return Page(
        title=str(run.manifest["name"]),
        facts=_facts(run),
        verdict=verdict(run),
        sections=sections,
        colophon="Made by oncoweave from the tables of this run alone. The page holds no patient identifiers.",
    )


def _facts(run: RunFolder) -> tuple[tuple[str, str], ...]:
    patients = run.predictions.drop_duplicates("patient_id")
    facts = [
        ("Endpoint", f"{wording.spaced(run.endpoint.name)} ({run.endpoint.kind})"),
        ("Patients", wording.count(len(patients))),
    ]
    if "event" in patients:
        facts.append(("Events", wording.count(float(patients["event"].sum()))))
    if run.num_sites:
        facts.append(("Hospitals", wording.count(run.num_sites)))
    if run.metrics is not None:
        models = run.metrics.loc[run.metrics["role"].isin(["baseline", "single", "fusion"]), "model"]
        facts.append(("Models", wording.count(models.nunique())))
    facts.append(("Date", str(run.manifest["created"])[:10]))
    return tuple(facts)
