"""IRENE as released: a film, a chief complaint, laboratory values, sex and age in one transformer (Zhou et al. 2023).

The whole network of the Nature Biomedical Engineering paper, as its code computes it: patches by one strided convolution, class
token, a position for every token, one projection for all laboratory values, ``nn.bidirectional``, the mean of all tokens, a
linear head. ``nn.irene_weights`` loads its weights. Departures: sizes are arguments; what a patient lacks is masked as a key and
in the mean; films of any size that is whole patches, by resampled positions. Where the paper and its code differ, this is the
code: the mean rather than the class token is read out, and complaints come as vectors of a text encoder outside.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from oncoweave.nn.bidirectional import MultimodalTransformer, Shape, split_maps
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.projections import check_tokens
from oncoweave.nn.tokens import Tokens, require_shape

_BRIGHTEST = 16.0
"""More than pixels from 0 to 1 reach, standardised or not: what is above are values from 0 to 255."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Size of the network; the defaults are the released one's."""

    outputs: int = 8
    image: int = 224
    """Side, in pixels, of the films whose positions are stored."""
    patch: int = 16
    channels: int = 3
    words: int = 40
    """Tokens of a chief complaint."""
    word_width: int = 768
    labs: int = 92
    width: int = 768
    depth: int = 12
    heads: int = 12
    ratio: float = 4.0
    mixing: int = 2
    exchange: str = "average"
    dropout: float = 0.3
    attention_dropout: float = 0.2
    upstream_compatible: bool = False
    """Keep what the released weights hold to no effect."""

    @property
    def shape(self) -> Shape:
        """The transformer's."""
        names = ("width", "heads", "depth", "mixing", "ratio", "exchange", "dropout", "attention_dropout", "upstream_compatible")
        return Shape(**{name: getattr(self, name) for name in names})

    @property
    def clinical(self) -> dict[str, tuple[int, int]]:
        """Number of tokens and width of each clinical part, in the order in which they lie side by side."""
        return {"complaint": (self.words, self.word_width), "labs": (self.labs, 1), "sex": (1, 1), "age": (1, 1)}


class Irene(nn.Module):
    """Films and clinical tokens to one output a label; probabilities are their sigmoids."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.patches = nn.Conv2d(config.channels, config.width, kernel_size=config.patch, stride=config.patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, config.width))
        side = config.image // config.patch
        self.image_positions = nn.Parameter(torch.zeros(1, 1 + side**2, config.width))
        self.projections = nn.ModuleDict({name: nn.Linear(dim, config.width) for name, (_, dim) in config.clinical.items()})
        self.positions = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(1, count, config.width)) for name, (count, _) in config.clinical.items()}
        )
        self.drop = Dropout(config.dropout)
        self.transformer = MultimodalTransformer(config.shape, streams=2)
        self.head = nn.Linear(config.width, config.outputs)

    def forward(
        self,
        images: Float[Tensor, "batch channel height width"],
        clinical: Mapping[str, Tokens],
        *,
        has_image: Bool[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch output"]:
        """Score patients.

        Args:
            images: films, from 0 to 1, not standardised; both sides whole patches.
            clinical: tokens of ``complaint``, ``labs``, ``sex`` and ``age``; what was not measured is not kept.
            has_image: patients who have a film; None for all. Pixels of the others have no influence.

        Raises:
            ValueError: other names, widths or numbers of tokens than built for, sides that are not whole patches, pixels from
                0 to 255, or a patient who has nothing at all.
        """
        return self.head(self.features(images, clinical, has_image=has_image))

    def features(
        self,
        images: Float[Tensor, "batch channel height width"],
        clinical: Mapping[str, Tokens],
        *,
        has_image: Bool[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch dim"]:
        """Return what the head reads: the mean of all kept tokens, class token among them."""
        film, own = self._embed(images, clinical, has_image)
        tokens = self.transformer([film, _side_by_side(own)])
        return masked_mean(tokens.values, tokens.keep)

    @torch.no_grad()
    def attention(
        self,
        images: Float[Tensor, "batch channel height width"],
        clinical: Mapping[str, Tokens],
        *,
        has_image: Bool[Tensor, " batch"] | None = None,
    ) -> dict[str, Float[Tensor, "batch head _ _"]]:
        """Return the attention of each block between every two of image, complaint, labs, sex and age (``nn.bidirectional``).

        Named ``"<block>:<query>-><key>"``; the image's first token is the class token.
        """
        film, own = self._embed(images, clinical, has_image)
        maps = self.transformer.attention([film, _side_by_side(own)])
        return split_maps(maps, {"image": film.keep.shape[1]} | {name: tokens.keep.shape[1] for name, tokens in own.items()})

    def _embed(
        self, images: Tensor, clinical: Mapping[str, Tokens], has_image: Bool[Tensor, " batch"] | None
    ) -> tuple[Tokens, dict[str, Tokens]]:
        has_image = torch.ones(len(images), dtype=torch.bool, device=images.device) if has_image is None else has_image
        film = self._film(images, has_image)
        check_tokens(
            {**clinical, "image": film}, {"image": self.config.width} | {k: dim for k, (_, dim) in self.config.clinical.items()}
        )
        own = {}
        for name, (count, dim) in self.config.clinical.items():
            require_shape(clinical[name], dim=dim, num_tokens=count, name=name)
            values = self.drop(self.projections[name](clinical[name].clean) + self.positions[name])
            own[name] = Tokens(values=values, keep=clinical[name].keep)
        return film, own

    def _film(self, images: Float[Tensor, "batch channel height width"], has_image: Bool[Tensor, " batch"]) -> Tokens:
        height, width = images.shape[2:]
        patch = self.config.patch
        if images.shape[1] != self.config.channels or height % patch or width % patch or not height or not width:
            msg = (
                f"wanted films of {self.config.channels} channel(s) with sides of whole patches of {patch} px,"
                f" got {images.shape[1]} of {width} x {height} px"
            )
            raise ValueError(msg)
        clean = torch.where(has_image[:, None, None, None], images, 0.0)
        if not images.is_floating_point() or (clean.numel() and float(clean.detach().amax()) > _BRIGHTEST):
            msg = f"wanted films from 0 to 1, got {images.dtype} up to {float(clean.detach().amax()):g}; divide by 255"
            raise ValueError(msg)
        patches = self.patches(clean).flatten(2).transpose(1, 2)
        values = torch.cat([self.cls.expand(len(images), -1, -1), patches], dim=1)
        values = values + resize_positions(self.image_positions, (height // patch, width // patch))
        return Tokens(values=self.drop(values), keep=has_image[:, None].expand(-1, values.shape[1]))


def resize_positions(positions: Float[Tensor, "1 stored dim"], grid: tuple[int, int]) -> Float[Tensor, "1 wanted dim"]:
    """Resample positions of a square grid of patches, after the class token's own, for another grid of rows and columns.

    Linearly between the grid's corners, as the peer's import of weights means to (scipy's ``zoom`` of order 1).

    Raises:
        ValueError: the stored positions are not those of a class token and a square grid.
    """
    side = round((positions.shape[1] - 1) ** 0.5)
    if side**2 != positions.shape[1] - 1:
        msg = f"wanted positions of a class token and a square grid of patches, got {positions.shape[1]}"
        raise ValueError(msg)
    if grid == (side, side):
        return positions
    square = positions[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    resized = functional.interpolate(square, size=grid, mode="bilinear", align_corners=True)
    return torch.cat([positions[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


def _side_by_side(parts: Mapping[str, Tokens]) -> Tokens:
    return Tokens(
        values=torch.cat([tokens.values for tokens in parts.values()], dim=1),
        keep=torch.cat([tokens.keep for tokens in parts.values()], dim=1),
    )
