"""The models that IRENE was held against, as a panel: the image alone, early, late, Perceiver, and the transformer itself.

Beside them late fusions of linear models, as networks taught by some hundred patients do not read films better: ``late_linear``
differs from ``late`` in what reads a modality and in nothing else, ``stacking`` is the default of a study. The paper's GIT has no
counterpart here. ``early`` joins all tokens at once in the same transformer (no exchange blocks), so that it differs from ``mdt``
in nothing else; ``late`` averages one network a modality. A laboratory value's token holds value and identity, and one that was
not measured has a token that says so; the paper states no convention for it.

Sizes and pace fit some hundred patients, found on drawn films of other patients than the tasks' (``irene_settings.py`` in
``benchmarks/``): films by a residual network and not from raw patches, two blocks, reports by one, a slow rate warmed up. Who has
tens of thousands takes the paper's: twelve blocks, two of which exchange, of width 768.
"""

from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Setting

IMAGE, TEXT, VALUES = "image", "text", "values"
ROLES = {IMAGE: ("film", "volume"), TEXT: ("report",), VALUES: ("record",)}
_TOKENS = {"film": "cnn2d/tokens", "volume": "cnn3d/tokens", "report": "bert/tokens", "record": "tabular/missing_tokens"}
_VECTORS = {"film": "cnn2d", "volume": "cnn3d", "report": "bert/document", "record": "tabular"}
_SETTINGS: dict[str, dict[str, Setting]] = {"report": {"depth": 1}}

MODELS = (
    ModelSpec(name="image_only", fusion="mean", modalities=(IMAGE,), encoders=_VECTORS),
    ModelSpec(name="early", fusion="mdt", encoders=_TOKENS, encoder_settings=_SETTINGS, settings={"depth": 2, "mixing": 0}),
    ModelSpec(name="late", fusion="average", encoders=_VECTORS, encoder_settings=_SETTINGS),
    ModelSpec(name="late_linear", fusion="average"),
    ModelSpec(name="stacking", fusion="stacking"),
    ModelSpec(name="perceiver", fusion="perceiver", encoders=_TOKENS, encoder_settings=_SETTINGS),
    ModelSpec(name="mdt", fusion="mdt", encoders=_TOKENS, encoder_settings=_SETTINGS, settings={"depth": 2, "mixing": 1}),
)
MAIN = "mdt"
PROTOCOL = Protocol(folds=5, repeats=1, group_by_site="auto", permutations=1)
"""By patient, and by hospital where every patient's is known. One permuted null, as each is another training of the network."""
NETWORK = NetworkConfig(members=1, modality_dropout=0.2, learning_rate=1e-4, warm_up=5, epochs=40, patience=10, batch_size=16)
"""One network a model; modality dropout is what made the transformer bear missing notes in the one independent ablation."""
