"""Importers: one file a kind of source; each reads it into a cohort and an account of what was left out."""
