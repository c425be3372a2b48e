"""Pixels of patches, and the light decoder that draws them (MAE: He et al., CVPR 2022)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from oncoweave.nn.grid import sine_cosine
from oncoweave.nn.vit_blocks import Block, BlockShape


def patches_of(images: Float[Tensor, "batch 3 height width"], patch: int) -> Float[Tensor, "batch patch pixel"]:
    """Cut images to patches, row by row; a patch's pixels by row, column and colour."""
    rows, columns = images.shape[2] // patch, images.shape[3] // patch
    cut = images.unflatten(3, (columns, patch)).unflatten(2, (rows, patch))
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(len(images), rows * columns, patch * patch * 3)


def standardised(patches: Float[Tensor, "batch patch pixel"]) -> Float[Tensor, "batch patch pixel"]:
    """Bring each patch to mean 0 and deviation 1 over its pixels; one of a single colour becomes 0."""
    deviation, mean = torch.std_mean(patches.float(), dim=-1, keepdim=True)
    return (patches - mean) / (deviation.square() + 1e-6).sqrt()


class PixelDecoder(nn.Module):
    """Tokens of the visible patches, and a mask token for each hidden one, to the pixels of the hidden patches."""

    def __init__(self, *, dim_in: int, dim: int, depth: int, heads: int, dim_out: int) -> None:
        super().__init__()
        self.entry = nn.Linear(dim_in, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = nn.ModuleList([Block(BlockShape(dim=dim, heads=heads, hidden=4 * dim)) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.draw = nn.Linear(dim, dim_out)

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim_in"],
        *,
        visible: Int64[Tensor, "batch visible"],
        hidden: Int64[Tensor, "batch hidden"],
        grid: tuple[int, int],
    ) -> Float[Tensor, "batch hidden pixel"]:
        """Draw the hidden patches; ``tokens`` are those of the visible ones, after any others (class token, registers)."""
        x = self.entry(tokens)
        positions = _positions(grid, x)
        prefix = x.shape[1] - visible.shape[1]
        shown = x[:, prefix:] + positions[visible]
        x = torch.cat([x[:, :prefix], shown, self.mask_token.to(x.dtype) + positions[hidden]], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.draw(self.norm(x[:, -hidden.shape[1] :]))


def _positions(grid: tuple[int, int], like: Tensor) -> Float[Tensor, "patch dim"]:
    row, column = torch.meshgrid(*(torch.arange(n, device=like.device) for n in grid), indexing="ij")
    return sine_cosine(torch.stack([column.flatten(), row.flatten()], dim=1), dim=like.shape[-1]).to(like.dtype)
