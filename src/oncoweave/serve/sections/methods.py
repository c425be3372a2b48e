"""How the figures came about: methods in words from the resolved study, warnings, and what is needed to repeat the run."""

import hashlib
from collections.abc import Callable, Mapping

import yaml

from oncoweave.data.how_split import hospital_words, scheme_words
from oncoweave.serve import findings, wording
from oncoweave.serve.page import Block, Folded, Items, Prose, Row, Section, Table
from oncoweave.serve.run_folder import RunFolder

_MOST_FILES = 12
_MOST_NAMED = 14

_ENDPOINTS = {
    "survival": "time to the event, censored patients included",
    "binary": "a yes-or-no outcome",
    "multiclass": "one of several classes",
    "multilabel": "several labels, each of which may be unknown for a patient",
    "ordinal": "ordered grades",
    "regression": "a measurement",
}


def methods_section(run: RunFolder) -> Section:
    """Describe the analysis from the resolved study; what the study does not record is not claimed."""
    paragraphs = [_who(run), _validation(run), _intervals(run), _models(run)]
    return Section(key="methods", title="Methods", blocks=tuple(Prose(text=p) for p in paragraphs if p))


def _who(run: RunFolder) -> str:
    cohort = _mapping(run.manifest["cohort"])
    kinds = _mapping(cohort.get("modalities"))
    used = [m for m in _strings(_mapping(run.manifest["study"]).get("modalities")) if m in kinds] or list(kinds)
    named = wording.listed([f"{m} ({kinds[m]})" for m in used])
    endpoint = run.endpoint
    unit = f", in {endpoint.time_unit}" if endpoint.time_unit else ""
    classes = f" ({wording.listed(list(endpoint.classes), last='or')})" if endpoint.classes else ""
    told = (
        f"The cohort {cohort.get('name', '')} holds {wording.count(cohort.get('n'))} patients with"
        f" {wording.plural(len(used), 'modality', 'modalities')}: {named}. The endpoint {wording.spaced(endpoint.name)} is"
        f" {_ENDPOINTS[endpoint.kind]}{classes}{unit}; it is read from {wording.listed(list(endpoint.columns))}."
    )
    return told


def _validation(run: RunFolder) -> str:
    protocol = run.protocol
    if not protocol:
        return "The manifest holds no protocol, so how patients were split is not known."
    published = bool(protocol.get("splits"))
    splits = (
        "splits that were given as a table were used, as they are"
        if published
        else "patients were split at random, stratified by outcome"
    )
    if run.split is None:
        told = (
            f"How many patients each fold tested was not recorded; {splits}. All samples of a patient were on one side of every"
        )
        told += " split; on which sides the patients of a hospital stood was not recorded either"
    else:
        told = f"Performance was estimated by {scheme_words(run.split)}; {splits}. All samples of a patient were on one side"
        told += f" of every split; {hospital_words(run.split)}"
    told += ". Imputation, scaling, selection, cut-offs and the weights of a fusion were fitted on training patients only."
    if protocol.get("inner_folds"):
        told += (
            f" Penalties, stopping times and the weights of late fusions were chosen inside the training patients, by"
            f" {wording.count(protocol['inner_folds'])}-fold cross-validation, of fewer folds where they were too few for"
            " that, never on the patients the figures are for."
        )
    return told


def _intervals(run: RunFolder) -> str:
    protocol, told = run.protocol, ""
    if wording.known(protocol.get("bootstrap")):
        told = f"Intervals are 95% and come from {wording.count(protocol['bootstrap'])} bootstrap samples of {run.drawn}"
        told += ", within folds" if protocol.get("repeats") == 1 else ""
        kind, read = run.endpoint.kind, []
        if kind in ("binary", "multiclass", "multilabel"):
            read += ["bias-corrected and accelerated (BCa) for areas under the ROC curve", "logit for average precision"]
        if kind in ("binary", "multiclass", "ordinal"):
            read.append("simulated outcomes instead for calibration errors")
        read += ["expanded percentiles (Hesterberg 2015) for means over patients", "percentiles for the others"]
        told += f": {wording.listed(read)}"
        told += ". "
    told += "Measures that rank compare patients within a fold, as scores of different folds have no common scale"
    if run.stratum is not None:
        told += (
            f", and of the same {wording.spaced(run.stratum)}, as telling these apart is not the question; so do comparisons of"
            " models. Measures called “over all pairs” compare all patients of a fold"
        )
    told += ". "
    methods = sorted({str(m) for m in run.comparisons["method"].dropna()}) if run.comparisons is not None else []
    if methods:
        told += f"Models were compared in pairs on the same patients ({wording.listed(methods)}). "
    horizons = protocol.get("horizons")
    if isinstance(horizons, list) and horizons and run.endpoint.time_unit:
        told += (
            f"Survival probabilities were predicted at {wording.listed([f'{h:g}' for h in horizons])} {run.endpoint.time_unit}. "
        )
    null = findings.null_spread(run)
    if null is not None:
        times = "once" if null.runs == 1 else f"{wording.count(null.runs)} times"
        told += (
            f"To check the whole procedure, the main model was also trained on permuted outcomes, {times}, and scored on the true"
            " ones; "
        )
        told += (
            "the interval of the mean is a t interval over these runs."
            if null.enough
            else "with so few runs the interval of the mean is approximated, on the wide side, from the bootstrap and from folds."
        )
    return told.strip()


def _models(run: RunFolder) -> str:
    models = _mapping(run.manifest["study"]).get("models")
    told = (
        f"The model the study is about, {wording.model(run.main)}, and the baseline, {wording.model(run.reference)}, were named"
        " before the analysis."
    )
    if not isinstance(models, list | tuple) or not models:
        return told
    described = [f"{m['name']} ({m.get('fusion', 'fusion not recorded')})" for m in models if isinstance(m, dict) and "name" in m]
    if not described:
        return told
    rest = len(described) - _MOST_NAMED
    shown = [*described[:_MOST_NAMED], *([f"{wording.count(rest)} more"] if rest > 0 else [])]
    return f"{told} Fusions compared, each with its method in brackets: {wording.listed(shown)}."


def warnings_section(run: RunFolder, erase: Callable[[str], str]) -> Section:
    """List what the run warned of, and what no study of this kind can show."""
    warned = tuple(wording.capital(erase(str(w))) for w in _strings(run.manifest["warnings"]))
    blocks: list[Block] = []
    if warned:
        blocks += [Prose(text=f"The run gave {wording.plural(len(warned), 'warning')}:"), Items(items=warned)]
    else:
        blocks.append(Prose(text="The run gave no warnings."))
    blocks += [Prose(text="Whatever the figures say:"), Items(items=tuple(_limits(run)))]
    return Section(key="limits", title="Warnings and limitations", blocks=tuple(blocks))


def _limits(run: RunFolder) -> list[str]:
    limits = []
    num = run.predictions["patient_id"].nunique()
    if num < 100:
        limits.append(f"With {wording.plural(num, 'patient')} every interval here is wide and may itself be inaccurate.")
    if run.num_sites > 1 and (run.split is None or not run.split.unseen):
        limits.append("Hospitals may be shared between training and test patients; in a new hospital expect less.")
    if run.num_sites < 2:
        limits.append("The patients come from one hospital, or their hospital is not recorded; nothing is known of others.")
    limits.append("The data are of one cohort. Before clinical use a model must be locked and tested on patients elsewhere.")
    limits.append("A prediction is an association. It does not say what would happen under another treatment.")
    return limits


def provenance_section(run: RunFolder, erase: Callable[[str], str]) -> Section:
    """List versions, hashes, seed and the resolved study."""
    versions = {str(k): str(v) for k, v in _mapping(run.manifest["versions"]).items()}
    hashes = {str(k): str(v) for k, v in _mapping(run.manifest["hashes"]).items()}
    facts = [("Seed", str(run.manifest["seed"])), ("Run finished", str(run.manifest["created"]))]
    if run.manifest.get("commit"):
        facts.append(("Commit", str(run.manifest["commit"])))
    if wording.known(run.manifest.get("seconds")):
        facts.append(("Computing time", _duration(float(str(run.manifest["seconds"])))))
    facts.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or "not recorded"))
    study = yaml.safe_dump(run.manifest["study"], sort_keys=False, allow_unicode=True)
    files = tuple(Row(cells=(erase(name), value)) for name, value in gather_hashes(hashes))
    return Section(
        key="provenance",
        title="What is needed to repeat this",
        blocks=(
            Table(caption="The run.", header=("", ""), rows=tuple(Row(cells=fact) for fact in facts), num_text=2),
            Table(caption="Data, by content (SHA-256).", header=("File", "Hash"), rows=files, num_text=2)
            if files
            else Prose(text="The manifest holds no hashes, so it cannot be shown which data were used.", role="absent"),
            Folded(summary="The resolved study", text=erase(study)),
        ),
    )


def gather_hashes(hashes: Mapping[str, str]) -> list[tuple[str, str]]:
    """List file hashes; a folder of many files becomes one line with the hash of their sorted lines ``name hash``."""
    folders: dict[str, list[str]] = {}
    for name in sorted(hashes):
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    lines = []
    for folder, names in folders.items():
        if folder and len(names) > _MOST_FILES:
            joined = "".join(f"{name} {hashes[name]}\n" for name in names)
            lines.append(
                (
                    f"{folder}/ ({wording.plural(len(names), 'file')}, hash of their list)",
                    hashlib.sha256(joined.encode()).hexdigest(),
                )
            )
        else:
            lines += [(name, hashes[name]) for name in names]
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list | tuple) else []
