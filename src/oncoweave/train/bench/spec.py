"""What a bench file says: which tasks on which data, and which encoders, aggregators and fusions are tried on all of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError, unknown_name
from oncoweave.core.schema import Strict, read_config
from oncoweave.train.builtin_weights import BUILTIN, weights_file
from oncoweave.train.encoder_settings import check_encoder, check_settings, placed
from oncoweave.train.finetune import start_settings
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Setting
from oncoweave.train.task import task_names

AT = "@"
"""Between a task's name and what tells apart the places where it is asked: ``mcat_survival@tcga_luad``."""


class Place(Strict):
    """Where a task is asked."""

    cohort: str | None = None
    """Patients: a cohort folder."""
    splits: str | None = None
    """Patients: splits to use, see ``Protocol.splits``."""
    person: str | None = None
    """Patients: the column of the patient table that says whose a row is, where a row is a specimen; see ``Study.person``."""
    tiles: str | None = None
    """Tiles: the folder of the data set, laid out as the task says."""


class Aggregator(Strict):
    """An encoder of one kind of modality as the bench compares it: its variant, what it starts from, what is trained."""

    name: str
    encoder: str
    settings: dict[str, Setting] = Field(default_factory=dict)
    """Of an encoder of slides or other modalities, where they are not the variant's; see its ``Config``."""
    weights: str | None = None
    """File of weights it starts from, or ``builtin`` for those of the package; random ones when not given."""
    frozen: bool = False
    """Leave the weights as they are and train what stands above them; otherwise they are tuned."""

    @property
    def file(self) -> str | None:
        """The file of weights; None for random ones."""
        return None if self.weights is None else weights_file(self.weights, self.encoder)

    @property
    def start(self) -> str:
        """What becomes of its first weights: ``frozen``, ``tuned``, or ``random`` where it has none."""
        return "random" if self.weights is None else "frozen" if self.frozen else "tuned"


Labels = Annotated[int, Field(ge=2)] | Annotated[float, Field(gt=0, lt=1)]


class Curves(Strict):
    """How much the models lose with fewer labels: the same patients are tested, and some of those who train have a label."""

    labels: tuple[Labels, ...] = ()
    """Numbers of training patients, or shares of them."""
    models: tuple[str, ...] = ()
    """Those of them that a task has; all that are no nulls or ablations when none is given."""


class TileSpec(Strict):
    """How much is done on tasks about tiles; see ``train.tile_protocols``."""

    encoders: tuple[str | Aggregator, ...] = Field(default=("vit/nano",), min_length=1)
    """Tile encoders, the main one first; those that come with weights have these where none are named. Networks with random
    weights and colour statistics are added to them."""
    episodes: int = Field(default=1000, ge=1)
    perturbed_tiles: int = Field(default=60, ge=0)
    tuning_epochs: int = Field(default=5, ge=0)


class Bench(Strict):
    """Everything ``oncoweave bench`` is told; paths are taken from the place of the file."""

    name: str
    tasks: dict[str, str | Place | tuple[str | Place, ...]] = Field(min_length=1)
    """Task (see ``oncoweave list tasks``), and where it is asked: a cohort folder, several, or a :class:`Place`. What follows an
    ``@`` in the key tells places apart."""
    aggregators: tuple[str | Aggregator, ...] = ()
    """Encoders of slides: each is tried on slides alone, and in each fusion of networks or late models."""
    encoders: dict[str, tuple[str | Aggregator, ...]] = Field(default_factory=dict)
    """The same for other kinds of modality."""
    fusions: tuple[str | ModelSpec, ...] = ()
    """Tried on every task of two modalities or more, with every choice of encoders for the kinds of which they name none."""
    task_models: bool | None = None
    """Fit the panels that the tasks name themselves; when not given, only where no aggregators, encoders or fusions are."""
    main: tuple[str, ...] = ()
    """The models the bench is about, named before anything is fitted: on each task the first of these that it has; the task's own
    when none is given, and where no encoder or fusion of the bench fits the task so that it keeps its own models."""
    protocol: Protocol = Protocol()
    """What is given here replaces what the tasks say."""
    network: NetworkConfig = NetworkConfig()
    """The same."""
    curves: Curves = Curves()
    tiles: TileSpec = TileSpec()

    @property
    def by_kind(self) -> dict[str, tuple[Aggregator, ...]]:
        """What is tried on each kind of modality."""
        listed = {"slide": self.aggregators, **self.encoders} if self.aggregators else dict(self.encoders)
        return {kind: tuple(named(a) for a in tried) for kind, tried in listed.items() if tried}

    @property
    def fused(self) -> tuple[ModelSpec, ...]:
        """The fusions that are tried."""
        return tuple(f if isinstance(f, ModelSpec) else ModelSpec(name=f, fusion=f) for f in self.fusions)

    @property
    def has_grid(self) -> bool:
        """Whether the bench names models of its own."""
        return bool(self.by_kind or self.fusions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One task in one place."""

    key: str
    """The task's name and, after an ``@``, its place where there are several."""
    task: str
    place: Place

    @property
    def folder(self) -> str:
        """Name of its run folder."""
        return self.key.replace("/", ".")


def read_bench(path: Path) -> Bench:
    """Read a bench file.

    Raises:
        ConfigError: it cannot be read, does not fit the schema, or asks for what cannot be.
        UnknownNameError: a task, an encoder or a fusion that is on no shelf.
    """
    bench, folder = read_config(Bench, path), Path(path).resolve().parent
    placed = bench.model_copy(
        update={
            "tasks": {key: tuple(_placed(p, folder) for p in _places(key, value)) for key, value in bench.tasks.items()},
            "aggregators": tuple(_weighed(a, folder) for a in bench.aggregators),
            "tiles": bench.tiles.model_copy(update={"encoders": tuple(_weighed(a, folder) for a in bench.tiles.encoders)}),
            "encoders": {kind: tuple(_weighed(a, folder) for a in names) for kind, names in bench.encoders.items()},
        }
    )
    check_bench(placed)
    return placed


def check_bench(bench: Bench) -> None:
    """Refuse names that no shelf has, and encoders of other kinds of modality, before anything is fitted."""
    entries(bench)
    for kind, tried in bench.by_kind.items():
        for aggregator in tried:
            told = f"give their file: {{name: {aggregator.name}, encoder: {aggregator.encoder}, weights: FILE}}"
            check_encoder(aggregator.encoder, kind, weights=aggregator.weights, where=f"bench {bench.name!r}", key=told)
            _check_start(bench, aggregator)
        _refuse_twice(bench, f"encoders of kind {kind}", [a.name for a in tried])
    for tile_encoder in (named(a) for a in bench.tiles.encoders):
        shelf.variant("encoders", tile_encoder.encoder)
        if shelf.load("encoders", tile_encoder.encoder).KINDS != ("tile",):
            msg = f"bench {bench.name!r}: encoder {tile_encoder.encoder!r} reads no tiles (tiles: encoders)"
            raise ConfigError(msg)
        if tile_encoder.settings:
            msg = f"bench {bench.name!r}: {tile_encoder.name!r} reads tiles; its settings are those of its variant, give none"
            raise ConfigError(msg)
    for fusion in bench.fused:
        shelf.configure("fusion", fusion.fusion, fusion.settings, where=f"bench {bench.name!r}: fused {fusion.name!r}")
        if fusion.modalities is not None or fusion.weights or fusion.frozen:
            msg = f"bench {bench.name!r}: fusion {fusion.name!r} is tried on all modalities; weights belong to an aggregator"
            raise ConfigError(msg)
    _refuse_twice(bench, "fusions", [f.name for f in bench.fused])


def _check_start(bench: Bench, aggregator: Aggregator) -> None:
    if aggregator.frozen and aggregator.weights is None:
        msg = f"bench {bench.name!r}: {aggregator.name!r} is frozen and starts from no weights; give weights, or tune it"
        raise ConfigError(msg)
    path, where = aggregator.file, f"bench {bench.name!r}: {aggregator.name!r}"
    if path is not None and not Path(path).is_file():
        msg = f"{where}: weights {path} are no file; they are never replaced by random ones"
        raise ConfigError(msg)
    start = {} if path is None else start_settings(Path(path), aggregator.encoder)
    check_settings(aggregator.encoder, aggregator.settings, where=where, start=start)


def entries(bench: Bench) -> list[Entry]:
    """List the tasks of a bench, each in each of its places, in the order of the file.

    Raises:
        UnknownNameError: no such task.
        ConfigError: a place of the wrong level, or two of the same name.
    """
    found: list[Entry] = []
    for key, value in bench.tasks.items():
        wanted, places = _wanted(key), _places(key, value)
        for place in places:
            where = getattr(place, wanted)
            if where is None:
                msg = f"bench {bench.name!r}: task {key!r} is asked of {'a cohort' if wanted == 'cohort' else wanted}: give it"
                raise ConfigError(msg)
            apart = f"{key}{AT}{Path(where).name}" if len(places) > 1 else key
            found.append(Entry(key=apart, task=key.partition(AT)[0], place=place))
    _refuse_twice(bench, "tasks", [e.folder for e in found])
    return found


def named(encoder: str | Aggregator) -> Aggregator:
    """Write out an encoder that is given by its variant alone."""
    return encoder if isinstance(encoder, Aggregator) else Aggregator(name=encoder.replace("/", "-"), encoder=encoder)


def overrides(given: Strict) -> dict[str, object]:
    """Give what was set in a part of the bench file."""
    return {name: getattr(given, name) for name in given.model_fields_set}


def _wanted(key: str) -> str:
    """Name what a task is asked of, by its level."""
    name, patients, tiles = key.partition(AT)[0], task_names("patient"), task_names("tile")
    if name not in patients + tiles:
        raise unknown_name("task", name, patients + tiles)
    return "tiles" if name in tiles else "cohort"


def _places(key: str, value: str | Place | tuple[str | Place, ...]) -> tuple[Place, ...]:
    wanted = _wanted(key)
    listed = value if isinstance(value, tuple) else (value,)
    return tuple(place if isinstance(place, Place) else Place(**{wanted: place}) for place in listed)


def _placed(place: Place, folder: Path) -> Place:
    paths = place.model_dump(exclude_none=True, include={"cohort", "splits", "tiles"})
    return place.model_copy(update={name: str((folder / value).resolve()) for name, value in paths.items()})


def _weighed(aggregator: str | Aggregator, folder: Path) -> str | Aggregator:
    if isinstance(aggregator, str):
        return aggregator
    weights = aggregator.weights
    if weights is not None and weights != BUILTIN:
        weights = str((folder / weights).resolve())
    settings = placed(aggregator.encoder, aggregator.settings, folder) if aggregator.settings else {}
    return aggregator.model_copy(update={"weights": weights, "settings": settings})


def _refuse_twice(bench: Bench, what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = (
            f"bench {bench.name!r}: {what} must differ, {twice[0]!r} stands there more than once; tell them apart by @ or a name"
        )
        raise ConfigError(msg)
