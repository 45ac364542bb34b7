"use strict";
// What the page holds, which two checkpoints of it are shown, and what became of the answers from one to the other.
const RIGHT = 0, UNGRADED = 3; // positions in the order of outcomes
const KINDS = ["gained", "lost", "other", "ungraded", "same"];

function read() {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const everything = data.problems.map(([id, prompt, gold, ofSides, answers], position) => {
    const problem = { id, prompt, gold, position };
    problem.all = ofSides.map((ofSide, side) => ofSide.map(
      ([sampled, index, outcome, confidence, length, truncated, answer, completion]) => ({
        problem, sampled, index, outcome, confidence, length, truncated, answer, completion,
        form: answers[side][0], votes: answers[side][1],
      })));
    return problem;
  });
  return { ...data, everything };
}

// Of runs set against each other only the problems that both were asked are shown.
function shown(everything, picked, against) {
  return everything.filter(({ all }) => !against || picked.every((side) => all[side].length)).map((problem) => {
    problem.sides = picked.map((run) => problem.all[run]);
    problem.sides.forEach((ofSide, side) => ofSide.forEach((trace) => { trace.side = side; }));
    problem.change = changed(problem.sides.map(([first]) => first));
    return problem;
  });
}

function changed([before, after]) {
  if (!before || !after) return "same";
  const kept = before.outcome === after.outcome && (before.form === after.form || after.outcome === RIGHT);
  if (kept) return "same";
  if (before.outcome === UNGRADED || after.outcome === UNGRADED) return "ungraded";
  return after.outcome === RIGHT ? "gained" : before.outcome === RIGHT ? "lost" : "other";
}

function interval(text) {
  const [, first, low, high, last] = /^([[(])([\d.e-]*),([\d.e-]*)([\])])$/.exec(text) ?? [];
  const [from, to] = [low === "" ? -Infinity : Number(low), high === "" ? Infinity : Number(high)];
  return from <= to ? { low: from, high: to, above: first === "(", below: last === ")" } : null;
}

// What two texts begin with alike, where the first differs, and what they end with alike.
function parted(text, other) {
  const [mine, theirs] = [[...text], [...other]];
  const most = Math.min(mine.length, theirs.length);
  let start = 0, end = 0;
  while (start < most && mine[start] === theirs[start]) start++;
  while (end < most - start && mine[mine.length - 1 - end] === theirs[theirs.length - 1 - end]) end++;
  const cut = mine.length - end;
  return [mine.slice(0, start), mine.slice(start, cut), mine.slice(cut)].map((part) => part.join(""));
}

const plural = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;
const decimal = (value) => value === null ? "–" : value.toFixed(3);
const line = (text) => text.slice(0, 400).replace(/\s+/g, " ").trim();

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const plain = (event) => !(event.ctrlKey || event.metaKey || event.altKey);
const keyed = (element, handler) => element.addEventListener("keydown", (event) => plain(event) && handler(event));

