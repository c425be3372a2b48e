"""Networks too large for one device: each transformer block's parameters lie in shards over all processes (FSDP2)."""

from typing import TYPE_CHECKING

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

if TYPE_CHECKING:
    from lightning_fabric.strategies import ModelParallelStrategy

_STACKS = ("blocks", "layers")
"""Names of the lists that hold an encoder's blocks."""


def sharded(processes: int) -> "ModelParallelStrategy":
    """Make the Fabric strategy that shards a network over all of ``processes``."""
    from lightning_fabric.strategies import ModelParallelStrategy

    return ModelParallelStrategy(shard_blocks, data_parallel_size=processes, tensor_parallel_size=1)


def shard_blocks(network: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard each block by itself, so that only one is whole at a time, and the rest together."""
    for name, stack in network.named_modules():
        if isinstance(stack, nn.ModuleList) and name.rpartition(".")[2] in _STACKS:
            for block in stack:
                fully_shard(block, mesh=mesh["data_parallel"])
    fully_shard(network, mesh=mesh["data_parallel"])
    return network


def is_sharded(network: nn.Module) -> bool:
    """Whether any parameter lies in shards."""
    return any(isinstance(parameter, DTensor) for parameter in network.parameters())
