"""Number of usable cores, with and without an affinity mask."""

import os
import subprocess
import sys

import pytest

from physhmr_kit.simulation.cores import usable_cores


def test_all_cores_of_the_affinity_mask():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system keeps no affinity mask")
def test_a_process_tied_to_one_core_uses_one():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from physhmr_kit.simulation.cores import usable_cores; print(usable_cores())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"
