"""Latent biology of phantom patients: what is drawn first, and what it does to the hazard.

Every draw of a patient comes from a generator of its own (:func:`stream`), so a patient is the same in a cohort of 20 and in one
of 2000, and switching the site confounder on changes the hazard and the stain and nothing else.
"""

from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from oncoweave.core.errors import ConfigError
from oncoweave.core.truth import PatientTruth

MODALITIES = ("slide", "expression", "variants", "report", "record", "volume", "film")
"""Modalities of a phantom cohort, named as their kinds."""
SUBTYPES = ("glandular", "solid", "discohesive")
STAGES = ("I", "II", "III", "IV")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A phantom cohort."""

    patients: int = 120
    seed: int = 0
    sites: int = 5
    site_confounder: bool = False
    """The site shifts the hazard, and its stain differs twice as much from the others'."""
    missing: float = 1.0
    """Scales the probability that a patient lacks a modality; 0 gives complete patients."""
    slide_px: int = 2048
    mpp: float = 0.5
    without: tuple[str, ...] = ()
    """Modalities to leave out."""
    lung_diseases: bool = False
    """Draw the endpoint ``pulmonary_diseases`` and what film, report and record show of it (see ``phantom.lungs``)."""

    def __post_init__(self) -> None:
        """Refuse a cohort that cannot be drawn."""
        if self.patients < 1 or self.sites < 1:
            msg = f"a phantom cohort needs at least one patient and one site, got patients={self.patients}, sites={self.sites}"
            raise ConfigError(msg)
        if self.slide_px < 512:
            msg = f"slide_px must be at least 512 for nests and glands to fit, got {self.slide_px}"
            raise ConfigError(msg)
        if strangers := sorted(set(self.without) - set(MODALITIES)):
            msg = f"without: no phantom modality named {strangers[0]!r}; known: {', '.join(MODALITIES)}"
            raise ConfigError(msg)
        if not set(MODALITIES) - set(self.without):
            msg = "without: leaves no modality at all; keep at least one"
            raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What one factor does to the log hazard, and where it can be seen."""

    factor: str
    coefficient: float
    """Change of the log hazard for one unit of the factor; negative protects."""
    centre: float
    scale: float
    """The unit of the factor: ``(value - centre) / scale`` multiplies the coefficient."""
    shown_by: tuple[str, ...]
    kind: str
    """``shared`` between modalities, ``private`` to one, or ``synergistic`` (needs two)."""


EFFECTS = (
    Effect(
        factor="proliferation", coefficient=0.45, centre=0, scale=1, shown_by=("slide", "expression", "report"), kind="shared"
    ),
    Effect(factor="immune", coefficient=-0.52, centre=0, scale=1, shown_by=("slide", "expression", "report"), kind="shared"),
    Effect(factor="stage", coefficient=0.50, centre=2.3, scale=1, shown_by=("record", "report", "volume", "film"), kind="shared"),
    Effect(
        factor="driver_b", coefficient=0.45, centre=0.45, scale=1, shown_by=("variants", "slide", "expression"), kind="shared"
    ),
    Effect(factor="private_slide", coefficient=0.62, centre=0, scale=1, shown_by=("slide",), kind="private"),
    Effect(factor="private_expression", coefficient=0.48, centre=0, scale=1, shown_by=("expression",), kind="private"),
    Effect(factor="private_record", coefficient=0.62, centre=0, scale=1, shown_by=("record",), kind="private"),
    Effect(factor="age_years", coefficient=0.28, centre=64, scale=10, shown_by=("record",), kind="private"),
    Effect(factor="private_report", coefficient=0.90, centre=0.3, scale=1, shown_by=("report",), kind="private"),
    Effect(factor="private_volume", coefficient=0.38, centre=0, scale=1, shown_by=("volume",), kind="private"),
    Effect(factor="synergy", coefficient=0.60, centre=0, scale=1, shown_by=("slide", "expression"), kind="synergistic"),
    Effect(factor="site_effect", coefficient=1.0, centre=0, scale=1, shown_by=("site",), kind="shared"),
)
"""The planted hazard. ``immune`` is the protective factor."""


def stream(config: Config, purpose: str, index: int) -> np.random.Generator:
    """Give the random generator of one purpose for one patient (or site)."""
    return np.random.default_rng([config.seed, crc32(purpose.encode()), index])


def log_hazard(truth: PatientTruth) -> float:
    """Sum the planted effects of a patient."""
    return float(sum(e.coefficient * (float(getattr(truth, e.factor)) - e.centre) / e.scale for e in EFFECTS))


def draw_truths(config: Config) -> list[PatientTruth]:
    """Draw the latent biology of all patients."""
    effects = site_effects(config)
    share = 0.72 ** np.arange(config.sites)
    return [_draw(config, i, effects, share / share.sum()) for i in range(config.patients)]


def site_effects(config: Config) -> np.ndarray:
    """``[site]``: what each site adds to the log hazard: zero, or with the confounder evenly from -1.2 to 1.2 in random order."""
    if not config.site_confounder or config.sites == 1:
        return np.zeros(config.sites)
    return stream(config, "site effect", 0).permutation(np.linspace(-1.2, 1.2, config.sites))


def site_name(index: int) -> str:
    """Name a site."""
    return f"site-{index + 1:02d}"


def _draw(config: Config, index: int, effects: np.ndarray, share: np.ndarray) -> PatientTruth:
    rng = stream(config, "biology", index)
    site = int(rng.choice(config.sites, p=share))
    subtype = int(rng.choice(3, p=(0.4, 0.35, 0.25)))
    driver_a = bool(rng.random() < (0.6, 0.15, 0.3)[subtype])
    driver_b = bool(rng.random() < 0.45)
    immune, proliferation, private_slide, private_expression = rng.standard_normal(4)
    proliferation = 0.95 * proliferation + 0.31 * (driver_b - 0.45) / 0.5
    collagen, tgf_beta, private_record, private_volume, spread = rng.standard_normal(5)
    stage = 1 + int(np.searchsorted((-0.75, 0.25, 1.1), 0.3 * proliferation + 0.95 * spread))
    truth = PatientTruth(
        patient_id=f"PH{index + 1:05d}", site=site_name(site), subtype=subtype, driver_a=driver_a, driver_b=driver_b,
        immune=float(immune), proliferation=float(proliferation), stage=stage,
        age_years=float(np.clip(rng.normal(64, 10), 28, 92).round(1)), female=bool(rng.random() < 0.5),
        private_slide=float(private_slide), private_expression=float(private_expression),
        synergy=float(collagen * tgf_beta), synergy_slide=float(collagen), synergy_expression=float(tgf_beta),
        private_record=float(private_record), private_report=bool(rng.random() < 0.3), private_volume=float(private_volume),
        site_effect=float(effects[site]), log_hazard=0.0,
    )  # fmt: skip
    return replace(truth, log_hazard=log_hazard(truth))


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What happens to one patient; times in months from diagnosis."""

    death_months: float
    """True time of death, seen or not."""
    progression_months: float
    """True time of progression, never later than death."""
    censored_months: float
    """End of follow-up."""
    findings: tuple[bool, ...]
    """What a pathologist would find, in the order of :data:`LABELS`."""
    labels: tuple[float, ...]
    """The findings as recorded: 0, 1, or NaN where nobody looked."""
    grade: int
    """1 to 3, a noisy reading of proliferation."""
    ki67_percent: float
    """Share of tumour nuclei that stain for Ki-67, rounded to whole percent: follows proliferation, 20 at its average."""


LABELS = ("necrosis", "lymphovascular_invasion", "high_til", "perineural_invasion")
_UNKNOWN = (0.1, 0.15, 0.2, 0.35)
_SHAPE = 1.3
_MEDIAN_MONTHS = 42.0


def _draw_ki67(config: Config, index: int, truth: PatientTruth) -> float:
    noise = stream(config, "ki67", index).normal(0, 0.3)  # a stream of its own: no other draw changes
    return float(np.round(100 / (1 + 4 * np.exp(-0.8 * (truth.proliferation + noise)))))


def draw_outcome(config: Config, index: int, truth: PatientTruth) -> Outcome:
    """Draw a patient's outcome: Weibull death times (shape 1.3, median 42 months at an average hazard), independent censoring."""
    rng = stream(config, "outcome", index)
    scale = _MEDIAN_MONTHS / np.log(2) ** (1 / _SHAPE)
    death = scale * (rng.exponential() * np.exp(-truth.log_hazard)) ** (1 / _SHAPE)
    censored = min(float(rng.uniform(30, 108)), float(rng.exponential(260)))
    findings = (
        truth.private_slide > 0.3,
        truth.private_report,
        truth.immune + rng.normal(0, 0.25) > 0.4,
        rng.random() < (0.2, 0.3, 0.55)[truth.subtype],
    )
    unknown = rng.random(len(LABELS)) < _UNKNOWN
    return Outcome(
        death_months=float(death), progression_months=float(death * rng.beta(2.2, 1.6)), censored_months=censored,
        findings=tuple(bool(f) for f in findings),
        labels=tuple(float("nan") if u else float(f) for f, u in zip(findings, unknown, strict=True)),
        grade=1 + int(np.searchsorted((-0.6, 0.6), truth.proliferation + rng.normal(0, 0.35))),
        ki67_percent=_draw_ki67(config, index, truth),
    )  # fmt: skip
