"""Write tests/golden/cohort_v1, a cohort folder of the first schema version. Never run again: it must stay readable as it is."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from test_store import GOLDEN, small_cohort

from oncoweave.data.store import write_cohort

if __name__ == "__main__":
    write_cohort(small_cohort(), GOLDEN)
