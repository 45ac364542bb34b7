"""The section on sharpening, and what RLSC logs of its weights: numbers by hand, figures, words."""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import synthetic
import synthetic_online as online

from inward.report.data import RunData
from inward.report.markup import significant
from inward.report.metrics import METRICS, change, number
from inward.report.page import render
from inward.report.progress import progress
from inward.report.reading import read
from inward.report.sharpening import cumulative, ranked_masses, sharpening
from inward.runs import RunFolder
from inward.types import EvalItem, JudgedTrace, Manifest, Outcome


def sample(answer: str | None) -> JudgedTrace:
    return JudgedTrace(
        index=0, answer=answer, canonical=answer, outcome=Outcome.INCORRECT, lenient=Outcome.INCORRECT,
        probability=0.5, disparity=0.0, has_span=answer is not None, entropy=0.1, logprob=-1.5, length=3,
        truncated=False,
    )  # fmt: skip


def item(prompt_id: str, answers: str) -> EvalItem:
    """One letter per sample; a dash is a sample without an answer."""
    samples = tuple(sample(None if answer == "-" else answer) for answer in answers)
    return EvalItem(
        prompt_id=prompt_id, gold="x", greedy=sample("a"), tokens=3, samples=samples, majority=None,
        majority_outcome=Outcome.NO_ANSWER,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    """Eighty problems with eight samples each, before and after."""
    return read(synthetic.write(tmp_path_factory.mktemp("run") / "rlsf", synthetic.run(prompts=4)))


def figure(shown: str, caption: str) -> ET.Element:
    drawn = shown.partition(f"<figcaption>{caption}<")[2]
    return ET.fromstring(drawn[drawn.index("<svg") : drawn.index("</svg>") + len("</svg>")])


def labels(drawing: ET.Element, style: str) -> list[str | None]:
    return [text.text for text in drawing.iter("text") if text.get("class") == style]


def rlsc(path: Path, shares: list[float | None], *, loss: str = "rlsc") -> RunFolder:
    made: Manifest = synthetic.manifest(method="rlsc", settings={"optim": {"loss": loss, "alpha": 0.1}})
    with RunFolder.open(path, made) as folder:
        for step, share in enumerate(shares, start=1):
            weights = {"alpha_share": share, "weight_mean": 1e-14 * step, "logprob_sum": -32.0 + step}
            folder.log("train", step=float(step), loss=0.5, **weights)
        folder.write_json("summary.json", {"task": "t"})
    return RunFolder.read(path)


# Numbers


def test_ranked_masses_average_the_shares_of_a_problems_answers():
    """a: 3/4, 1/4. b: 2/4 and 1/4, one without an answer. c has no samples. Means: 5/8, 1/4."""
    masses = ranked_masses([item("a", "xxyx"), item("b", "yx-y"), item("c", "")])
    assert [(one.value, one.n) for one in masses] == [(5 / 8, 2), (1 / 4, 2)]


def test_a_problem_with_fewer_answers_has_nothing_at_lower_ranks():
    """Ranks of xxxx and wxyz: (1 + 1/4)/2, then (0 + 1/4)/2 three times."""
    masses = ranked_masses([item("a", "xxxx"), item("b", "wxyz")])
    assert [one.value for one in masses] == [0.625, 0.125, 0.125, 0.125]
    assert ranked_masses([item("a", "--")]) == []
    assert ranked_masses([]) == []


def test_cumulative_shares_are_those_at_or_below():
    assert cumulative([3.0, 1.0, 2.0, 1.0]) == [(1.0, 0.25), (1.0, 0.5), (2.0, 0.75), (3.0, 1.0)]


def test_many_values_are_shown_at_a_hundred_places():
    points = cumulative([float(value) for value in range(1000)])
    assert len(points) == 100
    # the tenth of a thousand values, and the last
    assert (points[0], points[-1]) == ((9.0, 0.01), (999.0, 1.0))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0771, "0.077"), (0.001, "0.001"), (7.54e-14, "7.5e−14"), (-2e-5, "−2.0e−05"), (0.0, "0.000"), (math.nan, "–")],
)
def test_small_numbers_keep_two_digits(value: float, shown: str):
    assert significant(value) == shown


def test_a_tiny_chance_and_its_change_are_no_zeros():
    metric = METRICS["sequence_collision"]
    assert (number(metric, 3e-9), change(metric, 3e-9), change(metric, 0.25)) == ("3.0e−09", "+3.0e−09", "+0.250")


# The section


def test_every_run_with_samples_before_and_after_has_the_section(run: RunData):
    page = render(run)
    shown = page.partition('<section id="sharpening">')[2].partition("</section>")[0]
    assert re.findall(r"<figcaption>([^<]*)<", shown) == [
        "Mass of ranked answers", "Log-probability of a sample", "The same per token",
    ]  # fmt: skip
    assert "Sharpening shows as mass that moves to rank 1" in shown
    assert "pass@k pays for it" in shown


def test_without_samples_on_both_sides_there_is_no_section(run: RunData):
    assert run.judged_before is not None and run.judged_after is not None
    greedy = [dataclasses.replace(one, samples=()) for one in run.judged_after.items]
    without = dataclasses.replace(run.judged_after, items=greedy)
    assert sharpening(dataclasses.replace(run, judged_after=without)) == ""
    assert sharpening(dataclasses.replace(run, judged_before=None)) == ""


def test_the_numbers_of_the_section_are_those_of_the_run(run: RunData):
    before = {"answer_collision": synthetic.estimate(0.25), "sequence_collision": synthetic.estimate(2e-9, 0.0)}
    after = {"answer_collision": synthetic.estimate(0.75), "sequence_collision": synthetic.estimate(0.5)}
    differences = {"answer_collision": synthetic.estimate(0.5)}
    shown = sharpening(dataclasses.replace(run, before=before, after=after, difference=differences))
    assert "Two samples give the same answer: <b>25.0% → 75.0%</b> (higher)." in shown
    assert "Two samples are the same token by token: <b>2.0e−09 → 0.500</b>." in shown
    assert "Entropy of the answers" not in shown


def test_log_probabilities_are_summed_and_averaged_over_tokens(run: RunData):
    """All samples -1.5 nats over 3 tokens: -0.5 each. Axes end at zero, which no log-probability exceeds."""
    assert run.judged_before is not None
    items = [item("a", "xy"), item("b", "xx")]
    judged = dataclasses.replace(run.judged_before, items=items)
    shown = sharpening(dataclasses.replace(run, judged_before=judged, judged_after=judged))
    assert "The same per token: <b>−0.500 → −0.500</b>." in shown
    for caption, end in (("Log-probability of a sample", -1.5), ("The same per token", -0.5)):
        ticks = [float((text or "").replace("−", "-")) for text in labels(figure(shown, caption), "mid")[1:7]]
        assert ticks == sorted(ticks) and ticks[0] <= end <= ticks[-1] <= 0


def test_the_masses_are_drawn_by_rank(run: RunData):
    assert run.judged_before is not None
    before = dataclasses.replace(run.judged_before, items=[item("a", "xxyz")])
    after = dataclasses.replace(run.judged_before, items=[item("a", "xxxy")])
    shown = sharpening(dataclasses.replace(run, judged_before=before, judged_after=after))
    drawing = figure(shown, "Mass of ranked answers")
    titles = [title.text for title in drawing.iter("title")]
    assert titles == [
        "Before: 1, 0.500", "Before: 2, 0.250", "Before: 3, 0.250", "After: 1, 0.750", "After: 2, 0.250",
    ]  # fmt: skip


@pytest.mark.parametrize(("temperature", "top_p", "said"), [(1.0, 1.0, False), (0.5, 1.0, True), (1.0, 0.9, True)])
def test_samples_at_another_temperature_are_admitted(run: RunData, temperature: float, top_p: float, said: bool):
    settings: dict[str, object] = {"evaluation": {"temperature": temperature, "top_p": top_p}}
    shown = sharpening(dataclasses.replace(run, manifest=synthetic.manifest(settings=settings)))
    assert (f"Samples were drawn at temperature {temperature:g} with top_p {top_p:g}" in shown) is said


# What RLSC logs of its weights


def test_weights_stand_at_the_step_whose_policy_drew_the_samples(tmp_path: Path):
    seen = progress(rlsc(tmp_path / "run", [0.95, None, 0.5]), {})
    assert seen.monitors == {
        "alpha_share": [(0, 0.95), (2, 0.5)],
        "weight_mean": [(0, 1e-14), (1, 2e-14), (2, 3e-14)],
        "logprob_sum": [(0, -31), (1, -30), (2, -29)],
    }


def test_controls_have_no_weights(tmp_path: Path):
    seen = progress(rlsc(tmp_path / "run", [0.95, 0.9], loss="entropy_sum"), {})
    assert seen.monitors == {"logprob_sum": [(0, -31), (1, -30)]}


def test_other_methods_have_no_weights(tmp_path: Path):
    with RunFolder.open(tmp_path / "run", online.manifest()) as folder:
        folder.log("train", step=1.0, alpha_share=0.95, weight_mean=0.1, logprob_sum=-3.0)
    assert progress(RunFolder.read(tmp_path / "run"), {}).monitors == {}


def test_weights_are_drawn_beside_the_monitors_however_small(tmp_path: Path):
    page = render(read(rlsc(tmp_path / "run", [0.5, 0.4, 0.3]).path))
    shown = page.partition('<section id="along">')[2].partition("</section>")[0]
    assert re.findall(r"<figcaption>([^<]*)<", shown) == [
        "Weight that is alpha", "Weight before alpha", "Log-probability of a training sample",
    ]  # fmt: skip
    # 1e-14 to 3e-14 in steps of 1e-14
    drawing = figure(shown, "Weight before alpha")
    assert labels(drawing, "end")[:4] == ["0", "1.0e−14", "2.0e−14", "3.0e−14"]
    assert next(title.text for title in drawing.iter("title")) == "weight: 0, 1.0e−14"
