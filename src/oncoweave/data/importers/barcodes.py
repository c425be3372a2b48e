"""TCGA barcodes: ``TCGA-TSS-PPPP-SSV-...`` names project, tissue source site, patient, sample type and vial."""

import re

_BARCODE = re.compile(r"TCGA-([A-Z0-9]{2})-([A-Z0-9]{4})(?:-(\d{2})([A-Z])?)?(?:$|[-._])")


def tcga_site(name: str) -> str | None:
    """Read the tissue source site, a hospital; None when the name is not a TCGA barcode.

    >>> tcga_site("TCGA-A1-A0SB-01"), tcga_site("P17")
    ('A1', None)
    """
    match = _BARCODE.match(name)
    return match[1] if match else None


def tcga_patient(name: str) -> str | None:
    """Read the patient, the first twelve characters; None when the name is not a TCGA barcode.

    >>> tcga_patient("TCGA-AD-6964-01Z-00-DX1")
    'TCGA-AD-6964'
    """
    match = _BARCODE.match(name)
    return f"TCGA-{match[1]}-{match[2]}" if match else None


def is_normal(sample: str) -> bool:
    """Say whether a TCGA sample is normal tissue or a control (types 10 to 29).

    >>> is_normal("TCGA-A1-A0SB-11A"), is_normal("TCGA-A1-A0SB-01")
    (True, False)
    """
    match = _BARCODE.match(sample)
    return bool(match and match[3] and 10 <= int(match[3]) <= 29)
