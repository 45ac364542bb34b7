"""What an online training showed of itself: the stop rule's verdict, findings, answers and words step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from inward.report import examples
from inward.report.data import RunData
from inward.report.markup import NOTHING, decimal, esc
from inward.report.progress import Progress

SEVERITIES = {"alarm": "bad", "warning": "warn", "note": "same"}
"""Style of each severity."""


def shown(data: RunData) -> str:
    """Write the rule's verdict, then the findings; empty where training was not looked at."""
    seen = data.progress
    if not (seen.stop_reason or seen.findings):
        return ""
    rule = f"<p>{_verdict(seen)} {_labels(data)}</p>" if seen.stop_reason else ""
    rows = "".join(
        f'<li><p><span class="pill {SEVERITIES[one.severity]}">{one.severity}</span> '
        f"<b>{esc(one.name.replace('_', ' ').capitalize())}</b></p><p>{_sentence(one.evidence)}</p>"
        f'<p class="quiet">{_sentence(one.advice)}</p></li>'
        for one in seen.findings
    )
    return rule + (f'<ul class="findings">{rows}</ul>' if rows else "<p>Nothing unusual was found.</p>")


def prompts_along(data: RunData) -> str:
    """Show the greedy answers to the same few problems at some steps."""
    if len(data.judged_along) < 2:
        return ""
    judged = [(_heading(step, data.progress), one) for step, one in data.judged_along]
    boxes = "".join(examples.evaluated(judged, list(judged[0][1].groups)))
    return (
        "<p>Greedy answers to the same problems: the first whose answer is right at one judged step and not at "
        f"another, then the first of all. {examples.LEGEND}</p>{boxes}"
    )


def words(seen: Progress) -> str:
    """Count transitional words over the first and the last tenth of the steps; empty for fewer than two steps."""
    if len(seen.words) < 2:
        return ""
    width = max(1, len(seen.words) // 10)
    ends = [_total(seen.words[:width]), _total(seen.words[-width:])]
    frequency = ends[0] + ends[1]
    names = sorted((name for name in frequency if name != "words"), key=lambda name: (-frequency[name], name))
    rows = "".join(
        f'<tr><th scope="row">{esc(name)}</th>{"".join(_cells(end[name], end["words"]) for end in ends)}</tr>'
        for name in names
    )
    total = "".join(f"<td>{end['words']:,}</td><td></td>" for end in ends)
    steps = f"{width} steps" if width > 1 else "step"
    heads = "".join(
        f'<th scope="col">{place} {steps}</th><th scope="col">per 1,000 words</th>' for place in ("First", "Last")
    )
    return (
        '<details class="fold"><summary>Transitional words at the beginning and at the end</summary>'
        "<p>How often words of doubt and turning stand in the training traces of the first and of the last tenth of "
        'all steps.</p><div class="scroll" tabindex="0"><table><thead><tr><th scope="col">Word</th>'
        f'{heads}</tr></thead><tbody>{rows}<tr><th scope="row">All words</th>{total}</tr>'
        "</tbody></table></div></details>"
    )


def _verdict(seen: Progress) -> str:
    fired = "The stop rule fired" if seen.stop_step is not None else "The stop rule did not fire"
    kept = "" if seen.kept_step is None else f" Kept is {_step(seen.kept_step, seen)}."
    return f"{fired}: {esc(seen.stop_reason)}.{kept}"


def _labels(data: RunData) -> str:
    if data.manifest.labels_used:
        return (
            "The rule itself reads no gold answers, but the training did: they were its reward, so nothing here is "
            "free of labels."
        )
    return "No label was used for this: the rule reads the model's answers, never whether they are right."


def _step(step: int, seen: Progress) -> str:
    of = "" if seen.last_step is None else f" of {seen.last_step:,}"
    return f"step {step:,}{of}" + (", the start model" if step == 0 else "")


def _heading(step: int, seen: Progress) -> str:
    about = [word for word, said in (("start model", step == 0), ("kept", step == seen.kept_step)) if said]
    return ", ".join([f"step {step:,}", *about])


def _sentence(text: str) -> str:
    return esc(f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}")


def _total(steps: Sequence[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in steps:
        total.update(one)
    return total


def _cells(count: int, words: int) -> str:
    return f"<td>{count:,}</td><td>{decimal(1000 * count / words, 1) if words else NOTHING}</td>"
