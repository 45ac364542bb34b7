"""The demo shows what the README says it shows."""

import json
from pathlib import Path

import pytest
from commands import fork


@pytest.mark.slow
def test_the_demo_raises_accuracy_and_lowers_ece_beyond_their_intervals(tmp_path: Path):
    assert fork("demo", "--out", tmp_path / "demo").wait(600).code == 0
    summary = json.loads((tmp_path / "demo/summary.json").read_text())
    accuracy, ece = summary["difference"]["greedy_accuracy"], summary["difference"]["ece"]
    assert summary["labels_used"] is False
    assert accuracy["n"] >= 250
    assert accuracy["value"] >= 0.30 and accuracy["low"] > 0
    assert ece["value"] <= -0.15 and ece["high"] < 0
    page = (tmp_path / "demo/report.html").read_text()
    assert "No labels were used in training" in page
