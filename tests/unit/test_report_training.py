"""What the page of an online training says and draws: curves, monitors, findings, answers and words by step."""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import synthetic
import synthetic_online as online
from pages import without_explorer

from inward.report import build, figures
from inward.report.derived import problems_along, steps_to_show
from inward.report.page import render
from inward.report.progress import Progress, progress
from inward.report.reading import read
from inward.report.words import headline
from inward.runs import RunFolder
from inward.types import Outcome

HOSTILE = "</style></title><script>document.title='owned'</script><img src=x onerror=\"alert(1)\">'\u202e\x01"
RIGHT, WRONG = Outcome.CORRECT, Outcome.INCORRECT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return online.write(tmp_path_factory.mktemp("online") / "run")


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return render(read(folder))


def section(page: str, anchor: str) -> str:
    return page.partition(f'<section id="{anchor}">')[2].partition("</section>")[0]


def figure(page: str, caption: str) -> ET.Element:
    drawn = page.partition(f"<figcaption>{caption}<")[2]
    return ET.fromstring(drawn[drawn.index("<svg") : drawn.index("</svg>") + len("</svg>")])


def ticks(drawing: ET.Element) -> list[str | None]:
    return [text.text for text in drawing.iter("text") if text.get("class") == "end"]


def titles(drawing: ET.Element) -> list[str | None]:
    return [title.text for title in drawing.iter("title")]


def log(path: Path, *events: tuple[str, dict[str, object]]) -> RunFolder:
    with RunFolder.open(path, online.manifest()) as folder:
        for name, fields in events:
            folder.log(name, **fields)
    return RunFolder.read(path)


# What is read


def test_of_a_step_logged_twice_the_last_counts_and_nothing_stands_for_undefined(tmp_path: Path):
    folder = log(
        tmp_path / "run",
        ("monitor", {"step": 0, "reward": 1.0, "entropy": math.nan}),
        ("monitor", {"step": 1, "reward": 2.0, "entropy": 0.5}),
        ("monitor", {"step": 1, "reward": 3.0, "entropy": 0.4}),
    )
    seen = progress(folder, {})
    assert seen.monitors == {"reward": [(0, 1), (1, 3)], "entropy": [(1, 0.4)]}
    assert seen.last_step == 1


def test_a_divergence_that_the_loss_measured_belongs_to_the_traces_before_the_update(tmp_path: Path):
    """The event `train` of step 1 tells of the update made from the traces sampled after 0 updates."""
    folder = log(
        tmp_path / "run",
        ("monitor", {"step": 0, "kl": None}),
        ("train", {"step": 1.0, "kl": 0.25}),
        ("monitor", {"step": 1, "kl": 0.5}),
        ("train", {"step": 2.0, "kl": 9.0}),
    )
    assert progress(folder, {}).monitors["kl"] == [(0, 0.25), (1, 0.5)]


def test_what_vllm_is_off_by_is_drawn_at_the_step_whose_traces_it_wrote(tmp_path: Path):
    seen = online.write(tmp_path / "run")
    captions = ("vLLM against the trainer", "Weight of vLLM's traces")
    assert not any(caption in render(read(seen)) for caption in captions)
    with RunFolder.open(seen, online.manifest()) as folder:
        for step in range(30):
            folder.log("train", step=step + 1.0, engine_mismatch=0.02 + step / 1000, engine_weight=0.5)
    run = read(seen)
    assert run.progress.monitors["engine_mismatch"][:2] == [(0, 0.02), (1, 0.021)]
    shown = section(render(run), "along")
    assert all(f"<figcaption>{caption}<" in shown for caption in captions)


def test_support_is_a_mean_over_prompts_with_its_interval(tmp_path: Path):
    """Mean of .2 and .6 is .4; variance .08, standard error sqrt(.08/2) = .2, times 1.96 = .392."""
    folder = log(tmp_path / "run", ("probe", {"step": 0, "support": [0.2, 0.6]}))
    [(step, one)] = progress(folder, {}).support
    assert (step, one.n) == (0, 2)
    assert (one.value, one.low, one.high) == pytest.approx((0.4, 0.008, 0.792))


def test_summaries_without_the_newer_keys_give_reward_and_nothing_else(tmp_path: Path):
    summary = {"curve": [{"step": 0, "reward": None}, {"step": 10, "reward": 0.5}, {"step": 20, "reward": 0.6}]}
    seen = progress(log(tmp_path / "run"), summary)
    assert seen == Progress(
        monitors={"reward": [(10.0, 0.5), (20.0, 0.6)]}, words=[], support=[], last_step=20, findings=[]
    )


# What is chosen


def test_problems_shown_are_those_that_change_then_the_first():
    steps = [
        {"a": RIGHT, "b": RIGHT, "c": WRONG, "d": WRONG},
        {"a": RIGHT, "b": WRONG, "c": Outcome.NO_ANSWER, "d": RIGHT},
    ]
    assert problems_along(steps) == ["b", "d", "a"]
    assert problems_along([{"a": RIGHT}]) == ["a"]
    assert problems_along([]) == []


def test_steps_shown_are_first_kept_middle_and_last():
    assert steps_to_show([0, 10, 20, 30, 40, 50, 60], 20) == [0, 20, 30, 60]
    assert steps_to_show([0, 10, 20, 30, 40, 50, 60], 60) == [0, 30, 60]
    assert steps_to_show([0, 10], None) == [0, 10]


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([0.15, 1.25], (0, 1.25)),  # .15 is below half of 1.25, so from zero; 1.25 = 5 x .25
        ([5.87, 6.02], (5.85, 6.1)),  # .15 takes steps of .05, and the first below 5.87 is 5.85
        ([-0.5, -0.2], (-0.5, 0.0)),  # .3/5 = .06: steps of .1
        ([3.0, 3.0], (2.6, 3.6)),  # a tenth to either side: 2.7 to 3.3 take steps of .2 from 2.6
        ([0.0, 0.0], (0.0, 1.0)),
    ],
)
def test_axes_end_on_round_numbers_around_the_values(values: list[float], ends: tuple[float, float]):
    assert figures.scale(values) == pytest.approx(ends)


# What the page says


def test_the_kept_step_is_in_the_lead(folder: Path):
    claim, evidence = headline(read(folder))
    assert claim == "Greedy accuracy rose from 50.0% to 70.0%"
    assert evidence.endswith("No labels were used in training. Kept: step 20 of 30.")


@pytest.mark.parametrize(("kept", "said"), [(0, " Kept: step 0 of 30, the start model."), (30, ""), (None, "")])
def test_a_last_step_that_was_kept_goes_without_saying(folder: Path, kept: int | None, said: str):
    run = read(folder)
    lead = headline(dataclasses.replace(run, progress=dataclasses.replace(run.progress, kept_step=kept)))[1]
    assert lead.endswith(f"No labels were used in training.{said}")


def test_findings_stand_with_severity_evidence_and_advice(page: str):
    shown = section(page, "findings")
    assert "<h2>What the training shows</h2>" in shown
    assert "The stop rule fired: at step 30 the start model&#x27;s votes support the answers less" in shown
    assert "Kept is step 20 of 30." in shown
    assert "No label was used for this" in shown
    assert re.findall(r'<span class="pill (\w+)">(\w+)</span> <b>([^<]*)</b>', shown) == [
        ("warn", "warning", "Entropy collapse"),
        ("same", "note", "Format gain only"),
    ]
    assert "<p>Token entropy fell from 0.5 to 0.01 nats.</p>" in shown
    assert '<p class="quiet">Stop earlier, or raise optim.kl.</p>' in shown
    assert "<p>It learned to finish.</p>" in shown


def test_a_training_that_shows_nothing_says_so(tmp_path: Path):
    shown = section(render(read(online.write(tmp_path / "run", findings=[], stop=None))), "findings")
    assert "The stop rule did not fire" in shown
    assert "Nothing unusual was found." in shown


def test_transitional_words_of_the_first_and_the_last_tenth(page: str):
    """Thirty steps: three at either end. hmm: 30 + 29 + 28 = 87 and 3 + 2 + 1 = 6 of 300 words; but: 3 and 3."""
    shown = section(page, "along").partition("<table>")[2]
    assert '<th scope="col">First 3 steps</th>' in shown
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th><td>(.*?)</td></tr>', shown)
    assert [(word, cells.split("</td><td>")) for word, cells in rows] == [
        ("hmm", ["87", "290.0", "6", "20.0"]),
        ("but", ["3", "10.0", "3", "10.0"]),
        ("All words", ["300", "", "300", ""]),
    ]


def test_the_same_problems_are_shown_at_four_steps(page: str):
    """q3 turns wrong at step 20 and q5 right at step 30; q0 fills up. Middle of 0, 10, 20, 30 is 10, kept is 20."""
    shown = section(page, "prompts")
    assert re.findall(r"<b>(q\d)</b> <span class=\"quiet\">([^<]*)</span>", shown) == [
        ("q0", "right → right → right → right"),
        ("q3", "right → right → wrong → wrong"),
        ("q5", "wrong → wrong → wrong → right"),
    ]
    headings = re.findall(r'<article class="trace"><header><span class="quiet">([^<]*)</span>', shown)
    assert headings == ["step 0, start model", "step 10", "step 20, kept", "step 30"] * 3
    assert shown.count("· 5 tokens ·") == 12
    assert '<i class="s6" title="probability 0.600, entropy 0.800 nats, disparity 0.200">hmm </i>' in shown


def test_a_run_without_judged_traces_along_the_way_has_no_such_section(tmp_path: Path):
    page = render(read(online.write(tmp_path / "run", judged=False)))
    assert 'id="prompts"' not in page
    assert 'id="along"' in page


# What the page draws


def test_figures_of_judged_checkpoints_and_of_monitors(page: str):
    shown = section(page, "along")
    captions = re.findall(r"<figcaption>([^<]*)<", shown)
    assert captions == [
        "Greedy accuracy", "Sampled accuracy", "Calibration error", "Entropy of a token", "Length of a completion",
        "Support by the start's votes", "Reward", "Agreement within a group",
        "Answered and cut off", "KL to the start model", "Repetition", "Transitional words",
    ]  # fmt: skip


def test_the_kept_step_and_the_stop_are_marked_on_every_figure(page: str):
    """x from 0 to 30 over 360 units from 48: step 20 lies at 288 and the end at 408."""
    shown = section(page, "along")
    drawings = re.findall(r"<svg.*?</svg>", shown, flags=re.S)
    assert len(drawings) == 12
    for drawing in drawings:
        root = ET.fromstring(drawing)
        marked = [title for title in titles(root) if title and ("kept" in title or "stop" in title)]
        assert marked == ["the stop rule fired at step 30", "kept: step 20"]
        assert [text.text for text in root.iter("text") if "mark" in (text.get("class") or "")] == ["stop", "kept"]
    accuracy = ET.fromstring(drawings[0])
    [rule] = [line for line in accuracy.iter("line") if line.get("class") == "stop"]
    [triangle] = [one for one in accuracy.iter("polygon") if one.get("class") == "kept"]
    assert (rule.get("x1"), rule.get("y1"), rule.get("y2")) == ("408", "32", "292")
    assert triangle.get("points") == "282,282 294,282 288,292"


def test_strict_and_lenient_accuracy_with_their_bands(page: str):
    drawing = figure(page, "Greedy accuracy")
    assert [title for title in titles(drawing) if title and title.startswith("lenient")] == [
        "lenient: 0, 0.600", "lenient: 10, 0.700", "lenient: 20, 0.800", "lenient: 30, 0.500",
    ]  # fmt: skip
    assert sum("band" in (one.get("class") or "") for one in drawing.iter("polygon")) == 2
    assert ticks(drawing) == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


def test_negative_rewards_have_an_axis_below_zero(page: str):
    """From -0.5 to about -0.2: five steps of 0.1."""
    assert ticks(figure(page, "Reward")) == [
        "−0.5", "−0.4", "−0.3", "−0.2", "−0.1", "0",
    ]  # fmt: skip


def test_a_run_that_was_not_judged_still_shows_its_monitors(tmp_path: Path):
    changes: dict[str, object] = {"curve": None, "before": None, "after": None, "difference": None}
    page = render(read(online.write(tmp_path / "run", judged=False, **changes)))
    shown = section(page, "along")
    assert "Checkpoints, judged" not in shown
    assert [caption for caption in ("Reward", "Entropy of a token", "Repetition") if caption in shown] == [
        "Reward", "Entropy of a token", "Repetition",
    ]  # fmt: skip
    assert "<h1>Trained on its own confidence; not evaluated</h1>" in page


# Controls, older folders, hostile text


def test_a_page_on_gold_rewards_never_claims_to_be_without_labels(tmp_path: Path):
    page = render(read(online.write(tmp_path / "run", run=online.manifest(reward="gold"))))
    text = re.sub(r"<style>.*</style>", "", page, flags=re.S)
    for claim in ("No label", "no label", "without label", "label-free", "without answers", "nowhere else"):
        assert claim not in text
    assert "Gold answers were used in training." in text
    assert "nothing here is free of labels" in text
    assert "<dt>Labels in training</dt><dd>yes</dd>" in text


def test_controls_are_not_called_confidence(tmp_path: Path):
    changes: dict[str, object] = {"curve": None, "before": None, "after": None, "difference": None}
    for reward, said in (("gold", "gold answers"), ("random", "the control reward random")):
        run = read(online.write(tmp_path / reward, run=online.manifest(reward=reward), judged=False, **changes))
        assert headline(run)[0] == f"Trained on {said}; not evaluated"


def test_a_folder_of_an_older_version_still_renders(tmp_path: Path):
    path = tmp_path / "run"
    with RunFolder.open(path, synthetic.manifest(method="rlif")) as folder:
        rows = [online.point(step, 0.5, None, 0.1 * step) for step in (0, 10)]
        for row in rows:
            del row["support"]
        folder.write_json("summary.json", {"task": "t", "curve": rows})
    page = render(read(path))
    assert '<section id="findings">' not in page
    assert titles(figure(page, "Reward")) == ["reward: 0, 0.000", "reward: 10, 1.000"]


def test_no_text_of_a_training_becomes_markup(tmp_path: Path):
    page = build(online.write(tmp_path / "run", text=HOSTILE)).read_text("utf-8")
    assert "<script" not in without_explorer(page) and "<img" not in page
    assert page.count("</style>") == 1
    assert "\u202e" not in page and "\x01" not in page
    for anchor in ("findings", "along", "prompts"):
        assert "&lt;script&gt;" in section(page, anchor)
