"""Numbers put into sentences: the headline, what it cost, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from inward.report.data import RunData
from inward.report.markup import NOTHING, counted, decimal, esc, percent
from inward.report.metrics import METRICS, change, get, interval, number, verdict

SATURATED = 0.95
"""Mean confidence from which on the model is called sure of nearly everything."""
NEAR_CHANCE = 0.6
"""AUROC below which confidence is called near chance at telling right from wrong."""
CONTROLS = ("random", "format")
"""Rewards that read neither gold answers nor the model's confidence."""


def headline(data: RunData) -> tuple[str, str]:
    """Write the one sentence, and the one that supports it; both escaped."""
    metric = METRICS["greedy_accuracy"]
    labels_used = data.manifest.labels_used
    labels = "Gold answers were used in training." if labels_used else "No labels were used in training."
    labels += kept(data)
    before, after = get(data.before, metric.key), get(data.after, metric.key)
    if before is not None and after is not None:
        return _compared(data, number(metric, before.value), number(metric, after.value), labels)
    only = before if before is not None else after
    if only is not None:
        evidence = f"95% interval {interval(metric, only)}, on {counted(only.n, 'problem')}."
        claim = f"Greedy accuracy is {number(metric, only.value)}"
        return claim, evidence if data.manifest.method == "evaluate" else f"{evidence} {labels}"
    return f"Trained on {_trained_on(data)}; not evaluated", labels


def kept(data: RunData) -> str:
    """Say which step was kept where it is not the last one, after a space; escaped."""
    step, last = data.progress.kept_step, data.progress.last_step
    if step is None or last is None or step >= last:
        return ""
    return f" Kept: step {step:,} of {last:,}{', the start model' if step == 0 else ''}."


def put(data: RunData) -> str:
    """Say in which format questions were put to the model, after a comma, where that is not `plain`; escaped."""
    trained, judged = (_format(data.manifest.settings.get(table)) for table in ("prompts", "evaluation"))
    judged = judged or trained or "plain"
    if data.manifest.data is not None and trained not in (None, judged):
        return f", trained on questions as <b>{esc(trained)}</b>, judged on questions as <b>{esc(judged)}</b>"
    return "" if judged == "plain" else f", questions as <b>{esc(judged)}</b>"


def decoded(data: RunData) -> str:
    """Say how the answers were found, after a comma, where that was not greedily; escaped."""
    sides = (("before", data.judged_before), ("after", data.judged_after))
    ways = {when: one.report.decoding for when, one in sides if one is not None}
    when = {name: f" {name}" if len(ways) > 1 else "" for name in ways}
    return "".join(f", answers{when[name]} by <b>{esc(way)}</b>" for name, way in ways.items() if way != "greedy")


def _format(table: object) -> str | None:
    found = table.get("format") if isinstance(table, Mapping) else None
    return found if isinstance(found, str) else None


def cost(data: RunData) -> list[str]:
    """Write paragraphs on what the gain was paid with; none where there is no before and after."""
    if data.before is None or data.after is None:
        return []
    ranking = [_ranking(data)]
    surety = [moved(data, "confidence", "Mean confidence"), _saturation(data)]
    samples = [
        moved(data, "ece_sampled", "ECE of the sampled answers"),
        moved(data, "pass_at_k", "Problems with at least one right sample"),
    ]
    paragraphs = [" ".join(filter(None, sentences)) for sentences in (ranking, surety, samples)]
    return [paragraph for paragraph in paragraphs if paragraph]


def advice(data: RunData) -> list[tuple[str, str]]:
    """Say what to do next, most pressing first: (title, sentence), escaped."""
    found = [*_about_accuracy(data), *_about_confidence(data), *_about_traces(data)]
    if data.manifest.method == "evaluate":
        return found
    if data.before is None and data.after is None:
        sentence = (
            "Nothing was judged. Judge the start model and the checkpoint with <code>inward evaluate</code>, or give "
            "the next run problems to be judged on, in a folder of its own"
        )
        sentence += "." if data.manifest.labels_used else ": gold answers are read there and nowhere else."
        found.append(("Evaluate it", sentence))
    sentence = (
        f"This is one run, with seed {data.manifest.seed}. The intervals on this page cover the choice of problems, "
        "not the luck of training; another seed shows how much that is."
    )
    if data.curve:
        sentence += " <code>inward report DIR DIR --out seeds.html</code> draws several runs on one page."
    return [*found, ("Try a second seed", sentence)]


def loading(checkpoint: str) -> str:
    """Write the three lines that load the trained model, escaped."""
    return esc(
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"model = AutoModelForCausalLM.from_pretrained({checkpoint!r})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({checkpoint!r})"
    )


def moved(data: RunData, key: str, name: str) -> str:
    """Write `Name: <b>old → new</b> (verdict).`; empty where one of the two is missing."""
    before, after = get(data.before, key), get(data.after, key)
    if before is None or after is None:
        return ""
    metric = METRICS[key]
    word = verdict(metric, get(data.difference, key)).word
    judged = "" if word == NOTHING else f" ({word})"
    return f"{name}: <b>{number(metric, before.value)} → {number(metric, after.value)}</b>{judged}."


def _compared(data: RunData, old: str, new: str, labels: str) -> tuple[str, str]:
    metric = METRICS["greedy_accuracy"]
    difference = get(data.difference, metric.key)
    if difference is None:
        return f"Greedy accuracy went from {old} to {new}", labels
    between = interval(metric, difference, difference=True)
    problems = counted(difference.n, "problem")
    evidence = f"{change(metric, difference.value)}, 95% interval {between}, on {problems}. {labels}"
    if verdict(metric, difference).style == "same":
        return f"Greedy accuracy did not clearly change: {old} before, {new} after", evidence
    return f"Greedy accuracy {'rose' if difference.value > 0 else 'fell'} from {old} to {new}", evidence


def _trained_on(data: RunData) -> str:
    pairs = 0 if data.training is None else data.training.pairs
    reward = data.manifest.settings.get("reward")
    if pairs:
        return counted(pairs, "preference pair")
    if data.manifest.labels_used:
        return "gold answers"
    return f"the control reward {reward}" if reward in CONTROLS else "its own confidence"


def _ranking(data: RunData) -> str:
    after = get(data.after, "auroc")
    said = moved(data, "auroc", "AUROC of the greedy answers")
    if after is None or not said:
        return ""
    if after.value < NEAR_CHANCE:
        return f"{said} That is near chance (0.5): how sure the model is says little about whether it is right."
    return f"{said} Chance is 0.5: confidence still tells right answers from wrong ones to that degree."


def _saturation(data: RunData) -> str:
    confidence, accuracy, ece = (get(data.after, key) for key in ("confidence", "greedy_accuracy", "ece"))
    if confidence is None or accuracy is None or ece is None or confidence.value < SATURATED:
        return ""
    wrong = 1 - accuracy.value
    text = "The model is now sure of nearly every answer."
    if abs(ece.value - wrong) <= 0.03:
        text += (
            f" Its ECE ({decimal(ece.value)}) is therefore about one minus its accuracy ({decimal(wrong)}): "
            "it says how often the model is wrong, not that its confidence knows when."
        )
    if data.manifest.method == "rlsf":
        text += (
            " RLSF moves a model to the way of answering that its surest traces share, and saturates the "
            "confidence there. ECE falls where that way is right often enough, but a confidence that is near one "
            "everywhere cannot rank answers."
        )
    return text


def _about_accuracy(data: RunData) -> Iterator[tuple[str, str]]:
    word = verdict(METRICS["greedy_accuracy"], get(data.difference, "greedy_accuracy")).word
    ranked = data.training is not None and data.training.pairs > 0
    if word == "worse":
        sentence = "Greedy accuracy fell."
        if ranked:
            sentence += (
                " Read the traces that training preferred: where the surest ones are wrong, self-confidence points "
                "the wrong way on this model."
            )
        elif data.curve:
            sentence += (
                " See along the way whether an earlier step was better, and what training showed before it fell."
            )
        yield "Do not use this checkpoint", sentence
    if word == "no clear change" and ranked:
        sentence = (
            "See above whether chosen and rejected traces differ in how they reach the answer. Where nearly all pairs "
            "give the same answer the same way, there is little to learn; more traces per prompt, or sampled and "
            "branched ones together, bring more variety."
        )
        yield "Find out why accuracy did not move", sentence


def _about_confidence(data: RunData) -> Iterator[tuple[str, str]]:
    auroc, ece, accuracy = get(data.after, "auroc"), get(data.before, "ece"), get(data.after, "greedy_accuracy")
    lost = verdict(METRICS["auroc"], get(data.difference, "auroc")).word == "worse"
    if auroc is not None and (lost or auroc.value < NEAR_CHANCE):
        tells = "no longer tells" if lost else "does not tell"
        sentence = (
            f"With an AUROC of {decimal(auroc.value)} the probability of one answer {tells} which answers to trust. "
            "Sample several and use the share that agrees: agreement may still rank answers where single "
            "probabilities are all alike."
        )
        yield "Take the vote share as confidence", sentence
    if verdict(METRICS["ece"], get(data.difference, "ece")).word == "worse" and ece and accuracy:
        sentence = (
            f"ECE was {decimal(ece.value)} before: the start model was calibrated better than a model that is sure of "
            f"everything can be, for there ECE is one minus accuracy ({decimal(1 - accuracy.value)} here). Where "
            "honest probabilities matter more than accuracy, keep the start model."
        )
        yield "Expect overconfidence", sentence


def _about_traces(data: RunData) -> Iterator[tuple[str, str]]:
    cut = get(data.after if data.after is not None else data.before, "truncated_rate")
    if cut is not None and cut.value > 0.05:
        sentence = (
            f"{percent(cut.value)} of the completions were cut at the length limit; raise "
            "<code>max_completion_tokens</code> for a fair judgement."
        )
        yield "Allow longer completions", sentence
    traces, without = data.counts.get("traces", 0), data.counts.get("traces_without_span", 0)
    if traces and without / traces > 0.2:
        sentence = (
            f"{percent(without / traces)} of the training traces hold no answer that could be found, and so have "
            "confidence 0. A prompt that asks for a final answer in a fixed form helps."
        )
        yield "Make answers findable", sentence
