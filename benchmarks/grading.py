"""Verdicts per second, on one processor and one process of Math-Verify, after it has started.

    python benchmarks/grading.py

prints one line of JSON. Numeric answers are sums as people write them, a third of them wrong. LaTeX answers are
products, roots, polynomials, intervals, lists and fractions: for each gold answer five different answers, one written
as it is, one otherwise, and three wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from importlib.metadata import version

from inward.equivalence import grade, pool
from inward.types import AnswerKind, Outcome

Item = tuple[str, str, AnswerKind, bool]


def main() -> None:
    """Grade, check the verdicts, and print the speed."""
    parser = argparse.ArgumentParser(description="Verdicts per second and processor.")
    parser.add_argument("--golds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    began = time.perf_counter()
    assert grade("(x+1)^2", "x^2+2x+1", "latex") is Outcome.CORRECT
    start = time.perf_counter() - began
    result = {
        "numeric_per_second": speed(numeric(rng, 40 * options.golds)),
        "latex_per_second": speed([item for _ in range(options.golds) for item in latex(rng)]),
        "start_seconds": start,
        "golds": options.golds,
        "seed": options.seed,
        "math_verify": version("math-verify"),
    }
    print(json.dumps(result))
    pool.close()


def speed(items: list[Item]) -> float:
    """Verdicts per second; every one must be right."""
    began = time.perf_counter()
    outcomes = [grade(answer, gold, kind) for answer, gold, kind, _ in items]
    seconds = time.perf_counter() - began
    for (answer, gold, _, right), outcome in zip(items, outcomes, strict=True):
        assert outcome is (Outcome.CORRECT if right else Outcome.INCORRECT), (answer, gold, outcome)
    return len(items) / seconds


def numeric(rng: random.Random, num: int) -> list[Item]:
    """Numbers from 1 to 100,000."""
    items: list[Item] = []
    for i in range(num):
        value = rng.randrange(1, 100_000)
        given = value if i % 3 else value + rng.randrange(1, 9)
        written = rng.choice((f"{given}", f"{given:,}", f"${given}.00", f"{given} apples", f"{2 * given}/2"))
        items.append((written, str(value), "number", bool(i % 3)))
    return items


def latex(rng: random.Random) -> list[Item]:
    """One gold answer and five answers."""
    a, b, c = rng.sample(range(2, 100), 3)
    root = rng.choice((2, 3, 5, 7))
    gold, alike, wrong = rng.choice(
        (
            (f"{a}\\sqrt{{{root}}}", f"\\sqrt{{{a * a * root}}}", f"{a}\\sqrt{{{root + 4}}}"),
            (f"\\frac{{{a}}}{{{b}}}", f"\\dfrac{{{2 * a}}}{{{2 * b}}}", f"\\frac{{{b}}}{{{a}}}"),
            (f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b})", f"(x-{a})(x+{b})"),
            (f"({a},{a + b}]", f"\\left( {a}, {a + b} \\right]", f"[{a},{a + b}]"),
            (f"{a}, {b}, {c}", f"{c}, {a}, {b}", f"{c}, {a}, {b + 1}"),
            (f"{a}\\pi", f"\\frac{{{2 * a}\\pi}}{{2}}", f"{a + 1}\\pi"),
            (
                f"\\frac{{{a}+\\sqrt{{{root}}}}}{{{b}}}",
                f"\\frac{{\\sqrt{{{root}}}+{a}}}{{{b}}}",
                f"\\frac{{{a}-\\sqrt{{{root}}}}}{{{b}}}",
            ),
            (f"y={a}x+{b}", f"{a}x+{b}", f"{a}x-{b}"),
        )
    )
    other = wrong.replace(str(a), str(a + 1)) if str(a) in wrong else wrong + "+1"
    answers = [(gold, True), (alike, True), (wrong, False), (other, False), ("0", False)]
    return [(answer, gold, "latex", right) for answer, right in answers]


if __name__ == "__main__":
    main()
