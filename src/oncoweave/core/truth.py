"""What is true of a phantom patient: the latent biology that every modality is drawn from."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PatientTruth:
    """Latent biology of one patient; unit-free scores are standard normal across a cohort."""

    patient_id: str
    site: str
    subtype: int
    """Growth pattern: 0 glandular, 1 solid, 2 discohesive."""
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
    """A risk factor that only the slide shows: the extent of necrosis."""
    private_expression: float
    """A risk factor that only expression shows: the hypoxia pathway."""
    synergy: float
    """A risk factor that needs two modalities: ``synergy_slide * synergy_expression``."""
    log_hazard: float
    """Logarithm of the hazard relative to an average patient, site effect included."""
    synergy_slide: float = 0.0
    """Density of the collagen between tumour nests; by itself without risk."""
    synergy_expression: float = 0.0
    """Activity of the TGF-beta pathway; by itself without risk."""
    private_record: float = 0.0
    """A risk factor that only the clinical record shows: frailty, through labs and performance status."""
    private_report: bool = False
    """A risk factor that only the pathology report states: lymphovascular invasion."""
    private_volume: float = 0.0
    """A risk factor that only the scan shows: spiculation of the lesion."""
    site_effect: float = 0.0
    """What the site alone adds to the log hazard; zero unless the cohort has a site confounder."""
