"""Patients whose truth is known."""
