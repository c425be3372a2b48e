"""oncoweave: one representation of a cancer patient, and an honest account of what it predicts."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oncoweave.core.endpoint import Endpoint
    from oncoweave.data.cohort import Cohort
    from oncoweave.serve.report import write_report
    from oncoweave.train.study import Study, run_study

__version__ = "0.1.0"

_PUBLIC = {
    "Cohort": "oncoweave.data.cohort",
    "Endpoint": "oncoweave.core.endpoint",
    "Study": "oncoweave.train.study",
    "run_study": "oncoweave.train.study",
    "write_report": "oncoweave.serve.report",
}

__all__ = ["Cohort", "Endpoint", "Study", "__version__", "run_study", "write_report"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that ``import oncoweave`` stays fast."""
    if name not in _PUBLIC:
        msg = f"module 'oncoweave' has no attribute {name!r}; public names are {', '.join(sorted(_PUBLIC))}"
        raise AttributeError(msg)
    return getattr(import_module(_PUBLIC[name]), name)
