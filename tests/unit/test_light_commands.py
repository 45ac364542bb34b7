"""The commands that judge, show and grade start without what they do not use."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import synthetic

HEAVY = {"torch", "trl", "transformers", "scipy", "datasets", "peft", "accelerate"}


def run_folder(path: Path) -> str:
    return str(synthetic.write(path / "run", synthetic.run(problems=6, prompts=2, group_size=8)))


def predictions(path: Path) -> str:
    file = path / "predictions.jsonl"
    file.write_text(json.dumps({"prediction": "#### 4", "gold": "4"}) + "\n", encoding="utf-8")
    return str(file)


@pytest.mark.parametrize(
    "arguments",
    [
        lambda path: ["--help"],
        lambda path: ["report", "--help"],
        lambda path: ["report", run_folder(path)],
        lambda path: ["diagnose", run_folder(path)],
        lambda path: ["compare", run_folder(path), "--out", str(path / "page.html")],
        lambda path: ["export", run_folder(path)],
        lambda path: ["grade", predictions(path), "--out", str(path / "graded.jsonl")],
    ],
    ids=["help", "report-help", "report", "diagnose", "compare", "export", "grade"],
)
def test_no_import_of_what_is_not_used(tmp_path: Path, arguments: Callable[[Path], list[str]]):
    script = (
        "import sys\nfrom inward.cli import main\n"
        f"sys.argv = ['inward', *{arguments(tmp_path)!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & {*done.stdout.rpartition("LOADED")[2].split()}
