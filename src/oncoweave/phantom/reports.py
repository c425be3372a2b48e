"""Pathology reports of phantom patients in free text: varied wording, negation, boilerplate, and misleading asides."""

from collections.abc import Sequence

import numpy as np

from oncoweave.core.truth import PatientTruth
from oncoweave.phantom import phrases
from oncoweave.phantom.biology import LABELS, STAGES, Config, Outcome, stream

Facts = dict[str, int | None]


def draw_report(config: Config, index: int, truth: PatientTruth, outcome: Outcome) -> tuple[str, Facts]:
    """Write a report.

    Subtype, grade, infiltrate, nodes and lymphovascular invasion are drawn from the truth; each fact may stay unsaid. Necrosis is
    never mentioned: it is private to the slide.

    Returns:
        The text, and what it states: ``subtype`` 0 to 2, ``grade`` 1 to 3, ``infiltrate`` and ``mitoses`` 0 to 2, ``stage`` 1 to
        4, ``lymphovascular`` and ``perineural`` 0 or 1; None where the text is silent.
    """
    rng = stream(config, "report", index)
    facts = _facts(truth, outcome, rng)
    style = int(truth.site.rpartition("-")[2]) % len(phrases.HEADINGS)
    sections = (
        [pick(phrases.SPECIMENS, rng)],
        _gross(truth, rng),
        _microscopy(facts, truth, rng),
        _conclusion(facts, truth, rng),
    )
    lines = [f"{head}\n{' '.join(body)}" for head, body in zip(phrases.HEADINGS[style], sections, strict=True)]
    if style == 2 and rng.random() < 0.6:  # this house puts the diagnosis first
        lines = [lines[3], *lines[:3]]
    closing = pick(phrases.BOILERPLATE, rng).format(blocks=rng.integers(4, 18))
    return "\n\n".join([*lines, closing]), facts


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """Choose one wording."""
    return options[int(rng.integers(len(options)))]


def _facts(truth: PatientTruth, outcome: Outcome, rng: np.random.Generator) -> Facts:
    def level(score: float) -> int:
        return int(np.searchsorted((-0.6, 0.6), score + rng.normal(0, 0.35)))

    facts: Facts = {
        "subtype": truth.subtype,
        "grade": outcome.grade,
        "mitoses": level(truth.proliferation),
        "infiltrate": level(truth.immune),
        "stage": truth.stage,
        "lymphovascular": int(truth.private_report),
        "perineural": int(outcome.findings[LABELS.index("perineural_invasion")]),
    }
    silence = {"mitoses": 0.35, "infiltrate": 0.15, "stage": 0.2, "lymphovascular": 0.06, "perineural": 0.3, "grade": 0.08}
    unsaid = {name for name in silence if rng.random() < silence[name]}
    return {name: None if name in unsaid else value for name, value in facts.items()}


def _gross(truth: PatientTruth, rng: np.random.Generator) -> list[str]:
    largest = float(np.exp(np.log(1.6 + 1.1 * truth.stage) + rng.normal(0, 0.25)))
    a, b, c = (f"{largest * f:.1f}" for f in (1.0, rng.uniform(0.6, 0.95), rng.uniform(0.4, 0.8)))
    text = [pick(phrases.GROSS, rng).format(weight=rng.integers(40, 900)), pick(phrases.SIZE, rng).format(a=a, b=b, c=c)]
    if rng.random() < 0.6:
        text.append(pick(phrases.BOILERPLATE, rng).format(blocks=rng.integers(4, 18)))
    return text


def _microscopy(facts: Facts, truth: PatientTruth, rng: np.random.Generator) -> list[str]:
    text: list[str] = []
    for name, options in (
        ("mitoses", phrases.MITOSES),
        ("infiltrate", phrases.INFILTRATE),
        ("lymphovascular", phrases.LYMPHOVASCULAR),
        ("perineural", phrases.PERINEURAL),
    ):
        if (value := facts[name]) is not None:
            text.append(pick(options[value], rng))
    if rng.random() < 0.3:
        index = np.clip(18 + 14 * truth.proliferation + rng.normal(0, 4), 1, 95)
        text.append(pick(phrases.KI67, rng).format(index=round(float(index))))
    if rng.random() < 0.45:
        text.append(pick(phrases.DISTRACTORS, rng))
    if rng.random() < 0.5:
        text.append(pick(phrases.BOILERPLATE, rng).format(blocks=rng.integers(4, 18)))
    opening = f"Sections show {pick(phrases.SUBTYPE[truth.subtype], rng)}."
    return [opening, *(text[i] for i in rng.permutation(len(text)))]


def _conclusion(facts: Facts, truth: PatientTruth, rng: np.random.Generator) -> list[str]:
    diagnosis = pick(phrases.SUBTYPE[truth.subtype], rng)
    if (grade := facts["grade"]) is not None:
        diagnosis += f", {pick(phrases.GRADE[grade - 1], rng)}"
    total = int(rng.integers(8, 32))
    positive = int(rng.integers(1, 3 + 2 * truth.stage)) if truth.stage >= 3 else 0
    nodes = pick(phrases.NODES[positive > 0], rng).format(total=total, positive=min(positive, total))
    text = [nodes, pick(phrases.MARGINS, rng).format(distance=rng.integers(1, 25))]
    if facts["stage"] is not None:
        text.append(pick(phrases.STAGE, rng).format(stage=STAGES[truth.stage - 1]))
    if truth.stage == 4:
        text.append(pick(phrases.METASTASIS, rng))
    return [f"{diagnosis[0].upper()}{diagnosis[1:]}.", *(text[i] for i in rng.permutation(len(text)))]
