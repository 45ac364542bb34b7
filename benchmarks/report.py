"""The report and its trace explorer by number of traces: `python benchmarks/report.py [--traces 100 1000] [--json]`.

Runs that never happened: a problem has ten traces before and ten after, each of 120 tokens and about 560 characters;
with `--compare` before and after are two runs, and what is measured is the page of `inward compare --out`.
Timed are the whole command, the page's way to its load event in headless Chromium, a change of order, a search
through all texts, and the frames while the list is scrolled from end to end in 100 steps.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import synthetic  # noqa: E402  it lies in the folder above
from browser import tab  # noqa: E402

from inward.types import EvalItem, Outcome, Prompt, ScoredGroup, Source  # noqa: E402

WORDS = ("so ", "then ", "7+5=12; ", "wait, ", "carry 1; ", "that is ", "again: ", "3+4=7; ")
SAMPLES = 9
TOKENS = 120
IN_THE_PAGE = """(async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const timed = (act) => { const start = performance.now(); act(); return performance.now() - start; };
  const list = document.querySelector(".rows"), search = document.querySelector("[name=find]");
  const order = document.querySelector("[name=sort]");
  document.querySelector("[data-view=traces]").click();
  const filter = timed(() => { order.value = "surest"; order.dispatchEvent(new Event("change")); });
  const find = timed(() => {
    search.value = "no such text"; search.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  });
  list.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
  const frames = [];
  let rows = 0, last = await frame();
  for (let step = 0; step <= 100; step++) {
    list.scrollTop = step / 100 * (list.scrollHeight - list.clientHeight);
    const now = await frame();
    frames.push(now - last);
    last = now;
    rows = Math.max(rows, document.querySelectorAll(".row").length);
  }
  const load = performance.getEntriesByType("navigation")[0].loadEventEnd;
  frames.sort((a, b) => a - b);
  return { load_ms: load, order_ms: filter, search_ms: find, median_frame_ms: frames[50],
           longest_frame_ms: frames.at(-1), most_rows: rows };
})()"""


def main() -> None:
    """Print one row, or one line of JSON, for each number of traces."""
    parser = argparse.ArgumentParser(description="Size and speed of the report by number of traces.")
    parser.add_argument("--traces", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for number, traces in enumerate(options.traces):
        with TemporaryDirectory() as folder:
            row = measure(Path(folder), traces, compare=options.compare)
        if not options.json and not number:
            print("  ".join(f"{name:>16}" for name in row))
        print(json.dumps(row) if options.json else "  ".join(f"{value:>16,.6g}" for value in row.values()), flush=True)


def measure(folder: Path, traces: int, *, compare: bool) -> dict[str, float]:
    """Build runs of about so many traces, and their page by the command as a user types it."""
    problems = max(1, round(traces / (2 * (SAMPLES + 1))))
    asked, page = comparison(folder, problems) if compare else report(folder, problems)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [Path(sys.executable).with_name("inward"), *asked]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    with tab(folder / "profile") as opened:
        opened.open(page)
        in_page = opened.run(IN_THE_PAGE)
        assert opened.messages == []
    return {
        "traces": problems * 2 * (SAMPLES + 1),
        "page_megabytes": page.stat().st_size / 1e6,
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_megabytes": after.ru_maxrss / 1e3,
        **in_page,
        "load_average": os.getloadavg()[0],
    }


def report(folder: Path, problems: int) -> tuple[list[str | Path], Path]:
    """Write a run judged before and after, without training data; give the command and the page it makes."""
    before, after = evaluation(problems, seed=1), evaluation(problems, seed=2)
    made = synthetic.Run(manifest=synthetic.manifest(), before=before, after=after, training=[], pairs=[])
    run = synthetic.write(folder / "run", made)
    return ["report", run], run / "report.html"


def comparison(folder: Path, problems: int) -> tuple[list[str | Path], Path]:
    """Write two evaluations; give the command that sets them side by side, and its page."""
    manifest = synthetic.manifest(method="evaluate", settings={}, data=None)
    runs = [
        synthetic.write(
            folder / f"run{seed}",
            synthetic.Run(manifest=manifest, before=evaluation(problems, seed=seed), after=None, training=[], pairs=[]),
        )
        for seed in (1, 2)
    ]
    page = folder / "page.html"
    return ["compare", *runs, "--out", page], page


def evaluation(problems: int, *, seed: int) -> synthetic.Evaluation:
    """Problems, each with a greedy trace and samples."""
    random_ = random.Random(seed)
    judged = [problem(random_, number) for number in range(problems)]
    items = [item for item, _ in judged]
    return synthetic.Evaluation(
        report=synthetic.evaluation_report(items, "checkpoint"), items=items, groups=[group for _, group in judged]
    )


def problem(random_: random.Random, number: int) -> tuple[EvalItem, ScoredGroup]:
    """One problem, judged; an answer is right as often as not."""
    gold = str(random_.randrange(10))
    traces = [
        synthetic.scored(
            [*random_.choices(WORDS, k=TOKENS - 1), gold if random_.random() < 0.5 else "x"],
            [random_.random() for _ in range(TOKENS)],
            prompt_id=f"q{number}",
            index=index,
            source=Source.SAMPLE if index else Source.GREEDY,
            answer=(TOKENS - 1, TOKENS),
        )
        for index in range(1 + SAMPLES)
    ]
    judged = [synthetic.judge(one, gold) for one in traces]
    item = EvalItem(
        prompt_id=f"q{number}",
        gold=gold,
        greedy=judged[0],
        tokens=TOKENS,
        samples=tuple(judged[1:]),
        majority=judged[1].answer,
        majority_outcome=Outcome.CORRECT,
    )
    prompt = Prompt(id=f"q{number}", text=f"Question {number}: what is left of the carry?\nAnswer:")
    return item, ScoredGroup(prompt=prompt, traces=tuple(traces), confidence="answer_disparity")


if __name__ == "__main__":
    main()
