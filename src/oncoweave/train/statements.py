"""A model card and the TRIPOD+AI checklist of a run, filled in as far as the run's own facts reach.

The checklist follows Collins et al., TRIPOD+AI statement, BMJ 2024;385:e078378; its items are named here in our own words, and
the paper is what counts. What only a person can say is marked as such and left empty: nothing is made up.
"""

import csv
from pathlib import Path

from oncoweave.core.files import publish
from oncoweave.evaluate.metrics import MAIN
from oncoweave.train.said import PERSON, Facts, interval_words, said_of

FILLED, PARTLY = "filled in from the run", "filled in from the run in part; the rest is to be written by a person"
CITATION = "Collins GS et al. TRIPOD+AI statement. BMJ 2024;385:e078378. doi:10.1136/bmj-2023-078378"

_ITEMS = (
    ("1", "title names development or evaluation of a prediction model, population and outcome", None),
    ("2", "abstract in the structure that TRIPOD+AI gives for abstracts", None),
    ("3a", "the clinical question, and models that exist already", None),
    ("3b", "whom the model is for, where in the care pathway, and who will use it", None),
    ("3c", "known inequalities in health between groups of patients", None),
    ("4", "aim: development, evaluation or both", "aim"),
    ("5a", "where the data come from, and how well they represent the patients meant", None),
    ("5b", "calendar time of recruitment and of the end of follow-up", None),
    ("6a", "setting: number and place of centres", "sites"),
    ("6b", "who was eligible", None),
    ("6c", "treatments received", None),
    ("7", "how data were prepared and checked, and alike in all groups", "preparation"),
    ("8a", "outcome and time horizon, and why these", "outcome"),
    ("8b", "who judged the outcome, with which training", None),
    ("8c", "whether they were blind to the predictors", None),
    ("9a", "which predictors were chosen to begin with, and why", "predictors"),
    ("9b", "definition of every predictor, how and when it was measured", None),
    ("9c", "who judged predictors that need judgement, with which training", None),
    ("10", "how the sample size was arrived at and whether it suffices", "size"),
    ("11", "how missing values were handled", "missing"),
    ("12a", "which patients were used for training and which for evaluation", "split"),
    ("12b", "how predictors entered the model: transformations, scaling", "preparation"),
    ("12c", "kind of model, why, and every step of building it, tuning and internal validation included", "models"),
    ("12d", "differences between centres or other clusters", "clusters"),
    ("12e", "measures of performance, and why these", "measures"),
    ("12f", "updating or recalibration", "recalibration"),
    ("12g", "how predictions were calculated in an evaluation", "prediction"),
    ("13", "whether class imbalance was handled, how, and with which recalibration", None),
    ("14", "what was done for fairness, and why", "fairness"),
    ("15", "what the model puts out, and how cut-offs were chosen", "output"),
    ("16", "differences between training and evaluation data", "clusters"),
    ("17", "ethics approval and consent", None),
    ("18a", "funding and the funders' part", None),
    ("18b", "conflicts of interest", None),
    ("18c", "where the protocol can be read", None),
    ("18d", "registration", None),
    ("18e", "where the data can be had", None),
    ("18f", "where the code can be had", "code"),
    ("19", "involvement of patients and the public", None),
    ("20a", "flow of patients, with numbers with and without the outcome", "flow"),
    ("20b", "characteristics of patients, in all and by centre, missing values included", None),
    ("20c", "in an evaluation: how predictors differ from those of the development data", None),
    ("21", "patients and events in each analysis", "size"),
    ("22", "the full model, so that others can use it", "model"),
    ("23a", "performance with intervals, subgroups included", "performance"),
    ("23b", "how performance differs between clusters", "clusters"),
    ("24", "results of updating, if any", "recalibration"),
    ("25", "what the results mean, fairness included", None),
    ("26", "limits of the study and their effect", "audits"),
    ("27a", "how poor or missing input is to be handled in use", "missing"),
    ("27b", "what users must do and know", None),
    ("27c", "what has to follow before use", None),
)


def write_statements(out: Path, facts: Facts) -> list[Path]:
    """Write ``model_card.md`` and ``tripod_ai.csv`` into a run folder; returns the files."""
    said = said_of(facts)
    card, checklist = out / "model_card.md", out / "tripod_ai.csv"
    with publish(card) as partial:
        partial.write_text(_card(facts, said), encoding="utf-8")
    with publish(checklist) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("item", "asks for", "state", "text"))
        for item, asks, fact in _ITEMS:
            text = "" if fact is None else said[fact]
            writer.writerow((item, asks, PERSON if not text else PARTLY if PERSON in text else FILLED, text))
        writer.writerow(("", CITATION, "", ""))
    return [card, checklist]


def _card(facts: Facts, said: dict[str, str]) -> str:
    person = f"*{PERSON}*"
    audits = "\n".join(f"| {a['audit']} | {a['verdict']} | {a['evidence']} |" for _, a in facts.audits.iterrows())
    main = facts.groups[(facts.groups["model"] == facts.study.main) & (facts.groups["metric"] == MAIN[facts.endpoint.kind][0])]
    groups = "\n".join(f"| {r['grouping']} | {r['group']} | {interval_words(r)} | {r['n']} |" for _, r in main.iterrows())
    return f"""# Model card: {facts.study.main} of {facts.study.name}

What the run knows of itself is filled in; what only a person can say is marked: {person}.

## What it predicts
{said["outcome"]} {said["output"]}

Intended use, users and place in care: {person}. Uses it is not meant for: {person}.

## Data
{said["flow"]}. {said["sites"]} {said["predictors"]}

Who these patients are, and whom they stand for: {person}.

## How it was made
{said["models"]} {said["split"]} {said["preparation"]} {said["missing"]}

## Performance
{said["performance"]}

| grouping | group | {MAIN[facts.endpoint.kind][0]} | n |
|---|---|---|---|
{groups}

## Audits
| fault looked for | verdict | evidence |
|---|---|---|
{audits}

## Limits and next steps
Not for clinical use: internal validation only; whether the data were gathered for it is {person}.

Risks, harms, monitoring and contact: {person}.

Reporting: tripod_ai.csv, after {CITATION}
"""
