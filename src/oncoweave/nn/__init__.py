"""Tensor blocks: tokens, attention, pooling. No input or output, no configuration."""
