"""`scripts/chaos` with two kills; `docs/reliability.md` has fifty, and the other disasters."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ENVIRONMENT

CHAOS = Path(__file__).parents[2] / "scripts/chaos.py"


@pytest.mark.slow
def test_killed_runs_end_in_the_bytes_of_one_left_in_peace():
    done = subprocess.run(
        [sys.executable, CHAOS, "--kills", "2", "--seed", "3", "--only", "kills", "--json"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["kills"], result["identical"], result["clear_errors"], result["failed"]) == (2, 2, 0, 0)
    assert sum(result["by_stage"].values()) == 2
