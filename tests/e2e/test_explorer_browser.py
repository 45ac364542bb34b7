"""The trace explorer in a real browser: counts against the records, keys, figures, shared views, hostile text."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import synthetic
from browser import CHROMIUM, Tab, tab

from inward.report import build
from inward.runs import RunFolder, from_json
from inward.types import EvalItem, EvalReport, JudgedTrace, Outcome, ScoredGroup

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH (Debian: apt-get install chromium)")

RIGHT, WRONG, NONE, UNSCORED = Outcome
ATTACKS = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "<svg onload=\"document.title='owned'\">\u2028\u2029\u202e<!--<script>${alert(1)}`\\u003c"
)
Judged = tuple[int, bool, EvalItem, JudgedTrace]
"""0 or 1 for before or after, whether it was sampled, the problem, the trace."""


def verdict(number: int, *, early: bool) -> dict[str, object]:
    """Outcomes of all kinds, and confidences on the edges of bins and bars."""
    if number % 11 == 0:
        return {"outcome": NONE, "answer": None, "probability": 0.0}
    if number % 7 == 0:
        return {"outcome": UNSCORED}
    if number % 5 == 0:
        return {"outcome": RIGHT if early else WRONG}
    if number % 3 == 0:
        return {"probability": (number % 21) / 20}
    return {}


def varied(one: synthetic.Evaluation | None, *, early: bool) -> synthetic.Evaluation:
    assert one is not None
    items = [
        dataclasses.replace(
            item,
            greedy=dataclasses.replace(item.greedy, **verdict(place, early=early)),
            samples=tuple(dataclasses.replace(s, **verdict(place + s.index, early=early)) for s in item.samples),
        )
        for place, item in enumerate(one.items)
    ]
    graded = [
        dataclasses.replace(
            item,
            greedy=item.greedy if item.greedy.outcome is not UNSCORED else item.samples[0],
            samples=tuple(s for s in item.samples if s.outcome is not UNSCORED),
        )
        for item in items
    ]
    report = synthetic.evaluation_report(graded, "checkpoint")
    greedy = [item.greedy for item in items if item.greedy.outcome is not UNSCORED]
    calibrations = (synthetic.calibration_report("greedy", greedy), report.calibration[1])
    return dataclasses.replace(one, items=items, report=dataclasses.replace(report, calibration=calibrations))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = synthetic.run(problems=40, prompts=4)
    made = dataclasses.replace(made, before=varied(made.before, early=True), after=varied(made.after, early=False))
    path = synthetic.write(tmp_path_factory.mktemp("explorer") / "run", made)
    build(path)
    return path


@pytest.fixture(scope="module")
def judged(folder: Path) -> list[Judged]:
    run = RunFolder.read(folder)
    return [
        (side, sampled, item, one)
        for side, name in enumerate(("before", "after"))
        for item in run.records(f"{name}/items", EvalItem)
        for sampled, one in [(False, item.greedy), *((True, sample) for sample in item.samples)]
    ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("chromium") / "profile") as opened:
        yield opened


@pytest.fixture
def page(browser: Tab, folder: Path) -> Iterator[Tab]:
    browser.open(folder / "report.html")
    yield browser
    assert browser.messages == []


def shown(page: Tab) -> int:
    return int(page.text("[data-place=count]").split()[0].replace(",", ""))


def settled(page: Tab) -> str:
    """The address once it has been brought up to date."""
    page.run("new Promise(done => setTimeout(done, 300))")
    return page.run("location.hash")


def chosen(page: Tab) -> str:
    return page.run("document.querySelector('.row[aria-selected=true]').textContent")


def focus(page: Tab) -> str:
    return page.run("document.activeElement.className || document.activeElement.name")


# What is shown


def test_it_opens_with_every_judged_trace_and_few_rows_in_the_document(page: Tab, judged: list[Judged]):
    assert page.text("[data-place=count]") == f"{len(judged)} of {len(judged)} traces"
    assert len(judged) == 40 * 9 * 2
    assert page.run("document.querySelectorAll('.row').length") < 20
    assert page.run("getComputedStyle(document.querySelector('.without-script')).display") == "none"


FILTERS: list[tuple[str, Callable[[Judged], bool]]] = [
    ("side=1", lambda one: one[0] == 1),
    ("source=greedy", lambda one: not one[1]),
    ("source=sampled", lambda one: one[1]),
    ("outcome=correct", lambda one: one[3].outcome is RIGHT),
    ("outcome=incorrect", lambda one: one[3].outcome is WRONG),
    ("outcome=no_answer", lambda one: one[3].outcome is NONE),
    ("outcome=unscored", lambda one: one[3].outcome is UNSCORED),
    ("outcome=no_answer,incorrect", lambda one: one[3].outcome in (WRONG, NONE)),
    ("confidence=[0.45,0.8]", lambda one: 0.45 <= one[3].probability <= 0.8),
    ("confidence=(0.45,0.8)", lambda one: 0.45 < one[3].probability < 0.8),
    ("confidence=[0.9,]", lambda one: one[3].probability >= 0.9),
    ("find=Q12", lambda one: "q12" in one[2].prompt_id),
    (
        "side=0&source=sampled&outcome=correct&confidence=[0.5,1]",
        lambda one: one[0] == 0 and one[1] and one[3].outcome is RIGHT and one[3].probability >= 0.5,
    ),
]


@pytest.mark.parametrize(("query", "wanted"), FILTERS, ids=[query for query, _ in FILTERS])
def test_an_address_shows_the_traces_that_the_records_have(
    browser: Tab, folder: Path, judged: list[Judged], query: str, wanted: Callable[[Judged], bool]
):
    browser.open(folder / "report.html", f"#explorer?{quote(query, safe='=&')}")
    expected = sum(map(wanted, judged))
    assert 0 < expected < len(judged)
    assert shown(browser) == expected
    assert browser.messages == []


def test_search_reads_questions_and_completions(page: Tab, folder: Path):
    groups = [
        group for name in ("before", "after") for group in RunFolder.read(folder).records(f"{name}/scored", ScoredGroup)
    ]
    traces = [(group.prompt.text or "", one.trace.completion) for group in groups for one in group.traces]
    for text in ("HMM ok", "+7"):
        expected = sum(text.lower() in f"{prompt}\n{completion}".lower() for prompt, completion in traces)
        assert 0 < expected < len(traces)
        page.press("/")
        page.write(text)
        page.wait(f"location.hash === '#explorer?' + new URLSearchParams({{find: {json.dumps(text)}}})")
        assert shown(page) == expected
        page.press("Escape", "Escape")


def test_controls_filter_and_are_cleared(page: Tab, judged: list[Judged]):
    wrong = sum(one.outcome is WRONG for *_, one in judged)
    page.click("[name=outcome][value=incorrect]")
    assert shown(page) == wrong
    page.run("const low = document.querySelector('[name=low]'); low.focus()")
    page.write("0.9")
    page.press("Enter")
    assert shown(page) == sum(one.outcome is WRONG and one.probability >= 0.9 for *_, one in judged)
    assert settled(page) == "#explorer?outcome=incorrect&confidence=%5B0.9%2C%5D"
    page.click("[data-clear]")
    assert shown(page) == len(judged)
    assert page.run("document.querySelector('[name=low]').value") == ""
    assert settled(page) == "#explorer"


@pytest.mark.parametrize(("order", "falling"), [("surest", True), ("unsure", False)])
def test_sorting_by_confidence(page: Tab, judged: list[Judged], order: str, falling: bool):
    page.run(
        f"const select = document.querySelector('[name=sort]'); select.value = {json.dumps(order)};"
        "select.dispatchEvent(new Event('change'))"
    )
    numbers = page.run("[...document.querySelectorAll('.row .number')].map(one => parseFloat(one.textContent))")
    expected = sorted((one.probability for *_, one in judged), reverse=falling)[: len(numbers)]
    assert numbers == [pytest.approx(one, abs=0.0006) for one in expected]


@pytest.mark.parametrize(
    "query", ["side=7", "view=nothing&sort=x", "confidence=%5Babc", "confidence=(2,1)", "outcome=<img>", "__proto__=1"]
)
def test_an_address_that_means_nothing_shows_everything(browser: Tab, folder: Path, judged: list[Judged], query: str):
    browser.open(folder / "report.html", f"#explorer?{query}")
    assert shown(browser) == len(judged)
    assert browser.messages == []


def test_an_empty_result_says_so_and_keys_do_no_harm(page: Tab):
    page.press("/")
    page.write("nowhere to be found")
    page.wait("document.querySelector('[data-place=count]').textContent.startsWith('0 of')")
    assert page.text(".reader") == "Nothing matches these filters."
    page.press("Enter", "ArrowDown", "End", "Enter", "ArrowRight", "Escape", "Escape")
    assert shown(page) > 0


# The figures


def test_every_bin_of_a_reliability_diagram_shows_its_answers(page: Tab, folder: Path):
    run = RunFolder.read(folder)
    expected = [
        bin_.count
        for answers in ("greedy", "sampled")
        for name in ("before", "after")
        for one in from_json(EvalReport, run.read_json(f"{name}/report.json")).calibration
        if one.answers == answers
        for bin_ in one.bins
        if bin_.count
    ]
    page.run("for (const fold of document.querySelectorAll('details')) fold.open = true")
    bins = "[...document.querySelectorAll('[data-pick]:has(.accuracy)')]"
    page.run(f"{bins}.forEach((one, place) => one.setAttribute('id', `bin${{place}}`))")
    counts = []
    for place in range(page.run(f"{bins}.length")):
        page.click(f"#bin{place}")
        counts.append(shown(page))
    assert len(counts) > 20
    assert counts == expected


def test_every_bar_of_right_and_wrong_answers_shows_them(page: Tab, judged: list[Judged]):
    """A bar holds [k/20, (k+1)/20), the last one 1 as well: what int(20 p) counts."""
    bars: Counter[tuple[int, bool, int]] = Counter(
        (side, one.outcome is RIGHT, min(19, int(one.probability * 20)))
        for side, sampled, _, one in judged
        if not sampled and one.outcome is not UNSCORED
    )
    expected = [bars[key] for key in sorted(bars, key=lambda key: (key[0], not key[1], key[2]))]
    found = "[...document.querySelectorAll('[data-pick]:not(:has(.accuracy))')]"
    page.run(f"{found}.forEach((one, place) => one.setAttribute('id', `bar${{place}}`))")
    counts = []
    for place in range(page.run(f"{found}.length")):
        page.click(f"#bar{place}")
        counts.append(shown(page))
    assert counts == expected


def test_figures_are_one_stop_each_and_arrows_go_from_bin_to_bin(page: Tab):
    page.run("document.querySelector('[data-pick]').focus()")
    page.press("ArrowRight", "ArrowRight", "ArrowLeft")
    second = page.run("[...document.querySelectorAll('[data-pick]')].indexOf(document.activeElement)")
    assert second == 1
    assert page.run("document.activeElement.closest('svg').querySelectorAll('[tabindex=\"0\"]').length") == 1
    assert page.run("document.activeElement.matches(':focus-visible')")
    wanted = page.run("document.activeElement.dataset.pick")
    page.press("Enter")
    assert focus(page) == "rows"
    assert page.run("[...new URLSearchParams(location.hash.split('?')[1])].length") == 0
    kept = {name: value for name, value in page.run(f"[...new URLSearchParams({json.dumps(wanted)})]")}
    assert settled(page) == "#explorer?" + page.run(f"new URLSearchParams({json.dumps(kept)}).toString()")


# Keys


def test_arrows_move_through_the_list_and_past_the_rows_in_the_document(page: Tab, judged: list[Judged]):
    page.run("document.querySelector('.rows').focus()")
    page.press("ArrowDown", "ArrowDown", "ArrowUp")
    assert page.run("document.querySelector('.rows').getAttribute('aria-activedescendant')") == "explorer-row-1"
    page.press("PageDown")
    assert page.run("document.querySelector('[aria-selected=true]').getAttribute('aria-posinset')") == "8"
    page.press("End")
    page.wait(f"document.getElementById('explorer-row-{len(judged) - 1}')")
    last = page.run("document.querySelector('[aria-selected=true]').getAttribute('aria-posinset')")
    assert last == str(len(judged))
    assert page.run("document.querySelectorAll('.row').length") < 20
    page.press("Home")
    assert page.run("document.querySelector('.rows').scrollTop") == 0


def test_from_the_search_to_the_list_to_the_reader_and_back(page: Tab):
    page.press("/")
    assert focus(page) == "find"
    page.write("q1")
    page.press("Enter")
    assert focus(page) == "rows"
    page.press("Enter")
    assert focus(page) == "reader"
    first = page.text(".reader header b")
    page.press("ArrowRight")
    assert page.text(".reader header b") != first
    page.press("ArrowLeft")
    assert page.text(".reader header b") == first
    page.press("Escape")
    assert focus(page) == "rows"
    page.press("Escape")
    assert page.run("document.querySelector('[name=find]').value") == ""


def test_a_slash_in_the_search_is_a_slash(page: Tab):
    page.press("/", "/")
    assert page.run("document.querySelector('[name=find]').value") == "/"


def test_buttons_of_the_reader_keep_the_focus(page: Tab):
    page.run("document.querySelector('[data-step=\"1\"]').focus()")
    page.press("Enter")
    assert page.text(".reader header b") == "q1"
    assert page.run("document.activeElement.dataset.step") == "1"


# Before and after


def test_changed_problems_come_first_with_both_checkpoints_side_by_side(page: Tab, folder: Path):
    run = RunFolder.read(folder)
    before, after = ([*run.records(f"{name}/items", EvalItem)] for name in ("before", "after"))

    def change(was: JudgedTrace, now: JudgedTrace) -> int:
        if (was.outcome, was.canonical) == (now.outcome, now.canonical) or was.outcome is now.outcome is RIGHT:
            return 4
        if UNSCORED in (was.outcome, now.outcome):
            return 3
        return 0 if now.outcome is RIGHT else 1 if was.outcome is RIGHT else 2

    changes = {old.prompt_id: change(old.greedy, new.greedy) for old, new in zip(before, after, strict=True)}
    assert {*changes.values()} == {0, 1, 2, 3, 4}
    page.click('[data-view="problems"]')
    assert shown(page) == 40
    page.run("document.querySelector('.rows').focus()")
    seen = []
    page.press("Home")
    for _ in changes:
        seen.append(page.text(".reader header b"))
        page.press("ArrowDown")
    assert seen == sorted(changes, key=lambda one: changes[one])
    for rank, name in enumerate(("gained", "lost", "other", "ungraded", "same")):
        page.click(f'[data-kind="{name}"]')
        assert shown(page) == sum(one == rank for one in changes.values())
        assert page.text(f'[data-kind="{name}"] b') == str(shown(page))
    page.click('[data-kind="same"]')
    assert shown(page) == 40


def test_the_reader_shows_the_same_problem_of_both_checkpoints(page: Tab, folder: Path):
    run = RunFolder.read(folder)
    groups = [run.records(f"{name}/scored", ScoredGroup)[5] for name in ("before", "after")]
    page.click('[data-view="problems"]')
    page.press("/")
    page.write(groups[0].prompt.id)
    page.press("Enter")
    shown_now = page.run("[...document.querySelectorAll('.reader .completion')].map(one => one.textContent)")
    assert shown_now == [group.traces[0].trace.completion for group in groups]
    page.click('[data-side="1"][data-trace="3"]')
    shown_now = page.run("[...document.querySelectorAll('.reader .completion')].map(one => one.textContent)")
    assert shown_now == [groups[0].traces[0].trace.completion, groups[1].traces[3].trace.completion]


def test_a_view_can_be_shared_with_the_trace_that_is_open(page: Tab, folder: Path):
    page.click("[name=outcome][value=correct]")
    page.run("document.querySelector('.rows').focus()")
    page.press(*["ArrowDown"] * 30)
    address, row = settled(page), chosen(page)
    page.open(folder / "report.html", address)
    assert chosen(page) == row
    assert page.run("document.querySelector('[value=correct]').checked")
    assert page.run("document.querySelector('.rows').scrollTop") > 0


# Text that would be markup, other widths, paper


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = synthetic.hostile(ATTACKS)

    def spoil(one: synthetic.Evaluation | None) -> synthetic.Evaluation:
        assert one is not None
        [item] = one.items
        spoilt = [dataclasses.replace(judge, answer=ATTACKS) for judge in (item.greedy, *item.samples)]
        return dataclasses.replace(one, items=[dataclasses.replace(item, greedy=spoilt[0], samples=tuple(spoilt[1:]))])

    made = dataclasses.replace(made, before=spoil(made.before), after=spoil(made.after))
    return build(synthetic.write(tmp_path_factory.mktemp("hostile") / "run", made, task=ATTACKS, checkpoint=ATTACKS))


@pytest.mark.parametrize("with_policy", [True, False])
def test_text_from_data_stays_text_wherever_it_is_shown(browser: Tab, hostile: Path, tmp_path: Path, with_policy: bool):
    """Text nodes must do alone; the content policy is a second wall."""
    copy = tmp_path / "copy.html"
    text = hostile.read_text("utf-8")
    policy = text[text.index('<meta http-equiv="Content') :].partition(">")[0] + ">"
    copy.write_text(text if with_policy else text.replace(policy, ""), encoding="utf-8")
    browser.open(copy)
    for view in ("problems", "traces"):
        browser.click(f'[data-view="{view}"]')
        browser.press("/")
        browser.write("</script><script>")
        browser.press("Enter", "ArrowDown", "Enter", "ArrowRight")
    assert shown(browser) == 18
    visible = ATTACKS.replace("\u2028", "⟨U+2028⟩").replace("\u2029", "⟨U+2029⟩").replace("\u202e", "⟨U+202E⟩")
    assert browser.text(".reader .completion") == visible * 2
    assert browser.text(".reader .prompt") == visible
    assert browser.text(".reader header b") == visible
    assert browser.text(".reader footer b") == visible
    assert (
        browser.run("document.querySelectorAll('img, svg[onload], script:not([type]):not(:last-of-type)').length") == 0
    )
    assert browser.run("document.querySelectorAll('script').length") == 2
    assert "owned" not in browser.run("document.title").replace("document.title='owned'", "")
    assert browser.messages == []


def test_markup_that_the_script_would_set_is_refused(page: Tab):
    """Trusted Types: even a slip in the script could not turn text into markup."""
    page.run("try { document.body.innerHTML = '<p>'; window.refused = false } catch { window.refused = true }")
    assert page.run("window.refused") is True
    assert any("TrustedHTML" in message for message in page.messages)
    page.messages.clear()


@pytest.mark.parametrize("view", ["traces", "problems"])
def test_nothing_sticks_out_of_a_phone(page: Tab, view: str):
    page.send("Emulation.setDeviceMetricsOverride", width=375, height=700, deviceScaleFactor=1, mobile=True)
    page.click(f'[data-view="{view}"]')
    width = page.run("document.documentElement.scrollWidth")
    page.send("Emulation.clearDeviceMetricsOverride")
    assert width == 375


def test_paper_is_without_it(page: Tab):
    display = "getComputedStyle(document.getElementById('explorer')).display"
    assert page.run(display) == "block"
    page.send("Emulation.setEmulatedMedia", media="print")
    assert page.run(display) == "none"
    page.send("Emulation.setEmulatedMedia", media="")


def test_an_evaluation_alone_has_one_checkpoint(browser: Tab, tmp_path: Path):
    whole = synthetic.run(problems=5, prompts=2)
    manifest = synthetic.manifest(method="evaluate", data=None)
    made = dataclasses.replace(whole, manifest=manifest, after=None, training=[], pairs=[])
    browser.open(
        build(synthetic.write(tmp_path / "run", made, checkpoint=None)), "#explorer?side=1&change=lost&sort=changed"
    )
    assert browser.text("[data-place=count]") == "45 of 45 traces"
    browser.click('[data-view="problems"]')
    assert browser.run("document.querySelectorAll('.reader article').length") == 1
    assert browser.messages == []
