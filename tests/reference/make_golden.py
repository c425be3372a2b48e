"""Write tests/golden/encoders.json: what each encoder makes of fixed inputs with fixed weights.

Run ``python tests/reference/make_golden.py`` from the repository after a deliberate change of an encoder, and say before and
after in the commit.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from drawn import GOLDEN_BELOW, golden_output, num_parameters

from oncoweave.core import shelf

GOLDEN = Path(__file__).parents[1] / "golden" / "encoders.json"


def main() -> None:
    """Write the numbers of every variant of every encoder but the largest, to six digits."""
    numbers = {}
    for name in shelf.names("encoders"):
        for variant in shelf.load("encoders", name).VARIANTS:
            if num_parameters(name, variant) >= GOLDEN_BELOW:
                continue
            rows = np.array(golden_output(name, variant))[:, :12]  # a tile encoder's vector may be long
            numbers[f"{name}/{variant}"] = [[float(f"{v:.6g}") for v in row] for row in rows]
    lines = ",\n".join(f'"{key}": {json.dumps(rows)}' for key, rows in numbers.items())
    GOLDEN.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
