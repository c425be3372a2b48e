"""A study: what is asked of a cohort, by which models, under which protocol."""

from collections.abc import Sequence, Set
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError, unknown_name
from oncoweave.core.schema import Strict, read_config
from oncoweave.data.cohort import Cohort
from oncoweave.data.persons import whose
from oncoweave.data.row_groups import groups_of
from oncoweave.nn.views import Levels
from oncoweave.train.builtin_weights import BUILTIN, weights_file
from oncoweave.train.encoder_settings import check_encoder, check_settings, named_files, placed
from oncoweave.train.finetune import start_settings
from oncoweave.train.fusion_settings import check_fusion, check_width
from oncoweave.train.main_model import main_of
from oncoweave.train.policies import check_missing
from oncoweave.train.protocol_defaults import fill_in
from oncoweave.train.read_as import read_as
from oncoweave.train.recalibration import How, check_recalibration
from oncoweave.train.texts import TextReading, check_texts

RESERVED = ("site_only", "site_only_by_patient")
RESERVED_STARTS = ("only_", "permuted_")
"""Names of the models that every study fits."""


Rate = Annotated[float, Field(ge=0, lt=1)]
Setting = float | int | str | bool | tuple[float | int | str, ...]


class ModelSpec(Strict):
    """One model of a study."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+ -]{0,99}$")
    fusion: str
    """A file on the fusion shelf; its stage decides whether a linear model, a network or one model a modality is fitted."""
    modalities: tuple[str, ...] | None = Field(default=None, min_length=1)
    """All of the study's when not given."""
    encoders: dict[str, str] = Field(default_factory=dict)
    """Encoder by modality or by kind. In a late fusion, the modalities named here get a network and the others a linear model."""
    encoder_settings: dict[str, dict[str, Setting]] = Field(default_factory=dict)
    """Of those ``encoders``, by modality or by kind as there; see their ``Config``. Paths from the place of the study file."""
    settings: dict[str, float | int | str | bool] = Field(default_factory=dict)
    """Of the fusion; see its ``Config``."""
    wrapped_settings: dict[str, dict[str, float | int | str | bool]] = Field(default_factory=dict)
    """Hybrids: settings of the fusions they wrap, by the setting that names them: ``operator``, ``feature`` or ``decision``."""
    objective: str | None = None
    """Networks: a file on the objectives shelf, where the endpoint's usual one is not wanted."""
    weights: dict[str, str] = Field(default_factory=dict)
    """Networks: what encoders start from, by modality or by kind: a file, from the place of the study file, or ``builtin``."""
    frozen: tuple[str, ...] = ()
    """Networks: those of ``weights`` that stay as they are; what stands above them is trained."""
    penalty: Literal["shared", "per_modality", "group_lasso", "ipf_lasso", "priority_lasso"] = "shared"
    """Early fusion: one ridge penalty for all columns, one for each modality's block, or a lasso (see ``train.sparse``)."""
    missing: str | None = None
    """A file on the missingness shelf: what stands in for a modality that a patient lacks; ``mask`` when not given.

    Those that act on blocks stand before a fusion of any stage, those that act on what encoders give inside a network.
    """
    missing_settings: dict[str, float | int | str | bool] = Field(default_factory=dict)
    """Of that file; see its ``Config``."""

    @property
    def stage(self) -> str:
        """Early, intermediate, late or hybrid: what the fusion sees."""
        entries = {e.name: e for e in shelf.catalogue("fusion")}
        if self.fusion not in entries:
            raise unknown_name(f"fusion (model {self.name!r})", self.fusion, entries)
        return str(entries[self.fusion].constants["STAGE"])

    @property
    def config(self) -> Any:  # noqa: ANN401  (each file has a Config of its own)
        """The fusion's ``Config``, with the settings; those that it cannot take are refused."""
        return shelf.configure("fusion", self.fusion, self.settings, where=f"model {self.name!r}")

    @property
    def wrapped(self) -> dict[str, str]:
        """The fusions that a hybrid wraps, by the setting that names them; none for all others."""
        config = self.config if self.stage == "hybrid" else None
        return {key: str(getattr(config, key)) for key in ("operator", "feature", "decision") if hasattr(config, key)}

    @property
    def levels(self) -> Levels | None:
        """The two fusions of a model that has two levels; None for all others."""
        if self.stage != "hybrid" or not hasattr(module := shelf.load("fusion", self.fusion), "levels"):
            return None
        found: Levels = module.levels(self.config)
        return found


class NetworkConfig(Strict):
    """How networks are built and trained; see ``train.loop.LoopConfig`` and ``train.network_learner.NetworkOptions``."""

    epochs: int = Field(default=60, ge=1)
    patience: int = Field(default=12, ge=1)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    warm_up: int = Field(default=0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=1e-2, ge=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    tokens: int = Field(default=65_536, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    width: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.25, ge=0, lt=1)
    modality_dropout: Rate | dict[str, Rate] = 0.0
    """Of all modalities, or by modality; those not named are never dropped."""
    members: int = Field(default=5, ge=1)
    """Networks whose predictions are averaged, each stopped on another inner fold; at most as many as there are inner folds."""

    def part(self, config: type) -> dict[str, Any]:
        """Give the settings that a dataclass has fields for."""
        names = {f.name for f in fields(config)}
        return {name: value for name, value in self.model_dump().items() if name in names}


class Protocol(Strict):
    """How patients are split, and how sure the figures are."""

    folds: int = Field(default=5, ge=2)
    repeats: int = Field(default=3, ge=1)
    scheme: Literal["cross_validation", "monte_carlo"] = "cross_validation"
    """``monte_carlo`` tests one fold of each repeat only: ten repeats of five folds are then ten random splits of four to one."""
    inner_folds: int = Field(default=5, ge=2)
    group_by_site: bool | Literal["auto"] = "auto"
    """Keep each hospital on one side; ``auto`` does so when every patient's site is known and there are as many as folds.

    Published ``splits`` are as they are: ``auto`` becomes what they do, and ``true`` refuses those with a hospital on both sides.
    """
    splits: str | None = None
    """Published splits: a table with patient_id, repeat and fold, or a folder of CSV files with columns train and val."""
    seed: int = Field(default=0, ge=0)
    horizons: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Survival: times, in the endpoint's unit, at which probabilities are predicted; one, three and five years when not given."""
    bootstrap: int = Field(default=1000, ge=100)
    permutations: int = Field(default=5, ge=0)
    """How many times, a fold, the main model is fitted to permuted outcomes; each costs another fit of it. Five are the fewest
    whose own spread tells luck from leaks (see ``evaluate.permuted``); lower it where the main model trains for hours."""


class Study(Strict):
    """Everything ``oncoweave run`` is told; the resolved form is stored in the run folder."""

    name: str
    cohort: str
    """Path of a cohort folder, from the place of the study file."""
    endpoint: str
    modalities: tuple[str, ...] | None = Field(default=None, min_length=1)
    texts: dict[str, TextReading] = Field(default_factory=dict)
    """How free text is read, by modality; one may read another's texts once more, as with words hidden and not."""
    preparation: dict[str, dict[str, Setting]] = Field(default_factory=dict)
    """How films and volumes are read and cut into tokens, by modality or by kind; see the ``Config`` of each kind."""
    models: tuple[ModelSpec, ...] | None = Field(default=None, min_length=1)
    """``standard_panel`` of early, intermediate and late fusions when not given."""
    main: str = ""
    """The model the study is about: the only one, or ``stacking``, when not given. It is named before anything is fitted, so that
    nothing is selected on the rows reported."""
    person: str | None = None
    """The column of the patient table that says whose a row is, where a row is a specimen: a person is on one side of a split."""
    stratum: str | None = None
    """The column of the patient table within whose values patients are ranked, such as the type of cancer: measures that rank,
    and comparisons by them, count pairs within it; the main ones stand beside it over all pairs."""
    groups: tuple[str, ...] = ()
    """Columns of the patient table by whose values performance is told apart, beside hospital, modalities, age and sex."""
    reference: str | None = None
    """The modality whose model is the clinical baseline; the first of kind ``record`` when not given."""
    recalibration: How = "shrunken"
    """How out-of-fold scores teach probabilities to come true; see ``train.recalibration``."""
    protocol: Protocol = Protocol()
    network: NetworkConfig = NetworkConfig()


def standard_panel(kinds: Set[str]) -> tuple[ModelSpec, ...]:
    """List the fusions that are compared when a study of such kinds of modalities names none."""
    early = (
        ModelSpec(name="early_concat", fusion="concat"),
        ModelSpec(name="early_pca", fusion="pca"),
        ModelSpec(name="early_blocks", fusion="pca", penalty="per_modality"),
    )
    networks = {"joint_network": "joint", "experts_network": "experts"}
    if {"slide", "expression"} <= kinds:
        networks["mmp_network"] = "mmp"  # made for these two: a few tokens of each
    late = {"late_mean": "average", "late_weighted": "weighted", "late_rank": "rank", "late_product": "product"}
    others = networks | late | {"stacking": "stacking"}
    return (*early, *(ModelSpec(name=name, fusion=fusion) for name, fusion in others.items()))


def read_study(path: Path) -> Study:
    """Read a study file; paths of the cohort, of published splits and of weights are taken from the file's folder."""
    study, folder = read_config(Study, path), Path(path).parent
    splits = study.protocol.splits
    protocol = study.protocol.model_copy(update={"splits": None if splits is None else str((folder / splits).resolve())})
    models = study.models and tuple(_placed(m, folder) for m in study.models)
    texts = {
        name: t if t.tokenizer is None else t.model_copy(update={"tokenizer": str((folder / t.tokenizer).resolve())})
        for name, t in study.texts.items()
    }
    update = {"cohort": str((folder / study.cohort).resolve()), "protocol": protocol, "models": models, "texts": texts}
    return study.model_copy(update=update)


def _placed(model: ModelSpec, folder: Path) -> ModelSpec:
    weights = {n: path if path == BUILTIN else str((folder / path).resolve()) for n, path in model.weights.items()}
    settings = {
        name: placed(model.encoders[name], given, folder) if name in model.encoders else given
        for name, given in model.encoder_settings.items()
    }
    return model.model_copy(update={"weights": weights, "encoder_settings": settings})


def files_of(study: Study) -> list[Path]:
    """List the files that a study's models are made of beside the cohort: weights, and those that settings of encoders name."""
    found = set()
    for model in study.models or ():
        found |= {Path(path) for path in model.weights.values()}
        for name, given in model.encoder_settings.items():
            found |= {Path(path) for path in named_files(model.encoders[name], given).values() if Path(path).is_file()}
    return sorted(found)


def resolve(study: Study, cohort: Cohort) -> Study:
    """Fill in what was left open, and refuse what the cohort cannot answer."""
    check_recalibration(study.recalibration, cohort.endpoint(study.endpoint).kind)
    readable = shelf.names("modalities")
    modalities = study.modalities or tuple(m for m, spec in cohort.modalities.items() if spec.kind in readable)
    _refuse_repeats(f"study {study.name!r}: modalities", modalities)
    if study.person is not None:
        whose(cohort, study.person)
    _refuse_repeats(f"study {study.name!r}: groups", study.groups)
    for what, column in (("stratum", study.stratum), *(("groups", name) for name in study.groups)):
        if column is not None:
            groups_of(cohort, column, what=what)
    for name in modalities:
        if name not in cohort.modalities:
            raise unknown_name("modality", name, cohort.modalities)
    check_texts(study.texts, modalities)
    rates = study.network.modality_dropout
    for name in rates if isinstance(rates, dict) else ():
        if name not in modalities:
            raise unknown_name("modality (network: modality_dropout)", name, modalities)
    kinds = {m: cohort.modalities[m].kind for m in modalities}
    read_as(kinds, study.preparation)
    models = study.models or standard_panel(set(kinds.values()))
    names = [m.name for m in models]
    _refuse_repeats(f"study {study.name!r}: model names", names)
    reserved = [n for n in names if n in RESERVED or n.startswith(RESERVED_STARTS)]
    if reserved:
        msg = f"study {study.name!r}: the model name {reserved[0]!r} is that of a baseline; choose another"
        raise ConfigError(msg)
    reference = study.reference or next((m for m in modalities if cohort.modalities[m].kind == "record"), modalities[0])
    if reference not in modalities:
        raise unknown_name("modality (reference)", reference, modalities)
    kind = cohort.endpoint(study.endpoint).kind
    resolved = _with_late_fusion(tuple(_resolve_model(m, kinds, kind) for m in models), modalities)
    for model in models:
        check_width(model, study.network.width)
    return study.model_copy(
        update={
            "modalities": modalities,
            "models": resolved,
            "main": main_of(study.name, study.main, names),
            "reference": reference,
            "protocol": fill_in(study.protocol, cohort, cohort.endpoint(study.endpoint)),
        }
    )


def _with_late_fusion(models: tuple[ModelSpec, ...], modalities: tuple[str, ...]) -> tuple[ModelSpec, ...]:
    """Add the mean of the modalities' predictions as a baseline of every fusion, where no late fusion of all is asked for."""
    if len(modalities) < 2 or any(m.stage == "late" and m.modalities == modalities for m in models):
        return models
    name = "late_mean_of_all" if any(m.name == "late_mean" for m in models) else "late_mean"
    return (*models, ModelSpec(name=name, fusion="average", modalities=modalities))


def _resolve_model(model: ModelSpec, kinds: dict[str, str], endpoint_kind: str) -> ModelSpec:
    chosen, stage, encoders = model.modalities or tuple(kinds), model.stage, model.encoders
    files = {n: weights_file(path, encoders[n]) if n in encoders else path for n, path in model.weights.items()}
    model = model.model_copy(update={"weights": files})
    _refuse_repeats(f"model {model.name!r}: modalities", chosen)
    if strange := [name for name in chosen if name not in kinds]:
        raise unknown_name(f"modality of model {model.name!r}", strange[0], kinds)
    check_fusion(model, chosen, endpoint_kind)
    seen = stage if model.levels is None else ModelSpec(name=model.name, fusion=model.levels.feature).stage
    check_missing(model, seen, {m: kinds[m] for m in chosen})
    if stage == "early" and (model.encoders or model.encoder_settings or model.objective or model.weights or model.frozen):
        msg = f"model {model.name!r}: encoders and objectives belong to networks, as weights do; {model.fusion!r} is early"
        raise ConfigError(msg)
    if model.objective is not None and seen in ("early", "late") and not model.encoders:
        msg = f"model {model.name!r}: objective {model.objective!r} trains networks, which this model has none of; name encoders"
        raise ConfigError(msg)
    _check_network(model, {m: kinds[m] for m in chosen}, endpoint_kind)
    return model.model_copy(update={"modalities": chosen})


def _check_network(model: ModelSpec, kinds: dict[str, str], endpoint_kind: str) -> None:
    named = {*kinds, *kinds.values()}
    for field in ("encoders", "encoder_settings", "weights", "frozen"):
        for name in getattr(model, field):
            if name not in named:
                raise unknown_name(f"modality or kind ({field} of model {model.name!r})", name, named)
    for key, kind in ((k, kind) for m, kind in kinds.items() if (k := m if m in model.encoders else kind) in model.encoders):
        told = f"give their file: weights: {{{key}: FILE}}"
        weights = model.weights.get(key)
        check_encoder(model.encoders[key], kind, weights=weights, where=f"model {model.name!r}", key=told)
    if model.objective is not None and endpoint_kind not in getattr(shelf.load("objectives", model.objective), "KINDS", ()):
        msg = f"model {model.name!r}: objective {model.objective!r} does not fit a {endpoint_kind} endpoint"
        raise ConfigError(msg)
    _check_weights(model)
    for name, settings in model.encoder_settings.items():
        if name not in model.encoders:
            msg = f"model {model.name!r}: encoder_settings of {name!r} belong to an encoder; name it: encoders: {{{name}: ...}}"
            raise ConfigError(msg)
        path = model.weights.get(name)
        start = {} if path is None else start_settings(Path(path), model.encoders[name])
        check_settings(model.encoders[name], settings, where=f"model {model.name!r}", start=start)


def _check_weights(model: ModelSpec) -> None:
    for name, path in model.weights.items():
        if name not in model.encoders:
            msg = f"model {model.name!r}: weights of {name!r} belong to an encoder; name it as well: encoders: {{{name}: ...}}"
            raise ConfigError(msg)
        if not Path(path).is_file():
            msg = f"model {model.name!r}: weights of {name!r}: {path} is no file; they are never replaced by random ones"
            raise ConfigError(msg)
        start_settings(Path(path), model.encoders[name])
    loose = sorted(set(model.frozen) - model.weights.keys())
    if loose:
        msg = f"model {model.name!r}: frozen names {loose[0]!r}, which has no weights; random weights are not worth freezing"
        raise ConfigError(msg)


def _refuse_repeats(what: str, names: Sequence[str]) -> None:
    repeated = sorted({n for n in names if list(names).count(n) > 1})
    if repeated:
        msg = f"{what} must differ, {repeated[0]!r} stands there more than once"
        raise ConfigError(msg)


def run_study(study: Study | Path | str, out: Path | str, *, jobs: int = 1) -> Path:
    """Run a study into a folder and return the folder; see ``train.protocol.run``.

    With more than one of ``jobs``, a script that calls this has to do so below ``if __name__ == "__main__":``, as the processes
    import it.
    """
    from oncoweave.train.protocol import run

    return run(study if isinstance(study, Study) else read_study(Path(study)), Path(out), jobs=jobs)
