"""What is installed here, for the run manifest and for ``oncoweave doctor``."""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the examination."""

    part: str
    found: str
    ok: bool
    required: bool
    advice: str = ""


def _requirements() -> list[tuple[str, str]]:
    """``(extra or "core", package)`` for everything oncoweave declares, but development tools."""
    pairs = []
    for text in requires("oncoweave") or []:
        requirement = Requirement(text)
        marker = str(requirement.marker or "")
        extra = marker.split("extra ==")[1].strip().strip("'\"") if "extra ==" in marker else "core"
        if extra != "dev":
            pairs.append((extra, requirement.name))
    return pairs


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Versions of Python, of oncoweave and of every installed library it declares."""
    found = {"python": platform.python_version(), "oncoweave": _version("oncoweave") or "unknown"}
    return found | {package: v for _, package in _requirements() if (v := _version(package))}


def commit() -> str:
    """The commit of the checkout oncoweave runs from, or ``""`` when it was installed as a package."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def examine() -> list[Finding]:
    """Examine the machine: Python, libraries by extra, accelerator, memory and disk."""
    findings = [
        Finding(part="python", found=platform.python_version(), ok=sys.version_info >= (3, 11), required=True, advice=""),
    ]
    for extra, package in _requirements():
        found = _version(package)
        advice = "" if found else f"pip install 'oncoweave{'' if extra == 'core' else f'[{extra}]'}'"
        findings.append(
            Finding(part=f"{extra}: {package}", found=found or "-", ok=found is not None, required=extra == "core", advice=advice)
        )
    return [*findings, _torchvision(), _accelerator(), _machine()]


def _torchvision() -> Finding:
    found = _version("torchvision")
    torch = _version("torch") or ""
    mismatched = found is not None and "+cpu" in torch and "+cpu" not in found
    advice = (
        "uninstall torchvision: its build does not fit this CPU build of torch and breaks what imports it" if mismatched else ""
    )
    return Finding(part="torchvision (not needed)", found=found or "-", ok=not mismatched, required=False, advice=advice)


def _accelerator() -> Finding:
    import torch

    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none; the CPU is used"
    return Finding(part="accelerator", found=name, ok=True, required=False)


def _machine() -> Finding:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    disk_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    found = f"{os.cpu_count()} cores, {memory_gib:.0f} GiB memory, {disk_gib:.0f} GiB free here"
    return Finding(part="machine", found=found, ok=disk_gib > 1, required=False, advice="" if disk_gib > 1 else "free some disk")
