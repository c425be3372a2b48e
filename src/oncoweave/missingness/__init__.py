"""Shelf: one file, one way to stand in for modalities that a patient lacks, whatever fuses them. Each file states its ACTS_ON."""
