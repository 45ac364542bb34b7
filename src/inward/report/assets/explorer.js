"use strict";
// Text from data reaches the page as text nodes alone; the page's content policy forbids any other way.
(() => {
  const section = document.getElementById("explorer");
  const frame = section.querySelector(".explorer");
  const place = (name) => frame.querySelector(`[data-place="${name}"]`);
  const list = frame.querySelector(".rows");
  const sheet = list.firstElementChild;
  const reader = frame.querySelector(".reader");
  const search = frame.querySelector("[name=find]");
  const boxes = [...frame.querySelectorAll("[name=outcome]")];
  const selects = [...frame.querySelectorAll("select")];
  const views = [...frame.querySelectorAll("[data-view]")];
  const ends = [...frame.querySelectorAll("[type=number]")];

  const OUTCOMES = boxes.map((box) => box.value);
  const WORDS = boxes.map((box) => box.parentNode.textContent);
  const MARKS = WORDS.map((word) => word[0]);
  const [RIGHT, , , UNGRADED] = OUTCOMES.keys();
  const STYLES = ["good", "bad", "bad", "same"];
  const CHANGES = ["gained", "lost", "other", "same"];
  const ROW = 56; // pixels, as in the style sheet
  const SPARE = 4; // rows kept beyond either edge
  const EMPTY = { view: "traces", side: "", source: "", outcome: "", change: "", confidence: "", find: "", sort: "", at: "" };

  const state = { ...EMPTY };
  const { problems, sides, answer } = read();
  const traces = problems.flatMap((problem) => problem.sides.flat());
  let rows = []; // traces, or problems
  let active = -1;
  let opened = []; // the trace shown of each side
  let timer = 0;
  let typing = 0;

  function read() {
    const data = JSON.parse(document.getElementById("explorer-data").textContent);
    const found = data.problems.map(([id, prompt, gold, ofSides], position) => {
      const problem = { id, prompt, gold, position };
      problem.sides = ofSides.map((ofSide, side) =>
        ofSide.map(([sampled, index, outcome, confidence, length, truncated, answer, completion]) => ({
          problem, side, sampled, index, outcome, confidence, length, truncated, answer, completion,
        })));
      problem.change = changed(problem.sides.map((ofSide) => ofSide[0]?.outcome));
      return problem;
    });
    return { ...data, problems: found };
  }

  function changed([before, after]) {
    if (before === after || before === undefined || after === undefined) return "same";
    if (before === UNGRADED || after === UNGRADED) return "other";
    return after === RIGHT ? "gained" : before === RIGHT ? "lost" : "other";
  }

  // The filter

  function interval(text) {
    const [, first, low, high, last] = /^([[(])([\d.e-]*),([\d.e-]*)([\])])$/.exec(text) ?? [];
    const [from, to] = [low === "" ? -Infinity : Number(low), high === "" ? Infinity : Number(high)];
    return from <= to ? { low: from, high: to, above: first === "(", below: last === ")" } : null;
  }

  function filter() {
    const range = interval(state.confidence);
    const outcomes = state.outcome.split(",").filter(Boolean).map((word) => OUTCOMES.indexOf(word));
    const wanted = state.find.toLowerCase();
    const asked = new Set(problems.filter(({ id, prompt }) => `${id}\n${prompt}`.toLowerCase().includes(wanted)));
    const within = ({ confidence }) => confidence !== null &&
      (range.above ? confidence > range.low : confidence >= range.low) &&
      (range.below ? confidence < range.high : confidence <= range.high);
    return traces.filter((trace) =>
      (state.side === "" || trace.side === Number(state.side)) &&
      (state.source === "" || trace.sampled === Number(state.source === "sampled")) &&
      (outcomes.length === 0 || outcomes.includes(trace.outcome)) &&
      (state.change === "" || trace.problem.change === state.change) &&
      (range === null || within(trace)) &&
      (asked.has(trace.problem) || trace.completion.toLowerCase().includes(wanted)));
  }

  const order = () => state.sort || (state.view === "problems" && sides.length === 2 ? "changed" : "given");
  const latest = (problem) => problem.sides.findLast((ofSide) => ofSide.length)[0];
  const traceOf = (row) => row.problem ? row : latest(row);
  const problemOf = (row) => row.problem ?? row;

  function sorted(found) {
    const by = (key, sign) => found.sort((a, b) => sign * ((key(traceOf(a)) ?? -1) - (key(traceOf(b)) ?? -1)));
    switch (order()) {
      case "changed": return found.sort((a, b) =>
        CHANGES.indexOf(problemOf(a).change) - CHANGES.indexOf(problemOf(b).change));
      case "surest": return by((trace) => trace.confidence, -1);
      case "unsure": return by((trace) => trace.confidence, 1);
      case "longest": return by((trace) => trace.length, -1);
      case "shortest": return by((trace) => trace.length, 1);
      default: return found;
    }
  }

  const key = (row) => (row.problem ? `${row.side}${row.sampled ? "s" : "g"}${row.index}` : "") + `:${problemOf(row).id}`;

  function apply() {
    const found = filter();
    rows = sorted(state.view === "problems" ? [...new Set(found.map((trace) => trace.problem))] : found);
    const id = state.at.slice(state.at.indexOf(":") + 1);
    active = rows.findIndex((row) => key(row) === state.at);
    if (active < 0 && state.at) active = rows.findIndex((row) => problemOf(row).id === id);
    if (active < 0 && rows.length) active = 0;
    const all = state.view === "problems" ? problems : traces;
    const name = state.view === "problems" ? "problem" : "trace";
    place("count").textContent =
      `${rows.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} ${name}${all.length === 1 ? "" : "s"}`;
    sheet.style.height = `${rows.length * ROW}px`;
    show();
    draw();
    open();
  }

  // The list: only the rows in sight, and a few more, are in the document

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const decimal = (value) => value === null ? "–" : value.toFixed(3);
  const tokens = ({ length, truncated }) =>
    (length === null ? "" : ` · ${length.toLocaleString("en")} token${length === 1 ? "" : "s"}`) + (truncated ? " · cut off" : "");
  const named = (trace) => trace.sampled ? `sample ${trace.index}` : answer;
  const pill = ({ outcome }) => make("span", { class: `pill plain ${STYLES[outcome]}` }, WORDS[outcome]);
  const line = (text) => text.slice(0, 400).replace(/\s+/g, " ").trim();
  // Prompts that share their beginning, examples say, tell themselves apart at the end.
  const question = ({ prompt }) => line(prompt.trimEnd().split("\n\n").at(-1));

  function row(one, position) {
    const problem = problemOf(one);
    const about = one.problem
      ? [pill(one), make("span", {}, `${sides.length > 1 ? `${sides[one.side].toLowerCase()} · ` : ""}${named(one)}`),
         make("span", { class: "number" }, `${decimal(one.confidence)}${tokens(one)}`)]
      : [...problem.sides.filter((ofSide) => ofSide.length).flatMap(([greedy], side) =>
          [...(side ? [make("span", {}, "→")] : []), pill(greedy),
           make("span", { class: "answer" }, greedy.answer === null ? "" : line(greedy.answer))]),
         make("span", { class: "number" },
              problem.sides.filter((ofSide) => ofSide.length).map(([greedy]) => decimal(greedy.confidence)).join(" → "))];
    const text = one.problem ? line(one.completion) : `gold answer ${line(problem.gold)}`;
    const element = make("div", {
      class: "row", role: "option", id: `explorer-row-${position}`, "aria-selected": String(position === active),
      "aria-posinset": String(position + 1), "aria-setsize": String(rows.length), "data-position": String(position),
    }, make("div", { class: "top" }, ...about),
       make("div", { class: "text" }, make("b", {}, question(problem)), ` ${text}`));
    element.style.top = `${position * ROW}px`;
    return element;
  }

  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
    const last = Math.min(rows.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
    sheet.replaceChildren(...rows.slice(first, last).map((one, offset) => row(one, first + offset)));
    if (active >= first && active < last) list.setAttribute("aria-activedescendant", `explorer-row-${active}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function show() {
    if (active < 0) list.scrollTop = 0;
    else if (active * ROW < list.scrollTop) list.scrollTop = active * ROW;
    else if ((active + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (active + 1) * ROW - list.clientHeight;
  }

  function go(position) {
    if (!rows.length) return;
    active = Math.min(rows.length - 1, Math.max(0, position));
    state.at = key(rows[active]);
    show();
    draw();
    open();
    remember();
  }

  function neighbour(step) {
    if (active < 0) return;
    const here = problemOf(rows[active]);
    let position = active;
    while (rows[position] && problemOf(rows[position]) === here) position += step;
    if (rows[position]) go(position);
  }

  // The reader: one problem, its checkpoints side by side

  function open() {
    const one = rows[active];
    if (!one) return reader.replaceChildren(make("p", { class: "quiet" }, "Nothing matches these filters."));
    opened = problemOf(one).sides.map((ofSide, side) => !one.problem ? ofSide[0] : side === one.side ? one :
      ofSide.find((other) => other.sampled === one.sampled && other.index === one.index) ?? ofSide[0]);
    write();
  }

  function write() {
    const problem = problemOf(rows[active]);
    const held = reader.contains(document.activeElement) ? document.activeElement : null;
    const step = (words, by) => make("button", { type: "button", "data-step": String(by) }, words);
    reader.replaceChildren(
      make("header", {}, make("b", {}, problem.id), make("span", { class: "steps" }, step("← previous", -1), step("next →", 1))),
      make("p", { class: "prompt", tabindex: "0" }, problem.prompt),
      make("p", { class: "quiet" }, "Gold answer: ", make("b", {}, problem.gold)),
      make("div", { class: "columns" }, ...problem.sides.flatMap((ofSide, side) => ofSide.length ? [column(ofSide, side)] : [])));
    if (held && held !== reader) refocus(held.dataset);
  }

  function refocus({ step, side, trace }) {
    const again = [...reader.querySelectorAll("button")].find(({ dataset }) =>
      dataset.step === step && dataset.side === side && dataset.trace === trace);
    (again ?? reader).focus();
  }

  function column(ofSide, side) {
    const trace = opened[side];
    const chips = ofSide.map((one, position) => make("button", {
      type: "button", class: "chip", "data-side": String(side), "data-trace": String(position),
      "aria-pressed": String(one === trace), "aria-label": `${named(one)}, ${WORDS[one.outcome].slice(2)}`,
    }, `${one.sampled ? one.index : answer} ${MARKS[one.outcome]}`));
    return make("article", { class: "trace" },
      make("header", {}, make("span", { class: "quiet" }, `${sides[side]}, ${named(trace)}`), pill(trace)),
      make("p", { class: "completion", tabindex: "0" }, trace.completion),
      make("footer", {}, "answer ", make("b", {}, trace.answer ?? "none"),
           ` · confidence ${decimal(trace.confidence)}${tokens(trace)}`),
      ...(chips.length > 1 ? [make("div", { class: "chips", role: "group", "aria-label": "Traces of this problem" }, ...chips)] : []));
  }

  // State, controls and address

  function sync() {
    for (const view of views) view.setAttribute("aria-pressed", String(view.dataset.view === state.view));
    for (const select of selects) select.value = select.name === "sort" ? order() : state[select.name];
    for (const box of boxes) box.checked = state.outcome.split(",").includes(box.value);
    if (search.value !== state.find) search.value = state.find;
    const range = interval(state.confidence);
    ends[0].value = range && Number.isFinite(range.low) ? range.low : "";
    ends[1].value = range && Number.isFinite(range.high) ? range.high : "";
    const left = [range?.above && range.low, range?.below && range.high].filter((end) => typeof end === "number");
    place("interval").textContent = left.length ? `without ${left.join(" and ")}` : "";
  }

  function set(changes) {
    Object.assign(state, changes);
    sync();
    apply();
    remember();
  }

  // Browsers slow down pages that change their address more than a few times a second.
  function remember() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const kept = Object.entries(state).filter(([name, value]) => value !== EMPTY[name]);
      history.replaceState(null, "", `#explorer${kept.length ? `?${new URLSearchParams(kept)}` : ""}`);
    }, 250);
  }

  function recall(query) {
    const given = Object.fromEntries([...new URLSearchParams(query)].filter(([name]) => name in EMPTY));
    const asked = { ...EMPTY, ...given };
    if (!views.some((view) => view.dataset.view === asked.view)) asked.view = EMPTY.view;
    for (const select of selects) {
      if (asked[select.name] && ![...select.options].some(({ value }) => value === asked[select.name])) asked[select.name] = "";
    }
    if (selects.every(({ name }) => name !== "side")) asked.side = "";
    if (selects.every(({ name }) => name !== "change")) asked.change = "";
    asked.outcome = asked.outcome.split(",").filter((word) => OUTCOMES.includes(word)).join(",");
    if (!interval(asked.confidence)) asked.confidence = "";
    Object.assign(state, asked);
    sync();
    apply();
  }

  function follow() {
    const [, query] = /^#explorer\?(.*)$/.exec(location.hash) ?? [];
    if (query === undefined) return false;
    recall(query);
    section.scrollIntoView();
    return true;
  }

  function typed() {
    clearTimeout(typing);
    typing = setTimeout(() => set({ find: search.value }), 120);
  }

  function edited() {
    const [low, high] = ends.map(({ value }) => value);
    set({ confidence: low || high ? `[${low},${high}]` : "" });
  }

  // Keys

  const page = () => Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
  const MOVES = { ArrowDown: () => active + 1, ArrowUp: () => active - 1, PageDown: () => active + page(),
                  PageUp: () => active - page(), Home: () => 0, End: () => rows.length - 1 };

  function inList(event) {
    if (event.key in MOVES) go(MOVES[event.key]());
    else if (event.key === "Enter" || event.key === " ") reader.focus();
    else if (event.key === "Escape") set({ ...EMPTY, view: state.view });
    else return;
    event.preventDefault();
  }

  function inReader(event) {
    if (event.key === "Escape") list.focus();
    else if (event.key === "ArrowLeft") neighbour(-1);
    else if (event.key === "ArrowRight") neighbour(1);
    else return;
    event.preventDefault();
  }

  function inSearch(event) {
    if (event.key === "Escape" && search.value) set({ find: "" });
    else if (["Escape", "Enter", "ArrowDown"].includes(event.key)) {
      clearTimeout(typing);
      set({ find: search.value });
      list.focus();
    } else return;
    event.preventDefault();
  }

  const plain = (event) => !(event.ctrlKey || event.metaKey || event.altKey);
  const keyed = (element, handler) => element.addEventListener("keydown", (event) => plain(event) && handler(event));
  keyed(list, inList);
  keyed(reader, inReader);
  keyed(search, inSearch);
  keyed(document, (event) => {
    if (event.key !== "/" || event.target.closest("input, textarea, select")) return;
    search.focus();
    search.select();
    event.preventDefault();
  });

  // The figures: one stop of the tab key each, arrows from bar to bar

  function choose(bar) {
    recall(bar.dataset.pick);
    remember();
    section.scrollIntoView();
    list.focus({ preventScroll: true });
  }

  for (const figure of document.querySelectorAll("svg:has([data-pick])")) {
    const bars = [...figure.querySelectorAll("[data-pick]")];
    figure.setAttribute("role", "group");
    bars.forEach((bar, position) => {
      bar.setAttribute("role", "button");
      bar.setAttribute("tabindex", position ? "-1" : "0");
      bar.addEventListener("click", () => choose(bar));
    });
    keyed(figure, (event) => {
      const here = bars.indexOf(event.target);
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      const next = bars[here + step];
      if (event.key === "Enter" || event.key === " ") choose(bars[here]);
      else if (step === undefined) return;
      else if (next) {
        bars.forEach((bar) => bar.setAttribute("tabindex", bar === next ? "0" : "-1"));
        next.focus();
      }
      event.preventDefault();
    });
  }

  // Everything else that is clicked or typed into

  list.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  list.addEventListener("click", (event) => {
    const clicked = event.target.closest(".row");
    if (clicked) go(Number(clicked.dataset.position));
  });
  reader.addEventListener("click", ({ target }) => {
    if (target.dataset.step) neighbour(Number(target.dataset.step));
    if (!target.dataset.trace) return;
    const [side, position] = [target.dataset.side, target.dataset.trace].map(Number);
    opened[side] = problemOf(rows[active]).sides[side][position];
    write();
  });
  search.addEventListener("input", typed);
  for (const select of selects) select.addEventListener("change", () => set({ [select.name]: select.value }));
  for (const end of ends) end.addEventListener("change", edited);
  for (const view of views) view.addEventListener("click", () => set({ view: view.dataset.view }));
  for (const box of boxes) box.addEventListener("change", () =>
    set({ outcome: boxes.filter(({ checked }) => checked).map(({ value }) => value).join(",") }));
  frame.querySelector("[data-clear]").addEventListener("click", () => set({ ...EMPTY, view: state.view }));
  addEventListener("hashchange", follow);
  addEventListener("resize", draw);

  section.querySelector(".without-script").hidden = true;
  frame.hidden = false;
  if (!follow()) recall("");
})();
