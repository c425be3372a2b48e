"""The contract of the fusion shelf as a table: every operator by every promise, with how many of its tests hold.

    python benchmarks/fusion_contract.py [--page PAGE]

Runs ``tests/contracts/test_fusion.py`` and ``test_fusion_peers_bugs.py`` and lays out what they say; promises are worded by the
names of the tests. A dash: the promise is not asked of that operator.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET  # our own pytest wrote it
from collections import defaultdict
from pathlib import Path

from oncoweave.core import shelf

TESTS = Path(__file__).parent.parent / "tests" / "contracts"
STAGES = {"early": ("early",), "networks (intermediate and hybrid)": ("intermediate", "hybrid"), "late": ("late",)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        files = [str(TESTS / name) for name in ("test_fusion.py", "test_fusion_peers_bugs.py")]
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n0", f"--junitxml={report}", *files], check=False)
        if done.returncode not in (0, 1):
            sys.exit(f"pytest did not finish (exit code {done.returncode}): no table is written")
        cases = ET.parse(report).getroot().iter("testcase")
        text = page([(case.get("classname", ""), case.get("name", ""), outcome(case)) for case in cases])
    if given.page:
        given.page.write_text(text, encoding="utf-8")
    print(text)


def outcome(case: ET.Element) -> str:
    return next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")


def page(cases: list[tuple[str, str, str]]) -> str:
    """Lay out a table a stage, and which check catches which planted fault."""
    stage_of = {entry.name: str(entry.constants["STAGE"]) for entry in shelf.catalogue("fusion")}
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    peers = [(name, result) for module, name, result in cases if module.endswith("peers_bugs")]
    for module, name, result in cases:
        operator, promise = parse(name)
        if operator in stage_of and not module.endswith("peers_bugs"):
            found[operator, promise].append(result)
    passed = sum(result == "passed" for _, _, result in cases)
    skipped = sum(result == "skipped" for _, _, result in cases)
    failed = len(cases) - passed - skipped
    lines = [
        "# The contract of the fusion shelf", "", f"    python {Path(__file__).parent.name}/{Path(__file__).name}", "",
        f"{len(stage_of)} operators, {len(cases)} tests: {passed} hold, {skipped} have nothing to ask, {failed} fail.", "",
        "A dash: the promise is not asked of that operator, as it returns no attention, has no loss of its own, or says nothing",
        "(the flag that lets one of the planted faults compute). Early and late fusions have no tokens, gradients or bf16:",
        "they have promises of their own. So has `two_level`, an early and a late fusion in one, whose absent modalities have",
        "nothing under a mask. An average is asked of operators that take one: the others add up, multiply or tell modalities",
        "apart.", "",
    ]  # fmt: skip
    for title, stages in STAGES.items():
        operators = [name for name, stage in stage_of.items() if stage in stages]
        promises = sorted({p for o, p in found if o in operators})
        lines += [f"## {title}", "", f"| promise | {' | '.join(operators)} |", "|---|" + ":-:|" * len(operators)]
        for promise in promises:
            cells = [cell(found.get((operator, promise), [])) for operator in operators]
            lines.append(f"| {promise} | {' | '.join(cells)} |")
        lines.append("")
    whole = [(n, result) for module, n, result in cases if not module.endswith("peers_bugs") and parse(n)[0] not in stage_of]
    for title, told in (("The shelf as a whole", whole), ("Planted copies of published faults", peers)):
        lines += [f"## {title}", ""]
        lines += [f"- {name.removeprefix('test_').replace('_', ' ')}: {result}" for name, result in sorted(told)]
        lines.append("")
    return "\n".join(lines)


def parse(name: str) -> tuple[str, str]:
    """Read the operator and the promise out of a test's name."""
    whole = re.fullmatch(r"test_(\w+?)(?:\[([\w.]+)(?:-([\w.+ -]+))?\])?", name)
    if whole is None or whole[2] is None:
        return "", name
    promise = whole[3] if whole[1] == "network" else re.sub(r"^(late|early|levels)_", "", whole[1])
    return whole[2], promise.replace("_", " ")


def cell(results: list[str]) -> str:
    asked = [result for result in results if result != "skipped"]
    if not asked:
        return "–"
    good = sum(result == "passed" for result in asked)
    return (
        ("✓" if len(asked) == 1 else f"✓{len(asked)}") if good == len(asked) else f"**{len(asked) - good} of {len(asked)} fail**"
    )


if __name__ == "__main__":
    main()
