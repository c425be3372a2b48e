"""Shelf: how a batch becomes a loss."""
