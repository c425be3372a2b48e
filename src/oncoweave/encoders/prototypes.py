"""Histology prototypes: a token for each of 16 kinds of tile (PANTHER, Song et al. 2024, eq. 3 to 6; MMP's histology tokens).

The kinds are a Gaussian mixture with diagonal covariances, fitted to tiles of training patients (k-means where EM degenerates:
``by_k_means`` says so). A patient's token holds how large a part of the tiles is of that kind, their mean and their variance: one
step of EM that starts at the common mixture and keeps to it where the patient has few such tiles. Departs from PANTHER: mean
and variance are told as deviations from the common ones, and each kind has a learned vector of its own.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core.errors import DataError
from oncoweave.core.ranges import Count, Positive, Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.mixtures import Mixture, fit_mixture, patient_components, responsibilities
from oncoweave.nn.tokens import Tokens, require_shape

KINDS = ("slide",)
NEEDS = ("training_tokens",)
ORDER_INVARIANT = True


@ranged
class Config:
    """Number of prototypes, and what they are fitted to."""

    prototypes: Count = 16
    """Tokens of a patient."""
    per_patient: Count = 100
    """Tiles drawn from each training patient."""
    tiles: Count = 20_000
    """Tiles drawn from all of them."""
    steps: Count = 50
    """Of EM at most."""
    floor: Positive = 1e-2
    """Added to every variance; tiles' overall variance is one."""
    prior: Positive = 1.0
    """Tiles that the common mixture counts for beside a patient's own."""
    dropout: Rate = 0.0
    """Share of the outputs dropped in training."""


VARIANTS: dict[str, Config] = {"base": Config(), "eight": Config(prototypes=8), "tiny": Config(prototypes=3)}


class Prototypes(nn.Module):
    """One token a prototype. ``initialise`` fits the prototypes; they are stored beside the weights and not trained further."""

    def __init__(self, config: Config, *, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.config, self.dim_in = config, dim_in
        count = config.prototypes
        for name in ("centre", "scale"):
            self.register_buffer(name, torch.zeros(dim_in))
        self.register_buffer("log_weights", torch.zeros(count))
        self.register_buffer("means", torch.zeros(count, dim_in))
        self.register_buffer("variances", torch.zeros(count, dim_in))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self.register_buffer("by_k_means", torch.zeros((), dtype=torch.bool))
        self.share = nn.Linear(1, dim_out, bias=False)
        self.shape = nn.Linear(2 * dim_in, dim_out, bias=False)
        self.identity = nn.Parameter(torch.randn(count, dim_out) * 0.5)
        self.drop = Dropout(config.dropout)

    def initialise(self, tokens: Iterable[Tokens], generator: torch.Generator) -> None:
        """Fit the prototypes to tiles of training patients, in batches of any size.

        Raises:
            DataError: they have fewer different tiles than there are prototypes.
        """
        drawn = [row for batch in tokens for row in _sample(batch, self.config.per_patient, generator)]
        if not drawn:
            msg = "no training patient has a tile to fit prototypes to; leave the modality out"
            raise DataError(msg)
        tiles = torch.cat(drawn).float()
        tiles = tiles[torch.randperm(len(tiles), generator=generator)[: self.config.tiles]]
        centre, scale = tiles.mean(dim=0), tiles.std(dim=0, correction=0)
        scale = torch.where(scale > 0, scale, 1.0)
        mixture = self._mixture((tiles - centre) / scale, generator)
        known = {
            "centre": centre,
            "scale": scale,
            "log_weights": torch.from_numpy(mixture.weights).log(),
            "means": torch.from_numpy(mixture.means),
            "variances": torch.from_numpy(mixture.variances),
            "fitted": torch.ones(()),
            "by_k_means": torch.tensor(mixture.by_k_means),
        }
        for name, value in known.items():
            self.get_buffer(name).copy_(value)

    def _mixture(self, tiles: Float[Tensor, "tile dim"], generator: torch.Generator) -> Mixture:
        seed, config = int(torch.randint(2**31 - 1, (1,), generator=generator)), self.config
        try:
            return fit_mixture(
                tiles.double().numpy(), components=config.prototypes, floor=config.floor, steps=config.steps, seed=seed
            )
        except DataError as error:
            msg = f"{error} tiles of training patients; the encoder's setting prototypes asks for fewer, and pool for none"
            raise DataError(msg) from error

    def forward(self, tokens: Tokens) -> Tokens:
        """Summarise each patient's kept tiles.

        Raises:
            ValueError: the tiles have another width, or the prototypes were never fitted.
        """
        require_shape(tokens, dim=self.dim_in)
        if not self.get_buffer("fitted"):
            msg = "prototypes have not been fitted: show them tiles of training patients (initialise), or load weights"
            raise ValueError(msg)
        probability, deviation = self._summaries(tokens)
        dtype = self.identity.dtype
        shares = (probability * self.config.prototypes).log1p().unsqueeze(-1)
        values = self.share(shares.to(dtype)) + self.shape(deviation.to(dtype)) + self.identity
        keep = tokens.present.unsqueeze(1).expand(values.shape[:2])
        return Tokens(values=torch.where(keep.unsqueeze(-1), self.drop(values), 0.0), keep=keep)

    def assign(self, tokens: Tokens) -> Float[Tensor, "batch token prototype"]:
        """Return the chance that each tile is of each prototype; zero where not kept."""
        require_shape(tokens, dim=self.dim_in)
        with torch.autocast(tokens.values.device.type, enabled=False):
            chances = self._chances(self._standard(tokens))
        return torch.where(tokens.keep.unsqueeze(-1), chances, 0.0)

    def _summaries(self, tokens: Tokens) -> tuple[Float[Tensor, "batch prototype"], Float[Tensor, "batch prototype twice_dim"]]:
        """Probability of each prototype, and how its mean and log spread deviate from the common ones; in float32."""
        means, variances = self.get_buffer("means").float(), self.get_buffer("variances").float()
        with torch.autocast(tokens.values.device.type, enabled=False):
            tiles = self._standard(tokens)
            probability, mean, variance = patient_components(
                tiles, tokens.keep, self._chances(tiles), means=means, variances=variances, prior=self.config.prior
            )
            spread = 0.5 * (variance.clamp(min=self.config.floor) / variances).log()
            return probability, torch.cat([(mean - means) / variances.sqrt(), spread], dim=2)

    def _standard(self, tokens: Tokens) -> Float[Tensor, "batch token dim"]:
        scaled = (tokens.clean.float() - self.get_buffer("centre").float()) / self.get_buffer("scale").float()
        return torch.where(tokens.keep.unsqueeze(-1), scaled, 0.0)

    def _chances(self, tiles: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token prototype"]:
        parts = {name: self.get_buffer(name).float() for name in ("log_weights", "means", "variances")}
        return responsibilities(tiles, **parts)


def _sample(tokens: Tokens, count: int, generator: torch.Generator) -> list[Float[Tensor, "tile dim"]]:
    """Draw tiles from each patient who has any."""
    drawn = []
    for values, keep in zip(tokens.values, tokens.keep, strict=True):
        kept = keep.nonzero()[:, 0]
        if len(kept):
            drawn.append(values[kept[torch.randperm(len(kept), generator=generator)[:count]]])
    return drawn


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network, its prototypes not fitted yet; the number of tiles may be any."""
    del num_tokens
    return Prototypes(config, dim_in=dim_in, dim_out=dim_out)
