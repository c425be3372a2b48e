"""The cohort on disk: store, importers, checks and splits."""
