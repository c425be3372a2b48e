"""Ways to make one patient of the tiles of a slide, as a panel: a linear model, mean, max, ABMIL, Agata, LongNet.

A model of 0.9 million parameters has matched slide encoders fifty times its size, so that none is judged without the simple ones
beside it. LongNet is trained from its random start here; weights, frozen or tuned, are what a bench adds.
"""

from oncoweave.core.endpoint import EndpointKind
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol

SLIDE = "slide"
ROLES = {SLIDE: ("slide",)}
MODELS = (
    ModelSpec(name="linear", fusion="concat"),
    ModelSpec(name="mean", fusion="mean", encoders={"slide": "pool/mean"}),
    ModelSpec(name="max", fusion="mean", encoders={"slide": "pool/max"}),
    ModelSpec(name="abmil", fusion="mean", encoders={"slide": "abmil"}),
    ModelSpec(name="agata", fusion="mean", encoders={"slide": "agata"}),
    ModelSpec(name="longnet", fusion="mean", encoders={"slide": "longnet/small"}),
)
"""``linear`` sees the mean and the spread of each tile feature."""
PROTOCOL = Protocol(folds=5, repeats=1, permutations=1)
"""By patient, and by hospital where every patient's is known. One permuted null, as each is another training of the network."""
NETWORK = NetworkConfig(members=1)
CLASSES: dict[EndpointKind, str] = {"multiclass": "macro_auroc", "binary": "auroc"}
"""Metric that decides where classes are told apart, of which there may be two."""
