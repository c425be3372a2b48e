"""How a study reads and cuts films and volumes: its field ``preparation``, held against the ``Config`` of each kind."""

from collections.abc import Mapping
from typing import Any

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError, unknown_name
from oncoweave.train.encoder_settings import check_fields


def read_as(kinds: Mapping[str, str], given: Mapping[str, Mapping[str, object]]) -> dict[str, shelf.Configuration]:
    """Give the ``Config`` of each modality that may be read in several ways, from settings by modality or by kind.

    Args:
        kinds: kind of each modality of the study.
        given: settings; those of a modality's name stand before those of its kind.

    Raises:
        UnknownNameError: no modality or kind of that name, or no such setting; names the nearest.
        ConfigError: a kind that has no settings, or a value that its ``Config`` cannot take.
    """
    named = {*kinds, *kinds.values()}
    for name in given:
        if name not in named:
            raise unknown_name("modality or kind (preparation)", name, named)
    configs = {}
    for modality, kind in kinds.items():
        name = modality if modality in given else kind
        config: Any = getattr(shelf.load("modalities", kind), "Config", None)
        if config is not None:
            configs[modality] = _built(
                config, given.get(name, {}), of=f"modalities of kind {kind!r}", where=f"preparation: {name}"
            )
        elif name in given:
            having = [k for k in shelf.names("modalities") if hasattr(shelf.load("modalities", k), "Config")]
            msg = f"preparation: {name}: modalities of kind {kind!r} have no settings; those that have: {', '.join(having)}"
            raise ConfigError(msg)
    return configs


def _built(config: Any, settings: Mapping[str, object], *, of: str, where: str) -> shelf.Configuration:  # noqa: ANN401
    usual = config()
    check_fields(usual, settings, of=of, where=where)
    for key, value in settings.items():
        own = getattr(usual, key)
        if isinstance(own, tuple) and isinstance(value, tuple) and len(value) != len(own):
            msg = f"{where}: setting {key!r} of {of} wanted {len(own)} values as in {own}, got {len(value)}"
            raise ConfigError(msg)
    try:
        built: shelf.Configuration = config(**settings)
    except ValueError as error:
        msg = f"{where}: {error}"
        raise ConfigError(msg) from error
    return built
