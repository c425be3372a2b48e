"""Scans: radiographs and volumes from PNG, JPEG, DICOM and NIfTI, and their geometry in millimetres."""
