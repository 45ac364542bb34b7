import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
import synthetic
from pages import without_explorer

from inward.errors import RunFolderError
from inward.report import build, figures
from inward.report.data import RunData
from inward.report.derived import (
    accuracy_by_rank,
    by_outcome,
    problems_to_show,
)
from inward.report.examples import shade, tokens
from inward.report.markup import decimal, duration, esc, percent
from inward.report.metrics import METRICS, verdict
from inward.report.page import render
from inward.report.reading import read
from inward.report.tally import Histogram
from inward.report.words import advice, cost, headline
from inward.types import (
    CalibrationBin,
    Estimate,
    EvalItem,
    JudgedTrace,
    Outcome,
    Prompt,
    RiskCoverage,
)

NAN = math.nan


def tally(counts: dict[int, int], bins: int = 20) -> list[int]:
    return [counts.get(bin_, 0) for bin_ in range(bins)]


SVG_TAGS_WITHOUT_END = {"meta", "br", "input", "path", "rect", "line", "circle", "polyline", "polygon"}


def estimate(value: float, low: float, high: float, n: int = 320) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=n)


def data(**changes: object) -> RunData:
    """RLSF on an overconfident model, in the numbers of a real run."""
    fields: dict[str, object] = {
        "manifest": synthetic.manifest(),
        "before": {
            "greedy_accuracy": estimate(0.178, 0.14, 0.22),
            "ece": estimate(0.505, 0.47, 0.54),
            "auroc": estimate(0.602, 0.55, 0.65),
            "confidence": estimate(0.683, 0.67, 0.70),
        },
        "after": {
            "greedy_accuracy": estimate(0.781, 0.73, 0.82),
            "ece": estimate(0.213, 0.17, 0.26),
            "auroc": estimate(0.537, 0.46, 0.61),
            "confidence": estimate(0.994, 0.99, 1.0),
        },
        "difference": {
            "greedy_accuracy": estimate(0.603, 0.541, 0.66),
            "ece": estimate(-0.292, -0.34, -0.24),
            "auroc": estimate(-0.065, -0.15, 0.02),
            "confidence": estimate(0.311, 0.30, 0.32),
        },
    }
    return RunData(**(fields | changes))  # pyright: ignore[reportArgumentType]


def answer(outcome: Outcome, *, probability: float = 0.5, disparity: float = 0.0) -> JudgedTrace:
    return JudgedTrace(
        index=0, answer="1", canonical="1", outcome=outcome, lenient=outcome, probability=probability,
        disparity=disparity, has_span=True, entropy=0.1, logprob=-1.5, length=3, truncated=False,
    )  # fmt: skip


def item(prompt_id: str, greedy: Outcome, samples: tuple[JudgedTrace, ...] = ()) -> EvalItem:
    return EvalItem(
        prompt_id=prompt_id, gold="1", greedy=answer(greedy), tokens=3, samples=samples,
        majority=None, majority_outcome=Outcome.NO_ANSWER,
    )  # fmt: skip


def shapes(svg: str, style: str) -> list[dict[str, float]]:
    """Numbers of the shapes whose class is `style`."""
    found = [shape for shape in ET.fromstring(svg).iter() if shape.get("class") == style]
    return [
        {name: float(value) for name, value in shape.items() if name in {"x", "y", "width", "height", "cx", "cy"}}
        for shape in found
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "rlsf"
    return synthetic.write(path, synthetic.run(problems=40, prompts=12, group_size=8))


# Text made inert, numbers in words


def test_markup_is_escaped_for_content_and_attributes():
    assert esc("<script>\"'&") == "&lt;script&gt;&quot;&#x27;&amp;"


@pytest.mark.parametrize("code", [0x00, 0x08, 0x1B, 0x7F, 0x9B, 0x202E, 0x2066, 0x200F, 0xFEFF, 0xD800, 0xE0041])
def test_control_bidi_and_surrogate_characters_appear_as_code_points(code: int):
    assert esc(f"a{chr(code)}b") == f"a⟨U+{code:04X}⟩b"


def test_newlines_tabs_and_joiners_stay():
    assert esc("a\n\tb\u200dc") == "a\n\tb\u200dc"


def test_numbers_have_a_true_minus_sign_and_no_signed_zero():
    assert decimal(-0.0654) == "−0.065"
    assert decimal(0.0004, signed=True) == "0.000"
    assert decimal(-0.0004) == "0.000"
    assert decimal(0.25, 2, signed=True) == "+0.25"
    assert decimal(NAN) == "–"
    assert percent(0.178) == "17.8%"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.42, "0.4 s"), (9.97, "10 s"), (59.6, "1 min 00 s"), (185.0, "3 min 05 s"), (7620.0, "2 h 07 min")],
)
def test_duration(seconds: float, shown: str):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("key", "low", "high", "word"),
    [
        ("ece", -0.2, -0.1, "better"),
        ("ece", 0.1, 0.2, "worse"),
        ("auroc", 0.1, 0.2, "better"),
        ("auroc", -0.2, -0.1, "worse"),
        ("auroc", -0.2, 0.0, "no clear change"),
        ("confidence", 0.1, 0.2, "higher"),
        ("length", -2.0, -1.0, "lower"),
        ("auroc", NAN, NAN, "–"),
    ],
)
def test_verdict_needs_an_interval_without_zero(key: str, low: float, high: float, word: str):
    assert verdict(METRICS[key], estimate((low + high) / 2, low, high)).word == word


def test_verdict_without_a_difference():
    assert verdict(METRICS["ece"], None).word == "–"


def test_headline_says_what_happened():
    assert headline(data()) == (
        "Greedy accuracy rose from 17.8% to 78.1%",
        "+60.3 points, 95% interval +54.1 to +66.0, on 320 problems. No labels were used in training.",
    )
    fell = data(difference={"greedy_accuracy": estimate(-0.1, -0.2, -0.05)})
    assert headline(fell)[0] == "Greedy accuracy fell from 17.8% to 78.1%"
    unclear = data(difference={"greedy_accuracy": estimate(0.01, -0.02, 0.04)})
    assert headline(unclear)[0] == "Greedy accuracy did not clearly change: 17.8% before, 78.1% after"


def test_headline_admits_labels():
    assert "Gold answers were used in training." in headline(data(manifest=synthetic.manifest(labels_used=True)))[1]


def test_headline_of_an_evaluation_and_of_a_run_without_one():
    alone = data(after=None, difference=None, manifest=synthetic.manifest(method="evaluate"))
    assert headline(alone) == ("Greedy accuracy is 17.8%", "95% interval 14.0% to 22.0%, on 320 problems.")
    assert headline(data(before=None, after=None, difference=None))[0].endswith("; not evaluated")


def test_cost_tells_that_a_saturated_model_has_an_ece_of_one_minus_accuracy():
    """1 - .781 = .219, within .03 of the ECE .213; mean confidence .994 is above .95."""
    text = " ".join(cost(data()))
    assert "0.602 → 0.537" in text
    assert "near chance" in text
    assert "Its ECE (0.213) is therefore about one minus its accuracy (0.219)" in text


def test_cost_does_not_claim_saturation_where_there_is_none():
    after = {"confidence": estimate(0.8, 0.7, 0.9), "greedy_accuracy": estimate(0.7, 0.6, 0.8),
             "ece": estimate(0.1, 0.0, 0.2), "auroc": estimate(0.8, 0.7, 0.9)}  # fmt: skip
    text = " ".join(cost(data(after=after)))
    assert "sure of nearly every answer" not in text
    assert "near chance" not in text


def test_cost_says_nothing_of_a_ranking_that_is_not_defined():
    undefined = {"auroc": estimate(NAN, NAN, NAN), "confidence": estimate(0.683, 0.67, 0.70)}
    assert "chance" not in " ".join(cost(data(before=undefined)))


def titles(run: RunData) -> list[str]:
    return [title for title, _ in advice(run)]


def test_advice_follows_from_the_numbers():
    assert titles(data()) == ["Take the vote share as confidence", "Try a second seed"]
    worse = {"greedy_accuracy": estimate(-0.1, -0.2, -0.05), "ece": estimate(0.08, 0.04, 0.12)}
    assert titles(data(difference=worse))[0] == "Do not use this checkpoint"
    assert "Expect overconfidence" in titles(data(difference=worse))
    assert "Make answers findable" in titles(data(counts={"traces": 10, "traces_without_span": 3}))
    assert titles(data(before=None, after=None, difference=None)) == ["Evaluate it", "Try a second seed"]


# Figures


def test_histogram_clamps_and_leaves_out_nan():
    """Bins of [0, 1] in halves: .49 and -3 fall in the first, .5, 1 and 7 in the second."""
    shown = Histogram([0.49, -3.0, 0.5], bins=2)
    shown.add([1.0, 7.0, NAN])
    assert (shown.counts, shown.total) == ([2, 3], 6)


def test_reliability_bars_have_the_heights_of_their_numbers():
    """280 units are an accuracy of 1, 360 a confidence of 1, from x = 48.

    Bin (.4, .5]: accuracy .25 = 70 units, up to a confidence of .45 another .2 = 56 units, above it.
    Bin (.8, .9]: accuracy 1 = 280 units, confidence .85: the gap of .15 = 42 units hangs from the top at y = 12.
    """
    empty = CalibrationBin(low=0.0, high=0.1, count=0, confidence=NAN, accuracy=NAN)
    over = CalibrationBin(low=0.4, high=0.5, count=4, confidence=0.45, accuracy=0.25)
    under = CalibrationBin(low=0.8, high=0.9, count=2, confidence=0.85, accuracy=1.0)
    report = synthetic.calibration_report("greedy", [answer(Outcome.CORRECT), answer(Outcome.INCORRECT)])
    svg = figures.reliability(dataclasses.replace(report, bins=(empty, over, under)))
    assert shapes(svg, "accuracy") == [
        {"x": 193, "y": 222, "width": 34, "height": 70},
        {"x": 337, "y": 12, "width": 34, "height": 280},
    ]
    assert shapes(svg, "over") == [{"x": 193, "y": 166, "width": 34, "height": 56}]
    assert shapes(svg, "under") == [{"x": 337, "y": 12, "width": 34, "height": 42}]
    assert [bar["height"] for bar in shapes(svg, "count")] == [48, 24]
    assert "mean confidence 0.450, accuracy 0.250; too sure by 0.200" in svg


def test_mirrored_bars_have_the_heights_of_their_shares():
    """Four answers: two right ones at 1 are a share of .5, the whole upper half (110 units) at a peak of .5."""
    svg = figures.mirrored(Histogram([1.0, 1.0, 0.02]), Histogram([0.5]), names=("right", "wrong"), peak=0.5)
    assert [(bar["y"], bar["height"]) for bar in shapes(svg, "right")] == [(67, 55), (12, 110)]
    assert [(bar["y"], bar["height"]) for bar in shapes(svg, "wrong")] == [(122, 55)]
    assert "right: 3" in svg
    assert "wrong: 1" in svg


def test_bars_scale_to_the_largest_count():
    """The larger of the counts fills 150 units."""
    svg = figures.bars(Histogram([0.5] * 3 + [2.5] * 6, high=3.0, bins=3), x_label="confidence")
    assert [bar["height"] for bar in shapes(svg, "count")] == [75, 0, 150]


def test_lines_run_through_their_points():
    """x from 1 to 3 over 360 units from 48; y: an accuracy of .5 lies at 32 + 130."""
    series = figures.Series(
        name="After", style="after", points=[(1.0, 0.5), (3.0, 1.0)], band=[(1.0, 0.4, 0.6), (3.0, 0.9, 1.0)]
    )
    svg = figures.lines([series], x_label="rank", y_label="accuracy", x_ticks=(1.0, 2.0, 3.0), x_high=3.0)
    assert 'points="48,162 408,32"' in svg
    assert 'points="48,136 408,32 408,58 48,188"' in svg


def test_ranges_put_numbers_on_one_scale():
    """244 units from 8: .5 lies at 130; NaN intervals draw no whisker."""
    svg = figures.ranges([("before", estimate(0.5, 0.25, 0.75)), ("after", estimate(1.0, NAN, NAN))])
    assert [dot["cx"] for dot in shapes(svg, "dot before") + shapes(svg, "dot after")] == [130, 252]
    assert svg.count("whisker") == 1


# Numbers worked out from records


def test_accuracy_by_rank_shares_ranks_among_ties():
    """First problem: .9 right, then .5 right and .5 wrong tie: 1, 1/2, 1/2. Second: right, wrong, one unscored.

    Means: rank 1 (1 + 1)/2, rank 2 (1/2 + 0)/2 = 1/4, rank 3 1/2 of one problem.
    """
    first = (
        answer(Outcome.INCORRECT, disparity=0.5),
        answer(Outcome.CORRECT, disparity=0.5),
        answer(Outcome.CORRECT, disparity=0.9),
    )
    second = (
        answer(Outcome.UNSCORED, disparity=1.0),
        answer(Outcome.CORRECT, disparity=0.8),
        answer(Outcome.NO_ANSWER, disparity=0.0),
    )
    ranks = accuracy_by_rank([item("a", Outcome.CORRECT, first), item("b", Outcome.CORRECT, second)])
    assert [(one.value, one.n) for one in ranks] == [(1.0, 2), (0.25, 2), (0.5, 1)]


def test_accuracy_by_rank_has_a_normal_interval():
    """Eight of sixteen: variance 16/4/15 = .26667, standard error sqrt(.26667/16) = .12910, times 1.96 = .25303."""
    samples = [(answer(outcome),) for outcome in (Outcome.CORRECT, Outcome.INCORRECT) * 8]
    [one] = accuracy_by_rank([item(str(i), Outcome.CORRECT, sample) for i, sample in enumerate(samples)])
    assert (one.value, one.low, one.high) == pytest.approx((0.5, 0.24697, 0.75303), abs=1e-5)


def test_answers_that_could_not_be_graded_are_neither_right_nor_wrong():
    answers = [
        answer(Outcome.CORRECT, probability=0.9),
        answer(Outcome.INCORRECT, probability=0.8),
        answer(Outcome.NO_ANSWER, probability=0.0),
        answer(Outcome.UNSCORED, probability=0.7),
    ]
    right, wrong = by_outcome(answers)
    assert (right.counts, wrong.counts) == (tally({18: 1}), tally({16: 1, 0: 1}))


def test_problems_shown_are_the_first_of_every_kind():
    """Four kinds of change share eight places: two each."""
    changes = [(was, now) for was in (True, False) for now in (True, False) for _ in range(3)]
    outcomes = {True: Outcome.CORRECT, False: Outcome.INCORRECT}
    before = [item(f"q{i}", outcomes[was]) for i, (was, _) in enumerate(changes)]
    after = [item(f"q{i}", outcomes[now]) for i, (_, now) in enumerate(changes)]
    assert problems_to_show(before, after) == ["q0", "q1", "q3", "q4", "q6", "q7", "q9", "q10"]


# Traces


def test_tokens_are_shaded_by_disparity_and_the_answer_is_marked():
    """Disparity 1 gives no shade, .5 half of the eight steps, 0 all; p = (1 + d)/2 here; no text, no token."""
    one = synthetic.scored(["so ", "<b>", "4", ""], [1.0, 0.5, 0.0, 1.0], answer=(2, 3))
    written = tokens(one)
    assert re.findall(r'class="([^"]*)"[^>]*>([^<]*)<', written) == [("s0", "so "), ("s4", "&lt;b&gt;"), ("s8 a", "4")]
    assert 'title="probability 0.750, entropy 0.500 nats, disparity 0.500"' in written


def test_shade_is_clamped():
    assert [shade(value) for value in (1.0, 0.75, 0.0, -1.0, NAN)] == [0, 2, 8, 8, 0]


def test_a_trace_without_signals_is_shown_plain():
    one = synthetic.scored(["a", "b"], [1.0, 1.0])
    plain = dataclasses.replace(one, trace=dataclasses.replace(one.trace, signals=None))
    assert tokens(plain) == '<i class="t">a</i><i class="t">b</i>'


def test_a_long_trace_keeps_its_beginning_its_answer_and_its_end():
    """5000 tokens, the answer at 2500: 100 tokens from the start, 8 + 1 + 2 around the answer, 100 to the end."""
    pieces = [f"{i};" for i in range(5000)]
    written = tokens(synthetic.scored(pieces, [0.9] * 5000, answer=(2500, 2501)))
    shown = [int(text) for text in re.findall(r">(\d+);</i>", written)]
    assert shown == [*range(100), *range(2492, 2503), *range(4900, 5000)]
    assert re.findall(r"… ([\d,]+) tokens left out", written) == ["2,392", "2,397"]
    assert len(written) < 40_000


# The page


class Balance(HTMLParser):
    """Checks that every element is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in SVG_TAGS_WITHOUT_END:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in SVG_TAGS_WITHOUT_END:
            assert self.open.pop() == tag


def assert_sound(page: str) -> None:
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    # Self-contained: nothing is fetched, and nothing runs but the explorer, whose data holds no markup.
    page = without_explorer(page)
    assert "nan" not in re.sub(r"<style>.*</style>", "", page, flags=re.S).lower().replace("finance", "")
    assert "<script" not in page
    assert not re.search(r"\bsrc=|https?://|@import|javascript:", page)
    assert "default-src 'none'" in page


def test_the_page_of_a_whole_run(folder: Path):
    path = build(folder)
    assert path == folder / "report.html"
    page = path.read_text("utf-8")
    assert_sound(page)
    run = read(folder)
    assert headline(run)[0] in page
    for heading in ("All metrics", "Calibration", "What it cost", "Training data", "Traces", "What to do next"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count('<details class="example"') == 6 + 4
    assert "pass@8" in page
    assert "AutoModelForCausalLM.from_pretrained(&#x27;out/checkpoint&#x27;)" in page


def test_the_same_folder_gives_the_same_page(folder: Path):
    assert render(read(folder)) == render(read(folder))


def test_shown_numbers_are_those_of_the_folder(folder: Path):
    """96 traces of 12 prompts; 2.1 + 2.8 + .9 + .1 + 11.2 + 2.4 = 19.5 seconds."""
    page = render(read(folder))
    assert "<b>12</b>prompts, without answers" in page
    assert "<b>96</b>traces" in page
    assert "Time: 20 s" in page
    made = synthetic.run(problems=40, prompts=12, group_size=8)
    assert made.before is not None
    assert f"{100 * made.before.report.metrics['sampled_accuracy'].value:.1f}%" in page
    same = sum(pair.chosen_answer == pair.rejected_answer for pair in made.pairs) / len(made.pairs)
    assert f"<b>{100 * same:.1f}%</b>of pairs" in page


def test_a_run_without_evaluation(tmp_path: Path):
    made = dataclasses.replace(synthetic.run(problems=2, prompts=3), before=None, after=None)
    page = render(read(synthetic.write(tmp_path / "run", made)))
    assert_sound(page)
    assert "<h2>Training data</h2>" in page
    assert "No checkpoint of this run was evaluated" in page
    for absent in ("All metrics", "Calibration", "What it cost"):
        assert f"<h2>{absent}</h2>" not in page


def test_an_evaluation_alone(tmp_path: Path):
    whole = synthetic.run(problems=20, prompts=2)
    made = dataclasses.replace(
        whole, manifest=synthetic.manifest(method="evaluate", data=None), after=None, training=[], pairs=[]
    )
    page = render(read(synthetic.write(tmp_path / "run", made, checkpoint=None)))
    assert_sound(page)
    assert '<th scope="col">Value</th><th scope="col">n</th>' in page
    for absent in ("What it cost", "Training data"):
        assert f"<h2>{absent}</h2>" not in page
    assert "Before" not in without_explorer(page)


def test_undefined_numbers_show_as_a_dash(tmp_path: Path):
    """JSON has no NaN: a metric that is not defined comes as null in all places, or is null itself."""
    made = synthetic.run(problems=20, prompts=2)
    undefined = {"value": None, "low": None, "high": None, "n": 20}
    before = {"auroc": undefined, "greedy_accuracy": estimate(0.2, 0.1, 0.3), "ece": None}
    page = render(read(synthetic.write(tmp_path / "run", made, before=before, difference={"auroc": undefined})))
    assert_sound(page)
    assert "<td>–</td>" in page


HOSTILE = "</style></title><script>document.title='owned'</script><img src=x onerror=\"alert(1)\">'\u202e\x01"


def test_no_text_from_data_becomes_markup(tmp_path: Path):
    page = render(read(synthetic.write(tmp_path / "run", synthetic.hostile(HOSTILE), task=HOSTILE, checkpoint=HOSTILE,
                                       counts={HOSTILE: 1}, seconds={HOSTILE: 1.0})))  # fmt: skip
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert "<script" not in without_explorer(page)
    assert "<img" not in page
    assert page.count("</style>") == 1
    assert page.count("</title>") == page.count("<title>")
    assert "\u202e" not in page
    assert "\x01" not in page
    for shown_as in ("completion", "prompt"):
        [first, *_] = re.findall(rf'<p class="{shown_as}">(.*?)</p>', page, flags=re.S)
        assert "&lt;script&gt;" in first


def test_reading_needs_a_finished_run(tmp_path: Path):
    path = synthetic.write(tmp_path / "run", synthetic.run(problems=2, prompts=2))
    (path / "summary.json").unlink()
    with pytest.raises(RunFolderError, match="run the same command again"):
        build(path)


def test_a_damaged_shard_is_named(tmp_path: Path):
    path = synthetic.write(tmp_path / "run", synthetic.run(problems=2, prompts=2))
    (path / "pairs" / "00000.parquet").write_bytes(b"no parquet")
    with pytest.raises(RunFolderError, match=r"00000\.parquet is damaged"):
        build(path)


def test_risk_coverage_is_drawn_where_there_is_a_curve(folder: Path):
    run = read(folder)
    assert run.judged_after is not None
    assert any(isinstance(point, RiskCoverage) for point in run.judged_after.report.calibration[0].risk_coverage)
    assert "Risk and coverage" in render(run)


def test_a_conversation_is_shown_with_its_roles(folder: Path):
    run = read(folder)
    [group, *_] = run.training_examples
    prompt = Prompt(id="chat", messages=synthetic.conversation("Add up.", "1+1?"))
    page = render(dataclasses.replace(run, training_examples=(dataclasses.replace(group, prompt=prompt),)))
    assert "system: Add up.\n\nuser: 1+1?" in page
