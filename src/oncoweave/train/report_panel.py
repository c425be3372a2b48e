"""Models that read pathology reports, and the source of those reports, shared by the tasks that ask something of them."""

from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol
from oncoweave.train.task import Source

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
