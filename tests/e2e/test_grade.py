"""`inward grade` as a process: killed in the middle and repeated, it grades every line once."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from commands import ENVIRONMENT, INWARD, spawn


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def problems(num: int) -> list[dict[str, Any]]:
    """Expansions of squares, every third wrong."""
    return [
        {"id": i, "prediction": f"So \\boxed{{(x+{i})^2}}.", "gold": f"x^2+{2 * i}x+{i * i + (i % 3 == 0)}"}
        for i in range(1, num + 1)
    ]


@pytest.mark.slow
def test_killed_and_repeated_every_line_is_graded_once(tmp_path: Path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given = problems(160)
    source.write_text("".join(json.dumps(row) + "\n" for row in given))
    command = [INWARD, "grade", source, "--out", out, "--jobs", "1"]
    before: list[str] = []
    for _ in range(2):
        running = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while time.monotonic() < end and (not out.exists() or len(out.read_bytes().splitlines()) < len(before) + 20):
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        lines = out.read_text().splitlines(keepends=True)
        assert lines[: len(before)] == before
        before = [line for line in lines if line.endswith("\n")]
    assert 40 <= len(before) < 160

    done = spawn("grade", source, "--out", out)

    assert done.code == 0, done.err
    after = out.read_text().splitlines(keepends=True)
    assert after[: len(before)] == before
    assert [row["id"] for row in rows(out)] == list(range(1, 161))
    assert [row["verdict"] for row in rows(out)] == ["incorrect" if i % 3 == 0 else "correct" for i in range(1, 161)]
    assert f"{len(before)} of 160 lines are graded already" in done.err
    # 53 of 160 are divisible by 3.
    assert done.out.splitlines()[:2] == ["correct          107", "incorrect         53"]

    assert spawn("grade", source, "--out", out).code == 0
    assert out.read_text().splitlines(keepends=True) == after


def test_ctrl_c_is_one_line_and_can_be_repeated(tmp_path: Path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in problems(2000)))
    running = subprocess.Popen(
        [INWARD, "grade", source, "--out", out, "--jobs", "1"], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 60
    while time.monotonic() < end and (not out.exists() or not out.stat().st_size):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "interrupted; the same command continues where it stopped" in errors and "Traceback" not in errors
    assert all("verdict" in row for row in rows(out))


def test_hostile_lines_end_in_time(tmp_path: Path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    hostile = ["9^{9^{9^{9}}}", "9^9^9^9", "9" * 10**6, "\\frac{" * 5000, "{" * 10000, "\x00\x00", "\u202e81\u202c",
               "x_{" * 300 + "}" * 300, "(" * 3000, "99999999!", "\\sum_{k=1}^{10^{12}} k^k", "x" * 10**6]  # fmt: skip
    source.write_text("".join(json.dumps({"prediction": text, "gold": "2\\sqrt{3}"}) + "\n" for text in hostile))
    done = spawn("grade", source, "--out", out)
    assert done.code == 0, done.err
    assert {row["verdict"] for row in rows(out)} <= {"incorrect", "unscored", "no_answer"}
    assert all(row["seconds"] < 30 for row in rows(out))
