"""Shelf: one file, one benchmark task."""
