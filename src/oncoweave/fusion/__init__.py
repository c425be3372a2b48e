"""Shelf: one file, one way to fuse modalities, some of which may be absent. Each file states its STAGE."""
