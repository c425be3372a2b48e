"""Pretraining recipes: one file is one plan, named by what, size and hardware."""
