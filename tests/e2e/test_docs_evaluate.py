"""The page on evaluation: its blocks give what it prints, and it shows what a study does not call itself."""

import ast
import doctest
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "evaluate.md"
SOURCE = ROOT / "src" / "oncoweave"


def test_the_blocks_of_the_page_give_what_it_prints():
    found = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert found.attempted > 80
    assert found.failed == 0


def test_functions_that_nothing_calls_are_shown_on_the_page():
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
    used = Counter(word for text in texts.values() for word in re.findall(r"\w+", text))
    public = [
        node.name
        for path, text in texts.items()
        if path.parent == SOURCE / "evaluate"
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    alone = {name for name in public if used[name] == 1}
    assert alone  # the library has functions for users alone
    assert alone <= set(re.findall(r"\w+", PAGE.read_text(encoding="utf-8")))
