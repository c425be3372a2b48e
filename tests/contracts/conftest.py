"""Lets the contract suites import what the scripts of tests/reference draw their inputs from."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))
pytest.register_assert_rewrite("fusion_checks", "fusion_promises")
