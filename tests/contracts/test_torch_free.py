"""Evaluation and splits must be importable where torch is not installed."""

import subprocess
import sys

BLOCK = """
import importlib, pkgutil, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch was imported")

sys.meta_path.insert(0, Block())
import oncoweave.evaluate as package
names = [m.name for m in pkgutil.iter_modules(package.__path__)]
for name in names:
    importlib.import_module(f"oncoweave.evaluate.{name}")
importlib.import_module("oncoweave.data.splits")
print(len(names))
"""


def test_evaluation_and_splits_do_not_need_torch():
    done = subprocess.run([sys.executable, "-c", BLOCK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
