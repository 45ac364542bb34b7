"""The page of `inward calibrate`: what it says of a fit, and that no text of it becomes markup."""

from pathlib import Path

import pytest
import synthetic

from inward.report import build
from inward.runs import RunFolder
from inward.types import Artifact

FIT = {
    "method": "temperature", "temperature": 1.3794, "objective": "mean", "num_votes": 16, "votes_temperature": 1.0,
    "reference": None, "reference_sha256": None, "num_prompts": 62, "num_without_span": 2,
    "confidence_before": 0.7334, "confidence_after": 0.6089, "vote_share": 0.6089,
}  # fmt: skip


def page(path: Path, start: str = "embedded:chat", **changes: object) -> str:
    manifest = synthetic.manifest(method="calibrate", evaluation=None, start=Artifact(name=start, sha256="5f" * 32))
    with RunFolder.open(path, manifest) as folder:
        summary = {"seconds": {"sample": 3.8, "fit": 0.3}, "warnings": [], "recalibration": FIT | changes}
        folder.write_json("summary.json", summary)
    return build(path).read_text("utf-8")


def test_the_fit_is_what_the_page_is_about(tmp_path: Path):
    shown = page(tmp_path / "fit")
    assert "<h1>Confidence went from 0.733 to 0.609 by temperature</h1>" in shown
    assert "<b>62</b>greedy answers it was fitted on" in shown
    assert "<b>60.9%</b>of the samples vote for the greedy answer" in shown
    assert "<b>1.379</b>temperature of the answer's tokens" in shown
    assert "reference model" not in shown
    assert "Trained on" not in shown and "whether training helped" not in shown


def test_what_to_run_next_has_the_settings_of_embedded_models(tmp_path: Path):
    shown = page(tmp_path / "fit")
    assert "inward evaluate --model embedded:chat --task TASK --out START\n" in shown
    command = shown.partition(f"inward evaluate --model {tmp_path / 'fit' / 'checkpoint'} --task TASK --config ")[2]
    assert Path(command.split()[0]).name == "evaluate-embedded.yaml"
    assert Path(command.split()[0]).exists()
    assert "--config" not in page(tmp_path / "other", start="some/model")


@pytest.mark.parametrize("method", ["votes", "reference", "distill"])
def test_other_methods_are_put_into_words(tmp_path: Path, method: str):
    changes = {"temperature": None, "vote_share": None, "reference": "<b>x</b>" if method == "reference" else None}
    shown = page(tmp_path / "fit", method=method, **changes)
    assert f"<b>{method}</b>: the c" in shown
    assert "<b>x</b>" not in shown
    assert ("&lt;b&gt;x&lt;/b&gt;</b>reference model" in shown) == (method == "reference")
    assert "temperature of" not in shown
