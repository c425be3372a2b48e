"""Which model a study is about where its file does not say."""

from collections.abc import Sequence

from oncoweave.core.errors import ConfigError, unknown_name

USUAL = "stacking"


def main_of(study: str, main: str, names: Sequence[str]) -> str:
    """Name the main model: the one given, else the only one, else ``stacking``.

    Raises:
        UnknownNameError: there is no model of the name given.
        ConfigError: none is given, and there are several without a ``stacking`` among them.
    """
    if main and main not in names:
        raise unknown_name("model (main)", main, names)
    found = main or (names[0] if len(names) == 1 else USUAL)
    if found not in names:
        msg = f"study {study!r}: set main: to the model that it is about, one of {', '.join(names)}, before anything is fitted"
        raise ConfigError(msg)
    return found
