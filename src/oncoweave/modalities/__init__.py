"""Shelf: how one modality is read, checked, prepared on train rows, collated into tokens and synthesised."""
