"""How a study reads and cuts films and volumes: its field ``preparation``, held against the ``Config`` of each kind."""

from collections.abc import Mapping
from typing import Any

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError, unknown_name
from oncoweave.core.settings import configured


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
            of, where = f"modalities of kind {kind!r}", f"preparation: {name}"
            configs[modality] = configured(config(), given.get(name, {}), of=of, where=where)
        elif name in given:
            having = [k for k in shelf.names("modalities") if hasattr(shelf.load("modalities", k), "Config")]
            msg = f"preparation: {name}: modalities of kind {kind!r} have no settings; those that have: {', '.join(having)}"
            raise ConfigError(msg)
    return configs
