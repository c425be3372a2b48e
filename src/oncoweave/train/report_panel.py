"""Models that read pathology reports, and the source of those reports, shared by the tasks that ask something of them."""

from collections.abc import Mapping

from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol
from oncoweave.train.task import Figure, Published, Source

REPORT = "report"
SOURCE = Source(
    name="TCGA-Reports (Kefeli and Tatonetti, Patterns 2024), as held by PathRep-Bench and Digital Registrar",
    obtain=(
        "github.com/rachitsaluja/PathRep-Bench (Apache-2.0) and github.com/kblab2024/digital-registrar-research (MIT), labels"
        " of the TCGA registry and cBioPortal; benchmarks/real_cohorts.py makes the cohort."
    ),
    cohorts=("tcga_reports",),
)
TFIDF, WORDS = "tfidf", "bag_of_words"
READERS = (
    ModelSpec(name=TFIDF, fusion="concat", modalities=(REPORT,)),
    ModelSpec(name=WORDS, fusion="mean", modalities=(REPORT,), encoders={"report": "bag_of_words"}),
)
PROTOCOL = Protocol(folds=5, repeats=1, permutations=1)
NETWORK = NetworkConfig(members=1)
RULE = "By patient, five folds, and by hospital where every patient's is known: reports of a hospital share their wording."


def pathrep(number: int, accuracy: Mapping[str, float], notes: str) -> Published:
    """Give PathRep-Bench's accuracies of language models on one of its tasks."""
    return Published(
        citation="PathRep-Bench (github.com/rachitsaluja/PathRep-Bench)",
        source=f"metrics files of task {number}, mean over types, on its 952 test reports",
        notes=notes,
        figures=tuple(Figure(model=model, metric="accuracy", value=value) for model, value in accuracy.items()),
    )


def floor(*, accuracy: float, balanced: float) -> tuple[Figure, Figure]:
    """Give what word counts reach when trained on the validation reports and tested on others."""
    model = "TF-IDF, logistic regression, 953 to train"
    return (
        Figure(model=model, metric="accuracy", value=accuracy),
        Figure(model=model, metric="balanced_accuracy", value=balanced),
    )
