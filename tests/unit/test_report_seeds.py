"""The page over several runs: groups, means, bands, hindsight and what the command line refuses."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import synthetic_online as online
from typer.testing import CliRunner

from inward.cli import app
from inward.errors import InwardError, RunFolderError, SettingsError
from inward.report import build_seeds
from inward.report.metrics import METRICS
from inward.report.seeds import grouped, other_differences, read
from inward.report.seeds_page import best, common, render

HOSTILE = "<script>document.title='owned'</script>"


def runs(path: Path) -> list[Path]:
    """Two seeds on self-certainty, out of order, and one on gold answers."""
    return [
        online.write(path / "b", run=online.manifest(2), accuracy=(0.50, 0.70, 0.60, 0.40), judged=False),
        online.write(path / "a", run=online.manifest(1), accuracy=(0.52, 0.60, 0.80, 0.30), stop=None, judged=False),
        online.write(
            path / "gold", run=online.manifest(1, reward="gold"), accuracy=(0.5, 0.6, 0.7, 0.9), kept=30, reward=0.5,
            stop=None, judged=False,
        ),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("seeds")
    return build_seeds(runs(folder), folder / "seeds.html").read_text("utf-8")


def drawing(page: str, caption: str) -> ET.Element:
    drawn = page.partition(f"<figcaption>{caption}<")[2]
    return ET.fromstring(drawn[drawn.index("<svg") : drawn.index("</svg>") + len("</svg>")])


def of_class(root: ET.Element, tag: str, style: str) -> list[ET.Element]:
    return [one for one in root.iter(tag) if one.get("class") == style]


def test_runs_are_grouped_by_what_sets_them_apart_and_sorted_by_seed(tmp_path: Path):
    groups = grouped(read(runs(tmp_path)))
    assert [(group.label, [run.manifest.seed for run in group.runs]) for group in groups] == [
        ("self_certainty", [1, 2]),
        ("gold", [1]),
    ]


def test_a_label_names_only_what_differs(tmp_path: Path):
    paths = [online.write(tmp_path / start, run=online.manifest(start=start), judged=False) for start in ("one", "two")]
    assert [group.label for group in grouped(read(paths))] == ["one", "two"]
    assert [group.label for group in grouped(read(paths[:1]))] == ["self_certainty"]


def test_values_are_put_together_at_the_steps_that_all_have():
    assert common([[(0.0, 1.0), (10.0, 2.0), (20.0, 3.0)], [(0.0, 5.0), (20.0, 7.0)]]) == [
        (0.0, [1.0, 5.0]),
        (20.0, [3.0, 7.0]),
    ]
    assert common([]) == []


def test_the_best_step_is_the_highest_accuracy_the_lowest_error_and_the_first_of_equals():
    points = [(0.0, 0.3), (10.0, 0.5), (20.0, 0.5), (30.0, 0.2)]
    assert best(METRICS["greedy_accuracy"], points) == (10.0, 0.5)
    assert best(METRICS["ece"], points) == (30.0, 0.2)
    assert best(METRICS["ece"], []) is None


def test_the_table_has_start_hindsight_kept_and_last_step(page: str):
    """Seeds 1 and 2: start .52, .50; best .80 at 20 and .70 at 10; kept at 20: .80, .60; last .30, .40."""
    table = page.partition("<tbody>")[2].partition("</tbody>")[0]
    [row, gold, *_] = re.findall(r'<tr><th scope="row">(.*?)</tr>', table)
    head, *cells = row.replace("</th>", "</td>").replace("<td>", "").split("</td>")[:-1]
    assert head == "self_certainty<small>seeds 1, 2</small>"
    assert cells == [
        "51.0%<small>50.0% to 52.0%</small>",
        "75.0%<small>70.0% to 80.0%</small><small>steps 20, 10</small>",
        "70.0%<small>60.0% to 80.0%</small><small>steps 20, 20</small>",
        "35.0%<small>30.0% to 40.0%</small><small>steps 30, 30</small>",
        "none, 30",
    ]
    assert "<td>90.0%<small>step 30</small></td>" in gold
    assert "picked with labels" in page


def test_a_thin_line_per_run_a_mean_and_a_band_between_the_extremes(page: str):
    """x: 48 + 12 a step; y: 16 + 260 (1 - accuracy). Means .51, .65, .70, .35; the band from .50 to .52 at step 0."""
    root = drawing(page, "Greedy accuracy: strict")
    assert len(of_class(root, "polyline", "curve group c1 thin")) == 2
    [mean] = of_class(root, "polyline", "curve group c1")
    assert mean.get("points") == "48,143.4 168,107 288,94 408,185"
    [band] = of_class(root, "polygon", "band group c1")
    assert (band.get("points") or "").startswith("48,140.8 168,94 288,68 408,172 ")
    assert len(of_class(root, "polyline", "curve group c2")) == 1
    assert not of_class(root, "polygon", "band group c2")
    rings = [(ring.get("cx"), ring.get("cy")) for ring in of_class(root, "circle", "ring group c1")]
    assert rings == [("288", "68"), ("288", "120")]


def test_rewards_without_a_common_scale_have_figures_of_their_own(page: str):
    assert page.count("<figcaption>Reward<small>") == 2
    assert page.count("<figcaption>Repetition</figcaption>") == 1


def test_the_lead_tells_where_gold_answers_were_used(page: str):
    lead = page.partition('<p class="lead">')[2].partition("</p>")[0]
    assert lead == (
        "self_certainty: 51.0% at step 0, 70.0% at the kept steps; gold: 50.0% at step 0, 90.0% at the kept step. "
        "Gold answers were used in training by gold. No labels were used in the other trainings."
    )


def test_one_group_stands_in_the_headline_and_older_runs_end_at_their_last_step(tmp_path: Path):
    path = online.write(tmp_path / "a", kept=None, stop=None, judged=False, stop_reason=None)
    page = render(grouped(read([path])))
    assert "<h1>Greedy accuracy over 1 run</h1>" in page
    assert "self_certainty: 50.0% at step 0, 40.0% at the last step. No labels were used in training." in page
    assert "<td>–</td>" in page


def test_more_than_the_seed_differing_within_a_group_is_a_warning(tmp_path: Path):
    paths = [
        online.write(tmp_path / str(rate), run=online.manifest(learning_rate=rate), judged=False)
        for rate in (1e-4, 3e-4)
    ]
    [group] = grouped(read(paths))
    assert other_differences(group) == ["optim.learning_rate"]
    assert "Runs of self_certainty differ in more than their seed: optim.learning_rate." in render([group])


def test_seven_groups_are_too_many(tmp_path: Path):
    paths = [online.write(tmp_path / str(i), run=online.manifest(start=f"m{i}"), judged=False) for i in range(7)]
    assert len(grouped(read(paths[:6]))) == 6
    with pytest.raises(SettingsError, match=r"form 7 groups, and 6 can be told apart on one page: m0; m1"):
        grouped(read(paths))


def test_a_run_without_a_curve_and_a_run_given_twice_are_refused(tmp_path: Path):
    path = online.write(tmp_path / "a", judged=False, curve=None)
    with pytest.raises(RunFolderError, match="has no metrics by step to draw"):
        read([path])
    with pytest.raises(SettingsError, match="is given twice"):
        read([path, path.parent / "." / "a" / ".." / "a"])


def test_no_text_of_any_run_becomes_markup(tmp_path: Path):
    paths = [
        online.write(tmp_path / f"{n}<b>", run=online.manifest(n, start=f"{n}{HOSTILE}"), text=HOSTILE, judged=False)
        for n in (1, 2)
    ]
    page = render(grouped(read(paths)))
    assert "<script" not in page
    assert "1&lt;script&gt;" in page
    assert "1&lt;b&gt;" in page


def test_the_command_writes_one_page_over_several_runs_and_says_where(tmp_path: Path):
    paths = [str(path) for path in runs(tmp_path)]
    done = CliRunner().invoke(app, ["report", *paths, "--out", str(tmp_path / "seeds.html")])
    assert (done.exit_code, done.stdout.strip()) == (0, str(tmp_path / "seeds.html"))
    assert not (tmp_path / "a" / "report.html").exists()
    refused = CliRunner().invoke(app, ["report", *paths])
    assert isinstance(refused.exception, InwardError)
    assert "--out seeds.html" in str(refused.exception)


def test_the_command_on_one_folder_writes_into_it(tmp_path: Path):
    path = online.write(tmp_path / "a")
    done = CliRunner().invoke(app, ["report", str(path)])
    assert done.stdout.strip() == str(path / "report.html")
    assert "What the training shows" in (path / "report.html").read_text("utf-8")
    assert json.loads((path / "summary.json").read_text())["kept_step"] == 20
