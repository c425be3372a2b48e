"""How tasks and models of a bench are called on its page."""

from oncoweave.serve import wording


def task_name(key: str) -> str:
    """Write the key of a task as words: ``mutation_luad/EGFR@tcga`` becomes ``mutation luad: EGFR (tcga)``."""
    name, _, place = key.partition("@")
    words = wording.spaced(name.replace("/", ": "))
    return f"{words} ({wording.spaced(place)})" if place else words


def model_name(name: str) -> str:
    """Write a model's name for a reader."""
    return wording.model(name)
