"""The page of `inward interpolate`: what it says and draws, and that no name on it can do harm."""

import dataclasses
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import synthetic

from inward.errors import RunFolderError
from inward.report import build
from inward.report.along import ticks
from inward.report.curve import CurveData, read, render
from inward.report.data import RunData
from inward.runs import RunFolder
from inward.types import Artifact, Estimate

ATTACK = "<script>document.title='owned'</script>"


def estimate(value: float, half: float = 0.05) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, n=320)


def row(ratio: float, accuracy: float, entropy: float, *, half: float = 0.05) -> dict[str, object]:
    return {"ratio": ratio, "greedy_accuracy": estimate(accuracy, half), "entropy": estimate(entropy, half)}


def summary(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "task": "arithmetic",
        "to": "embedded:instruct",
        "curve": [row(0.0, 0.6, 1.2), row(1.0, 0.8, 0.2), row(0.5, 0.9, 0.6)],
        "differences": [row(1.0, 0.2, -1.0), row(0.5, 0.3, -0.6)],
        "seconds": {"mix": 0.1, "evaluate": 2.0},
        "warnings": [],
    }
    return fields | changes


def write(path: Path, start: str = "embedded:base", **changes: object) -> Path:
    manifest = synthetic.manifest(method="interpolate", start=Artifact(name=start, sha256="5f" * 32))
    with RunFolder.open(path, manifest) as folder:
        folder.write_json("summary.json", summary(**changes))
    return path


@pytest.fixture
def data(tmp_path: Path) -> CurveData:
    return read(write(tmp_path / "run"))


def figures(page: str) -> list[ET.Element]:
    """The figures of the page; its other SVG holds patterns alone."""
    parts = [part.partition("</svg>")[0] for part in page.split("<figure>")[1:]]
    return [ET.fromstring(part[part.index("<svg") :] + "</svg>") for part in parts]


def test_the_headline_compares_the_last_ratio_with_the_first(data: CurveData):
    page = render(data)

    assert "<h1>Greedy accuracy is 60.0% at ratio 0 and 90.0% at ratio 0.5</h1>" in page
    assert '<p class="lead">+30.0 points, 95% interval +25.0 to +35.0, on 320 problems.</p>' in page
    assert "<h2>Differences from ratio 0</h2>" in page


def test_curves_go_from_low_to_high_ratios_whatever_their_order(data: CurveData):
    accuracy, entropy = figures(render(data))

    titles = [title.text for title in accuracy.iter("title")]
    assert titles == ["strict: 0, 0.600", "strict: 0.5, 0.900", "strict: 1, 0.800"]
    # Intervals of the entropy reach from 0.15 to 1.25: five steps of 0.25 from zero.
    labels = [text.text for text in entropy.iter("text") if text.get("class") == "end"]
    assert labels == ["0", "0.25", "0.5", "0.75", "1", "1.25"]


def test_every_mix_has_its_column_with_intervals_and_missing_numbers_a_dash(data: CurveData):
    page = render(data)
    metrics, differences = page.split("<table>")[1:3]

    assert "".join(f'<th scope="col">{ratio}</th>' for ratio in ("0", "1", "0.5")) in metrics
    assert "<td>60.0%<small>55.0% to 65.0%</small></td><td>80.0%<small>75.0% to 85.0%</small></td>" in metrics
    assert "<td>+20.0<small>+15.0 to +25.0</small></td>" in differences
    assert "<td>–</td>" in metrics


def test_one_mix_alone_has_no_curve_and_no_differences(tmp_path: Path):
    page = render(read(write(tmp_path / "run", curve=[row(-0.5, 0.6, 1.2)], differences=[])))

    assert "<h1>Greedy accuracy is 60.0% at ratio −0.5</h1>" in page
    assert "95% interval 55.0% to 65.0%, on 320 problems." in page
    assert not figures(page) and "<h2>Differences" not in page


def test_numbers_that_are_not_defined_are_left_out_of_the_curve(tmp_path: Path):
    rows = [row(0.0, math.nan, 0.0, half=0.0), row(1.0, math.nan, 0.0, half=0.0)]
    page = render(read(write(tmp_path / "run", curve=rows, differences=rows[1:])))

    assert "<h1>2 mixes judged</h1>" in page
    (entropy,) = figures(page)
    assert [title.text for title in entropy.iter("title")] == ["evaluation: 0, 0.000", "evaluation: 1, 0.000"]


def test_names_are_escaped_wherever_they_stand(tmp_path: Path):
    changes: dict[str, object] = {"to": f"b{ATTACK}", "task": f"t{ATTACK}", "warnings": [f"w{ATTACK}"]}
    target = build(write(tmp_path / "run", start=f"a{ATTACK}", **changes))
    page = target.read_text("utf-8")

    assert target == tmp_path / "run" / "report.html"
    assert "<script" not in page
    for name in "abtw":
        assert f"{name}&lt;script&gt;document.title=&#x27;owned&#x27;&lt;/script&gt;" in page


def test_labels_under_a_figure_keep_their_distance():
    assert ticks([0.0, 0.05, 0.1, 0.2, 0.5, 1.0]) == [0.0, 0.1, 0.2, 0.5, 1.0]
    assert ticks([-1.0, 0.0, 1.0]) == [-1.0, 0.0, 1.0]


def test_an_unfinished_run_has_no_page(tmp_path: Path):
    folder = write(tmp_path / "run")
    (folder / "summary.json").unlink()

    with pytest.raises(RunFolderError, match=r"has no summary\.json, so its run is not finished"):
        build(folder)


def test_the_data_are_those_of_the_run_folder(data: CurveData):
    assert data.run == dataclasses.replace(
        RunData(manifest=data.run.manifest), task="arithmetic", seconds={"mix": 0.1, "evaluate": 2.0}
    )
    assert data.to == "embedded:instruct"
    assert [ratio for ratio, _ in data.curve] == [0.0, 1.0, 0.5]
    assert data.differences[0] == (1.0, {"greedy_accuracy": estimate(0.2), "entropy": estimate(-1.0)})
