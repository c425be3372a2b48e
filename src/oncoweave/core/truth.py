"""What is true of a phantom patient: the latent biology that every modality is drawn from."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PatientTruth:
    """Latent biology of one patient; unit-free scores are standard normal across a cohort."""

    patient_id: str
    site: str
    subtype: int
    """0 or 1."""
    driver_a: bool
    driver_b: bool
    immune: float
    """Immune infiltration; protective."""
    proliferation: float
    stage: int
    """1 to 4."""
    age_years: float
    female: bool
    private_slide: float
    """A risk factor that only the slide shows."""
    private_expression: float
    """A risk factor that only expression shows."""
    synergy: float
    """A risk factor that needs two modalities: the product of an image factor and an expression factor."""
    log_hazard: float
