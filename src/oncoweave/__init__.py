"""oncoweave: one representation of a cancer patient, and an honest account of what it predicts."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oncoweave.core.endpoint import Endpoint
    from oncoweave.data.cohort import Cohort
    from oncoweave.data.slide_embeddings import SlideEmbedding, read_slide_embedding, write_slide_embedding
    from oncoweave.serve.report import write_report
    from oncoweave.train.slide_embedding import embed, embed_bag
    from oncoweave.train.slide_encoder import load_slide_encoder
    from oncoweave.train.study import Study, run_study

__version__ = "0.1.0"

_PUBLIC = {
    "Cohort": "oncoweave.data.cohort",
    "Endpoint": "oncoweave.core.endpoint",
    "SlideEmbedding": "oncoweave.data.slide_embeddings",
    "Study": "oncoweave.train.study",
    "embed": "oncoweave.train.slide_embedding",
    "embed_bag": "oncoweave.train.slide_embedding",
    "load_slide_encoder": "oncoweave.train.slide_encoder",
    "read_slide_embedding": "oncoweave.data.slide_embeddings",
    "run_study": "oncoweave.train.study",
    "write_slide_embedding": "oncoweave.data.slide_embeddings",
    "write_report": "oncoweave.serve.report",
}

__all__ = [
    "Cohort",
    "Endpoint",
    "SlideEmbedding",
    "Study",
    "__version__",
    "embed",
    "embed_bag",
    "load_slide_encoder",
    "read_slide_embedding",
    "run_study",
    "write_report",
    "write_slide_embedding",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that ``import oncoweave`` stays fast."""
    if name not in _PUBLIC:
        msg = f"module 'oncoweave' has no attribute {name!r}; public names are {', '.join(sorted(_PUBLIC))}"
        raise AttributeError(msg)
    return getattr(import_module(_PUBLIC[name]), name)
