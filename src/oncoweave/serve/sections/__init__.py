"""Sections of the report: each function reads a run folder and returns one section, also where it has nothing to show."""
