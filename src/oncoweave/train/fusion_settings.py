"""Whether a model's fusion, and what it wraps, can be what a study makes of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError, UnknownNameError, unknown_name
from oncoweave.model import operator_of
from oncoweave.nn.views import FUSED

if TYPE_CHECKING:
    from oncoweave.train.study import ModelSpec


def check_fusion(model: "ModelSpec", modalities: tuple[str, ...], endpoint_kind: str) -> None:
    """Refuse settings that a fusion cannot take, and modalities, wrapped fusions and endpoints that it does not serve.

    Raises:
        ConfigError: of what the fusion, or one that it wraps, cannot take; names the model.
        UnknownNameError: there is no such setting, file or modality; names the nearest.
    """
    config, module = model.config, shelf.load("fusion", model.fusion)
    _check_of(module, config, modalities, f"model {model.name!r}")
    decides = model.fusion
    if model.levels is not None:
        decides = model.levels.decision
        for level, name, stages in (
            ("feature", model.levels.feature, ("early", "intermediate")),
            ("decision", decides, ("late",)),
        ):
            stage = str(shelf.load("fusion", name).STAGE)
            if stage not in stages:
                msg = f"model {model.name!r}: the {level} level is {' or '.join(stages)}; {name!r} is {stage}"
                raise ConfigError(msg)
    elif model.stage == "hybrid":
        with _told_of(f"model {model.name!r}"):
            operator_of(model.fusion, model.settings)
    _check_wrapped(model, modalities)
    _check_penalty(model)
    kinds = getattr(shelf.load("fusion", decides), "KINDS", None)
    if kinds is not None and endpoint_kind not in kinds:
        msg = f"model {model.name!r}: fusion {decides!r} serves {' and '.join(kinds)}, not endpoints of kind {endpoint_kind!r}"
        raise ConfigError(msg)


def check_width(model: "ModelSpec", width: int) -> None:
    """Refuse settings of a fusion, or of one that it wraps, that do not fit what the study's networks are wide.

    Raises:
        ConfigError: names the model and the fusion, and both settings.
    """
    asked = [(model.fusion, model.settings, f"model {model.name!r}")]
    for key, fusion in model.wrapped.items():
        asked.append((fusion, model.wrapped_settings.get(key, {}), f"model {model.name!r}, wrapped_settings: {key}"))
    for fusion, settings, where in asked:
        module = shelf.load("fusion", fusion)
        if not hasattr(module, "check_width"):
            continue
        config = shelf.configure("fusion", fusion, settings, where=where)
        try:
            module.check_width(config, width)
        except ValueError as error:
            msg = f"{where}: settings of {fusion!r} on shelf 'fusion' do not fit the networks (network: width): {error}"
            raise ConfigError(msg) from error


def _check_penalty(model: "ModelSpec") -> None:
    fusion = model.fusion if model.levels is None else model.levels.feature
    module = shelf.load("fusion", fusion)
    if model.penalty == "shared":
        return
    if module.STAGE != "early":
        msg = f"model {model.name!r}: penalty {model.penalty} belongs to an early fusion, {fusion!r} is {module.STAGE}"
        raise ConfigError(msg)
    if getattr(module, "SHARED", False):
        msg = (
            f"model {model.name!r}: penalty {model.penalty} tells modalities apart, and each column of {fusion!r} is of all of"
            " them; leave penalty out, or take pca or concat"
        )
        raise ConfigError(msg)


def _check_wrapped(model: "ModelSpec", modalities: tuple[str, ...]) -> None:
    for key in model.wrapped_settings:
        if key not in model.wrapped:
            raise unknown_name(
                f"wrapped fusion of {model.fusion!r} (wrapped_settings of model {model.name!r})", key, model.wrapped
            )
    for key, fusion in model.wrapped.items():
        given, where = model.wrapped_settings.get(key, {}), f"model {model.name!r}, wrapped_settings: {key}"
        config, module = shelf.configure("fusion", fusion, given, where=where), shelf.load("fusion", fusion)
        _check_of(module, config, (*modalities, FUSED) if key == "decision" else modalities, where)


def _check_of(module: ModuleType, config: object, modalities: tuple[str, ...], where: str) -> None:
    """Let a fusion refuse what it cannot take of these modalities, and say of which model."""
    if not hasattr(module, "check"):
        return
    with _told_of(where):
        module.check(config, modalities)


@contextmanager
def _told_of(where: str) -> Iterator[None]:
    """Say of which model a refusal is."""
    try:
        yield
    except (ConfigError, UnknownNameError) as error:
        raise type(error)(f"{where}: {error}") from error
