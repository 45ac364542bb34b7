"""`inward compare --out` in a real browser: every count against the run folders, keys, pairs of runs, hostile text."""

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import synthetic
from browser import CHROMIUM, Tab, tab
from commands import call
from test_explorer_browser import ATTACKS, focus, settled, shown, verdict

from inward.runs import RunFolder
from inward.types import Artifact, EvalItem, JudgedTrace, Outcome, ScoredGroup

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH (Debian: apt-get install chromium)")

RIGHT, WRONG, NONE, UNSCORED = Outcome
KINDS = ("gained", "lost", "other", "ungraded", "same")
NUM = 40


def evaluated(path: Path, name: str, *, early: bool, seed: int, problems: int = NUM, first: int = 0) -> Path:
    """A folder of `inward evaluate`, of problems `first` to `problems` of one evaluation set."""
    random_ = synthetic.random.Random(3)
    asked = [synthetic._sum(random_, number) for number in range(problems)][first:]
    made = synthetic.judged(asked, trained=not early, seed=seed)
    items = [
        dataclasses.replace(item, greedy=dataclasses.replace(item.greedy, **verdict(place, early=early)))
        for place, item in enumerate(made.items)
    ]
    return folder(path, name, dataclasses.replace(made, items=items), problems=f"{first} to {problems}")


def folder(path: Path, name: str, made: synthetic.Evaluation, *, problems: str = "") -> Path:
    manifest = synthetic.manifest(
        method="evaluate",
        settings={"evaluation": {}, "answer": {}},
        start=Artifact(name=name, sha256=name[:4]),
        data=None,
        evaluation=Artifact(name="sums", sha256=problems, num_records=len(made.items)),
    )
    run = synthetic.Run(manifest=manifest, before=made, after=None, training=[], pairs=[])
    return synthetic.write(path, run, checkpoint=None)


def compare(out: Path, *folders: Path) -> Path:
    ended = call("compare", *folders, "--out", out)
    assert ended.code == 0, ended.err
    return out


def items(folder: Path) -> dict[str, EvalItem]:
    return {item.prompt_id: item for item in RunFolder.read(folder).records("before/items", EvalItem)}


def kind(was: JudgedTrace, now: JudgedTrace) -> str:
    if was.outcome is now.outcome and (now.outcome is RIGHT or was.canonical == now.canonical):
        return "same"
    if UNSCORED in (was.outcome, now.outcome):
        return "ungraded"
    return "gained" if now.outcome is RIGHT else "lost" if was.outcome is RIGHT else "other"


def kinds(first: Path, second: Path) -> dict[str, str]:
    """What became of each shared question, in the order of the first run."""
    one, other = items(first), items(second)
    return {key: kind(one[key].greedy, other[key].greedy) for key in one if key in other}


def counts(page: Tab) -> dict[str, int]:
    return {name: int(page.text(f'[data-kind="{name}"] b')) for name in KINDS}


def pick(page: Tab, name: str, value: str) -> None:
    page.run(
        f"(() => {{ const select = document.querySelector('[name={name}]'); select.value = {json.dumps(value)};"
        "select.dispatchEvent(new Event('change')); })()"
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs on 40 questions, and one on the last 20 of these and 10 more."""
    path = tmp_path_factory.mktemp("runs")
    return [
        evaluated(path / "start", "chat", early=True, seed=1),
        evaluated(path / "trained", "tuned", early=False, seed=2),
        evaluated(path / "part", "other", early=False, seed=5, problems=50, first=20),
    ]


@pytest.fixture(scope="module")
def written(runs: list[Path]) -> Path:
    return compare(runs[0].parent / "two.html", *runs[:2])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("chromium") / "profile") as opened:
        yield opened


@pytest.fixture
def page(browser: Tab, written: Path) -> Iterator[Tab]:
    browser.open(written)
    yield browser
    assert browser.messages == []


def test_each_shared_question_stands_once_and_changed_ones_first(page: Tab, runs: list[Path]):
    expected = kinds(*runs[:2])
    assert {*expected.values()} == {*KINDS}
    assert page.text("[data-place=count]") == f"{NUM} of {NUM} questions"
    assert page.run("document.querySelector('[name=sort]').value") == "changed"
    page.run("document.querySelector('.rows').focus()")
    page.press("Home")
    seen = []
    for _ in expected:
        seen.append(page.text(".reader header b"))
        page.press("ArrowDown")
    assert seen == sorted(expected, key=lambda key: KINDS.index(expected[key]))


def test_kinds_of_change_add_up_to_the_shared_questions_and_filter(page: Tab, runs: list[Path]):
    expected = Counter(kinds(*runs[:2]).values())
    assert counts(page) == expected
    assert sum(counts(page).values()) == NUM
    for name in KINDS:
        page.click(f'[data-kind="{name}"]')
        assert shown(page) == expected[name]
        assert page.run(f"document.querySelector('[data-kind={name}]').getAttribute('aria-pressed')") == "true"
    assert settled(page) == "#explorer?change=same"
    page.click('[data-kind="same"]')
    assert shown(page) == NUM


def test_a_row_has_answers_outcomes_confidences_and_majorities_of_both(page: Tab, runs: list[Path]):
    chosen = next(key for key, found in kinds(*runs[:2]).items() if found == "lost")
    one, other = items(runs[0])[chosen], items(runs[1])[chosen]
    page.press("/")
    page.write(chosen)
    page.press("Enter")
    found = page.text(".reader header b")
    while found != chosen:
        page.press("ArrowDown")
        assert page.text(".reader header b") != found
        found = page.text(".reader header b")
    row = "document.querySelector('.row[aria-selected=true]')"
    assert page.run(f"[...{row}.querySelectorAll('.pill')].map(pill => pill.textContent)") == ["✓ right", "✕ wrong"]
    answers = page.run(f"[...{row}.querySelectorAll('.answer')].map(answer => answer.textContent)")
    assert answers == [one.greedy.answer, other.greedy.answer]
    numbers = f"{one.greedy.probability:.3f} → {other.greedy.probability:.3f}"
    assert page.run(f"{row}.querySelector('.number').textContent") == numbers
    voted = [
        f"{item.majority} {'✓' if item.majority_outcome is RIGHT else '✕'} "
        f"{100 * sum(sample.answer == item.majority for sample in item.samples) / 8 + 1e-9:.0f}%"
        for item in (one, other)
    ]
    assert f"majority {voted[0]} → {voted[1]}" in page.run(f"{row}.textContent")


@pytest.mark.parametrize("how", ["click", "Enter"])
def test_a_question_opens_with_both_completions_and_the_answers_marked(page: Tab, runs: list[Path], how: str):
    second = sorted(found := kinds(*runs[:2]), key=lambda key: KINDS.index(found[key]))[1]
    if how == "click":
        page.click('.row[data-position="1"]')
    else:
        page.run("document.querySelector('.rows').focus()")
        page.press("ArrowDown", "Enter")
        assert focus(page) == "reader"
    assert page.text(".reader header b") == second
    groups = [
        next(one for one in RunFolder.read(run).records("before/scored", ScoredGroup) if one.prompt.id == second)
        for run in runs[:2]
    ]
    completions = page.run("[...document.querySelectorAll('.reader .completion')].map(one => one.textContent)")
    assert completions == [group.traces[0].trace.completion for group in groups]
    marked = page.run("[...document.querySelectorAll('.reader mark')].map(one => one.textContent)")
    assert marked == [items(run)[second].greedy.answer for run in runs[:2]]
    names = page.run("[...document.querySelectorAll('.reader article header span.quiet')].map(one => one.textContent)")
    assert names == ["A: start (chat), greedy", "B: trained (tuned), greedy"]
    page.press("ArrowRight")
    assert (page.text(".reader header b") != second) == (how == "Enter")


def test_equal_answers_are_not_marked(page: Tab):
    page.click('[data-kind="same"]')
    assert page.run("document.querySelectorAll('.reader mark').length") == 0


def test_search_and_traces_of_one_run(page: Tab, runs: list[Path]):
    page.click('[data-view="traces"]')
    assert page.text("[data-place=count]") == f"{2 * 9 * NUM} of {2 * 9 * NUM} traces"
    pick(page, "side", "1")
    pick(page, "source", "greedy")
    page.click("[name=outcome][value=incorrect]")
    assert shown(page) == sum(item.greedy.outcome is WRONG for item in items(runs[1]).values())
    page.click("[data-clear]")
    page.click('[data-view="problems"]')
    page.press("/")
    page.write("q12")
    page.press("Enter")
    assert shown(page) == 1


# Other runs


def test_two_runs_that_share_a_part_show_that_part(browser: Tab, runs: list[Path]):
    browser.open(compare(runs[0].parent / "part.html", runs[0], runs[2]))
    expected = kinds(runs[0], runs[2])
    assert len(expected) == 20
    assert browser.text("[data-place=count]") == "20 of 20 questions"
    assert counts(browser) == {name: [*expected.values()].count(name) for name in KINDS}
    said = "A: start (chat), 40 questions. B: part (other), 30 questions. Shared: 20."
    assert browser.text("[data-place=pair]") == said
    assert browser.run("document.querySelectorAll('[name=a], [name=b]').length") == 0
    assert browser.messages == []


def test_of_three_runs_any_two_are_picked(browser: Tab, runs: list[Path]):
    written = compare(runs[0].parent / "three.html", *runs)
    browser.open(written)

    def pair() -> list[str]:
        return [browser.run(f"document.querySelector('[name={name}]').value") for name in "ab"]

    assert pair() == ["0", "2"]
    assert counts(browser) == {name: [*kinds(runs[0], runs[2]).values()].count(name) for name in KINDS}
    pick(browser, "b", "1")
    assert counts(browser) == {name: [*kinds(*runs[:2]).values()].count(name) for name in KINDS}
    pick(browser, "a", "1")
    assert pair() == ["1", "0"]
    assert counts(browser) == {name: [*kinds(runs[1], runs[0]).values()].count(name) for name in KINDS}
    address = settled(browser)
    assert address == "#explorer?a=1&b=0"
    browser.open(written, address)
    assert pair() == ["1", "0"]
    browser.open(written, "#explorer?a=1&b=1")
    assert pair() == ["0", "2"]
    assert browser.messages == []


def test_an_id_that_means_another_question_is_not_shared(browser: Tab, runs: list[Path], tmp_path: Path):
    random_ = synthetic.random.Random(3)
    asked = [synthetic._sum(random_, number) for number in range(NUM)]
    changed = [
        (dataclasses.replace(prompt, text=f"{prompt.text} or not") if place < 15 else prompt, gold)
        for place, (prompt, gold) in enumerate(asked)
    ]
    other = folder(tmp_path / "other", "x", synthetic.judged(changed, trained=True, seed=9), problems="other")
    browser.open(compare(tmp_path / "page.html", runs[0], other))
    assert browser.text("[data-place=count]") == "25 of 25 questions"
    assert sum(counts(browser).values()) == 25


@pytest.mark.parametrize("with_policy", [True, False])
def test_no_text_becomes_markup(browser: Tab, tmp_path: Path, with_policy: bool):
    made = synthetic.hostile(ATTACKS).before
    assert made is not None
    judged = [dataclasses.replace(made.items[0], majority=ATTACKS)]
    greedy = dataclasses.replace(judged[0].greedy, answer=f"{ATTACKS}!", canonical="other", outcome=WRONG)
    other = [dataclasses.replace(judged[0], greedy=greedy)]
    folders = [
        folder(tmp_path / name, ATTACKS, dataclasses.replace(made, items=of), problems=ATTACKS)
        for name, of in (("a", judged), ("b", other))
    ]
    page = compare(tmp_path / "page.html", *folders)
    text = page.read_text("utf-8")
    if not with_policy:
        policy = text[text.index('<meta http-equiv="Content') :].partition(">")[0] + ">"
        page.write_text(text.replace(policy, ""), encoding="utf-8")
    browser.open(page)
    assert shown(browser) == 1
    browser.click('[data-view="traces"]')
    browser.click('[data-view="problems"]')
    visible = ATTACKS.replace("\u2028", "⟨U+2028⟩").replace("\u2029", "⟨U+2029⟩").replace("\u202e", "⟨U+202E⟩")
    assert browser.text(".reader .completion") == visible * 2
    assert browser.text(".reader mark:not(:empty)") in f"{visible}!"
    assert visible in browser.text("[data-place=pair]")
    assert browser.run("document.querySelectorAll('img, svg[onload]').length") == 0
    assert browser.run("document.querySelectorAll('script').length") == 2
    assert "owned" not in browser.run("document.title").replace("document.title='owned'", "")
    assert browser.messages == []


def test_five_thousand_traces_are_moved_through_without_stutter(browser: Tab, tmp_path: Path):
    """Two runs of 280 questions and 9 traces each: 5,040. What is slow here would be slow by orders of magnitude."""
    folders = [
        evaluated(tmp_path / name, name, early=early, seed=seed, problems=280)
        for name, early, seed in (("one", True, 1), ("two", False, 2))
    ]
    browser.open(compare(tmp_path / "page.html", *folders))
    start = time.monotonic()
    frames = browser.run(
        """(async () => {
          const list = document.querySelector(".rows"), frames = [];
          document.querySelector("[data-view=traces]").click();
          let last = await new Promise(requestAnimationFrame), rows = 0;
          for (let step = 0; step <= 100; step++) {
            list.scrollTop = step / 100 * (list.scrollHeight - list.clientHeight);
            const now = await new Promise(requestAnimationFrame);
            frames.push(now - last);
            last = now;
            rows = Math.max(rows, document.querySelectorAll(".row").length);
          }
          frames.sort((a, b) => a - b);
          return { median: frames[50], rows };
        })()"""
    )
    assert browser.text("[data-place=count]") == "5,040 of 5,040 traces"
    assert frames["rows"] < 20
    assert frames["median"] < 100
    assert time.monotonic() - start < 15
    assert browser.messages == []


def test_nothing_sticks_out_of_a_phone(browser: Tab, runs: list[Path]):
    browser.open(compare(runs[0].parent / "phone.html", *runs))
    browser.send("Emulation.setDeviceMetricsOverride", width=375, height=700, deviceScaleFactor=1, mobile=True)
    width = browser.run("document.documentElement.scrollWidth")
    browser.send("Emulation.clearDeviceMetricsOverride")
    assert width == 375
