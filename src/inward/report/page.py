"""The page: one self-contained HTML text from the data of a run, with no script but that of the trace explorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

from inward.report import explorer, sections, training
from inward.report.along import along
from inward.report.data import RunData
from inward.report.figures import ranges
from inward.report.markup import NOTHING, esc
from inward.report.measures import estimated, side_by_side
from inward.report.metrics import GROUPS, METRICS, Metric, change, get, interval, number, verdict
from inward.report.sharpening import sharpening
from inward.report.words import decoded, headline, put
from inward.types import Estimate

KEY_METRICS = ("greedy_accuracy", "ece", "auroc", "sampled_accuracy")

_HATCHES = """<svg class="defs" aria-hidden="true"><defs>
<pattern id="over" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="6" height="6"/><path d="M0 0V6" stroke-width="3"/></pattern>
<pattern id="under" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">
<rect width="6" height="6"/><path d="M0 0V6" stroke-width="2"/></pattern>
</defs></svg>"""


def render(data: RunData) -> str:
    """Write the whole page.

    Text from data is escaped; on top of that a content policy forbids requests and every script but the explorer's.
    """
    claim, evidence = headline(data)
    shown = [
        ("result", "Result", _result(data)),
        ("findings", "What the training shows", training.shown(data)),
        ("along", "Along the way", _along(data)),
        ("prompts", "One prompt along the way", training.prompts_along(data)),
        ("metrics", "All metrics", _metrics(data)),
        ("calibration", "Calibration", sections.calibration(data)),
        ("measures", "Confidence measures side by side", _measures(data)),
        ("sharpening", "Sharpening", sharpening(data)),
        ("cost", "What it cost", sections.price(data)),
        ("training", "Training data", sections.training(data)),
        ("explorer", "All judged traces", explorer.section(data.explored)),
        ("traces", "Traces", sections.traces(data)),
        ("run", "The run", sections.run(data)),
        ("next", "What to do next", sections.next_steps(data)),
    ]
    return document(data, claim, evidence, shown)


def document(data: RunData, claim: str, evidence: str, shown: Sequence[tuple[str, str, str]]) -> str:
    """Write a whole page about one run around its sections.

    Args:
        data: The run; manifest, task and warnings are shown.
        claim: The heading, escaped.
        evidence: What supports it, escaped.
        shown: As in `frame`.
    """
    manifest = data.manifest
    about = f"<b>{esc(manifest.method)}</b> of <b>{esc(manifest.start.name)}</b>"
    if data.task:
        about += f" on <b>{esc(data.task)}</b>"
    about += put(data) + decoded(data)
    return frame(
        f"{esc(manifest.method)} of {esc(manifest.start.name)}",
        about,
        claim,
        evidence,
        shown,
        warnings=data.warnings,
        made=f"Made by inward {esc(manifest.inward)} from the files of this run folder.",
        explored=data.explored is not None,
    )


def frame(
    name: str,
    about: str,
    claim: str,
    evidence: str,
    shown: Sequence[tuple[str, str, str]],
    *,
    warnings: Sequence[str],
    made: str,
    explored: bool = False,
) -> str:
    """Write a whole page around its sections; all but the warnings is escaped already.

    Args:
        name: What the page is about, for the window's title.
        about: The same, above the heading.
        claim: The heading.
        evidence: What supports it.
        shown: Anchor, heading and body of every section; those without a body are left out. The section `result` comes
            without its heading.
        warnings: Shown above the sections.
        made: The last line.
        explored: Whether one of the sections is the trace explorer, whose script and style then belong to the page.
    """
    shown = [(anchor, heading, body) for anchor, heading, body in shown if body]
    links = "".join(f'<a href="#{anchor}">{heading}</a>' for anchor, heading, _ in shown)
    bodies = "".join(
        f'<section id="{anchor}">{"" if anchor == "result" else f"<h2>{heading}</h2>"}{body}</section>'
        for anchor, heading, body in shown
    )
    look, code = files("inward.report").joinpath("style.css").read_text("utf-8"), ""
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    if explored:
        script, source = explorer.script()
        look += explorer.style()
        code = f"<script>{script}</script>\n"
        policy += f"; script-src {source}; require-trusted-types-for 'script'; trusted-types 'none'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{name}: {claim}</title>
<style>{look}</style>
</head>
<body>
{_HATCHES}
<main>
<header class="masthead"><p class="eyebrow">{about}</p><h1>{claim}</h1><p class="lead">{evidence}</p></header>
<nav aria-label="Sections">{links}</nav>
{_warnings(warnings)}{bodies}
<footer class="page">{made}</footer>
</main>
{code}</body>
</html>
"""


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    lines = "".join(f"<li>{esc(warning)}</li>" for warning in warnings)
    return f'<div class="notice"><b>Warnings</b><ul>{lines}</ul></div>'


def _result(data: RunData) -> str:
    if data.before is None and data.after is None:
        return (
            '<div class="notice">No checkpoint of this run was evaluated, so this page cannot say whether '
            "training helped. Name a task to evaluate on and run again, or judge the checkpoint by itself with "
            "<code>inward evaluate</code>.</div>"
        )
    return f'<div class="cards">{"".join(_card(METRICS[key], data) for key in KEY_METRICS)}</div>'


def _card(metric: Metric, data: RunData) -> str:
    before, after = get(data.before, metric.key), get(data.after, metric.key)
    last = after if after is not None else before
    if last is None:
        return ""
    was = change_line = pill = ""
    if before is not None and after is not None:
        was = f'<span class="was">{number(metric, before.value)} →</span> '
        difference = get(data.difference, metric.key)
        judged = verdict(metric, difference)
        pill = f'<span class="pill {judged.style}">{judged.word}</span>'
        if difference is not None:
            between = interval(metric, difference, difference=True)
            change_line = f"{change(metric, difference.value)}<br>95%: {between}"
    else:
        change_line = f"95%: {interval(metric, last)}"
    drawn = [(style, one) for style, one in (("before", before), ("after", after)) if one is not None]
    return (
        f'<div class="card"><h3>{metric.label}</h3><p class="value">{was}{number(metric, last.value)}</p>'
        f'{pill}<p class="change">{change_line}</p>{ranges(drawn)}</div>'
    )


def _along(data: RunData) -> str:
    return along(data.curve, "step", data.progress) + training.words(data.progress)


def _measures(data: RunData) -> str:
    judged = [(name, metrics) for name, metrics in (("Before", data.before), ("After", data.after)) if metrics]
    names = [name if len(judged) == 2 else "Value" for name, _ in judged]
    return side_by_side([(name, estimated(metrics)) for name, (_, metrics) in zip(names, judged, strict=True)])


def _metrics(data: RunData) -> str:
    judged = [(name, metrics) for name, metrics in (("Before", data.before), ("After", data.after)) if metrics]
    if not judged:
        return ""
    both = len(judged) == 2
    heads = [name if both else "Value" for name, _ in judged] + (["Difference", "Verdict"] if both else []) + ["n"]
    rows: list[str] = []
    for group, metrics in GROUPS.items():
        body = [_row(metric, [source for _, source in judged], data) for metric in metrics]
        if any(body):
            rows.append(
                f'<tr class="group"><th colspan="{len(heads) + 1}" scope="colgroup"><span>{group}</span></th></tr>'
            )
            rows.extend(body)
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    verdicts = (
        " Differences are paired: the same problems before and after. <b>Better</b> and <b>worse</b> are said only "
        "where the interval of the difference leaves zero out; otherwise there is no clear change."
        if both
        else ""
    )
    if both and data.progress.kept_step is not None:
        verdicts += f" After is the kept checkpoint, that of step {data.progress.kept_step:,}."
    return (
        f"<p>Beneath each number its 95% interval; n is the number of problems.{verdicts}</p>"
        f'<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">Metric</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(metric: Metric, judged: list[Mapping[str, Estimate]], data: RunData) -> str:
    estimates = [get(source, metric.key) for source in judged]
    if all(one is None for one in estimates):
        return ""
    cells = [
        NOTHING if one is None else f"{number(metric, one.value)}<small>{interval(metric, one)}</small>"
        for one in estimates
    ]
    if len(judged) == 2:
        difference = get(data.difference, metric.key)
        word = verdict(metric, difference)
        shown = NOTHING
        if difference is not None:
            between = interval(metric, difference, difference=True)
            shown = f"{change(metric, difference.value)}<small>{between}</small>"
        cells += [shown, f'<span class="pill {word.style}">{word.word}</span>']
    cells.append(f"{max(one.n for one in estimates if one is not None):,}")
    label = metric.label.replace("@k", f"@{_pass_k(data)}")
    head = f'<th scope="row">{label}<small>{metric.about}</small></th>'
    return f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _pass_k(data: RunData) -> str:
    judged = data.judged_after or data.judged_before
    return "k" if judged is None else str(judged.report.pass_k)
