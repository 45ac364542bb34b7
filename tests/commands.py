"""The command line as tests call it, in this process or in one of its own, and sums to ask the adder for."""

import json
import os
import random
import subprocess
import sys
import sysconfig
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest import mock

from inward.cli import main

INWARD = Path(sysconfig.get_path("scripts"), "inward")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}

ADDER_SETTINGS = """
sampling: {max_completion_tokens: 11, num_branches: 4}
answer: {kind: number, elicit: never}
evaluation: {num_samples: 2, max_completion_tokens: 11}
optim: {num_epochs: 1, batch_size: 8, learning_rate: 1e-4}
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """What stands after `error:`; nothing that follows belongs to anything else."""
        assert self.err.count("error: ") == 1 and "Traceback" not in self.err, self.err
        return self.err.partition("error: ")[2].rstrip("\n")


def call(*args: str | Path) -> Ended:
    """Run `inward` in this process, which spares the seconds that importing torch takes."""
    out, err = StringIO(), StringIO()
    with (
        mock.patch.dict(os.environ, ENVIRONMENT),
        mock.patch.object(sys, "argv", ["inward", *map(str, args)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
    return Ended(code=code, out=out.getvalue(), err=err.getvalue())


def spawn(*args: str | Path) -> Ended:
    """Run the installed `inward` as a process of its own."""
    done = subprocess.run([INWARD, *args], env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


def sums(num: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Rows for the ten-digit adder: the two numbers reversed and framed by zeros, the gold answer reversed too."""
    numbers = random.Random(seed)
    rows: list[dict[str, str]] = []
    for i in range(num):
        a, b = numbers.randrange(10**10), numbers.randrange(10**10)
        prompt = f"0{f'{a:010d}'[::-1]}00{f'{b:010d}'[::-1]}0"
        rows.append({"id": f"sum-{i}", "prompt": prompt, "answer": f"{a + b:011d}"[::-1]})
    return rows


def write_lines(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
