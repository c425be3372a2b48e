"""Shelf: one file, one encoder; tokens of one modality to a representation."""
