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
  const kinds = [...frame.querySelectorAll("[data-kind]")];
  const ends = [...frame.querySelectorAll("[type=number]")];

  const OUTCOMES = boxes.map((box) => box.value);
  const WORDS = boxes.map((box) => box.parentNode.textContent);
  const MARKS = WORDS.map((word) => word[0]);
  const STYLES = ["good", "bad", "bad", "same"];
  const ROW = 56; // pixels, as in the style sheet
  const SPARE = 4; // rows kept beyond either edge

  const data = read();
  const { answer } = data;
  const against = data.asked.length > 0;
  const last = data.sides.length - 1;
  const EMPTY = { view: views[0].dataset.view, a: "0", b: String(last), side: "", source: "", outcome: "", change: "",
                  confidence: "", find: "", sort: "", at: "" };
  const LETTERS = ["A", "B"];
  const state = { ...EMPTY };
  let pair = ""; // the two checkpoints that the next four are of
  let sides = [];
  let short = [];
  let problems = [];
  let traces = [];
  let rows = []; // traces, or problems
  let active = -1;
  let opened = []; // the trace shown of each side
  let timer = 0;
  let typing = 0;

  // The filter

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

  function choosePair() {
    if (pair === `${state.a} ${state.b}`) return;
    pair = `${state.a} ${state.b}`;
    const picked = last ? [Number(state.a), Number(state.b)] : [0];
    sides = picked.map((run, side) => (against ? `${LETTERS[side]}: ` : "") + data.sides[run]);
    short = against ? LETTERS : sides.map((name) => name.toLowerCase());
    problems = shown(data.everything, picked, against);
    traces = problems.flatMap((problem) => problem.sides.flat());
    for (const button of kinds) {
      const count = problems.filter(({ change }) => change === button.dataset.kind).length;
      button.lastElementChild.textContent = count.toLocaleString("en");
      button.hidden = button.dataset.kind === "ungraded" && !count;
    }
    if (!against) return;
    const asked = picked.map((run, side) => `${sides[side]}, ${plural(data.asked[run], "question")}`);
    place("pair").textContent = `${asked.join(". ")}. Shared: ${problems.length.toLocaleString("en")}.`;
  }

  const cleared = () => ({ ...EMPTY, view: state.view, a: state.a, b: state.b });
  const order = () => state.sort || (state.view === "problems" && sides.length === 2 ? "changed" : "given");
  const latest = (problem) => problem.sides.findLast((ofSide) => ofSide.length)[0];
  const traceOf = (row) => row.problem ? row : latest(row);
  const problemOf = (row) => row.problem ?? row;

  function sorted(found) {
    const by = (key, sign) => found.sort((a, b) => sign * ((key(traceOf(a)) ?? -1) - (key(traceOf(b)) ?? -1)));
    switch (order()) {
      case "changed": return found.sort((a, b) =>
        KINDS.indexOf(problemOf(a).change) - KINDS.indexOf(problemOf(b).change));
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
    const name = state.view === "traces" ? "trace" : against ? "question" : "problem";
    place("count").textContent = `${rows.length.toLocaleString("en")} of ${plural(all.length, name)}`;
    sheet.style.height = `${rows.length * ROW}px`;
    show();
    draw();
    open();
  }

  // The list: only the rows in sight, and a few more, are in the document

  const tokens = ({ length, truncated }) =>
    (length === null ? "" : ` · ${plural(length, "token")}`) + (truncated ? " · cut off" : "");
  const named = (trace) => trace.sampled ? `sample ${trace.index}` : answer;
  const pill = ({ outcome }) => make("span", { class: `pill plain ${STYLES[outcome]}` }, WORDS[outcome]);
  // Prompts that share their beginning, examples say, tell themselves apart at the end.
  const question = ({ prompt }) => line(prompt.trimEnd().split("\n\n").at(-1));

  const vote = ([given, outcome, share]) => `${given === null ? "none" : line(given)} ${MARKS[outcome]} ${Math.round(100 * share)}%`;

  function voted(problem) {
    const votes = problem.sides.map(([first]) => first?.votes).filter(Boolean);
    return votes.length ? ` · majority ${votes.map(vote).join(" → ")}` : "";
  }

  function row(one, position) {
    const problem = problemOf(one);
    const about = one.problem
      ? [pill(one), make("span", {}, `${sides.length > 1 ? `${short[one.side]} · ` : ""}${named(one)}`),
         make("span", { class: "number" }, `${decimal(one.confidence)}${tokens(one)}`)]
      : [...problem.sides.filter((ofSide) => ofSide.length).flatMap(([greedy], side) =>
          [...(side ? [make("span", {}, "→")] : []), pill(greedy),
           make("span", { class: "answer" }, greedy.answer === null ? "" : line(greedy.answer))]),
         make("span", { class: "number" },
              problem.sides.filter((ofSide) => ofSide.length).map(([greedy]) => decimal(greedy.confidence)).join(" → "))];
    const text = one.problem ? line(one.completion) : `gold answer ${line(problem.gold)}${voted(problem)}`;
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
      make("p", { class: "completion", tabindex: "0" }, ...differences(trace, side, "completion")),
      make("footer", {}, "answer ", make("b", {}, ...differences(trace, side, "answer")),
           ` · confidence ${decimal(trace.confidence)}${tokens(trace)}`,
           ...(trace.votes ? [make("div", {}, `majority of the samples ${vote(trace.votes)}`)] : [])),
      ...(chips.length > 1 ? [make("div", { class: "chips", role: "group", "aria-label": "Traces of this problem" }, ...chips)] : []));
  }

  // The part of a text that the other side has not, marked; all of it where it has all of that and more.
  function differences(trace, side, what) {
    const text = trace[what] ?? "none";
    const other = opened[1 - side];
    if (!other || (other[what] ?? "none") === text) return [text];
    const [start, middle, end] = parted(text, other[what] ?? "none");
    if (what === "completion") return start.trim() || end.trim() ? [start, make("span", { class: "other" }, middle), end] : [text];
    return middle ? [start, make("mark", {}, middle), end] : [make("mark", {}, text)];
  }

  // State, controls and address

  function sync() {
    choosePair();
    for (const view of views) view.setAttribute("aria-pressed", String(view.dataset.view === state.view));
    for (const select of selects) select.value = select.name === "sort" ? order() : state[select.name];
    for (const button of kinds) button.setAttribute("aria-pressed", String(button.dataset.kind === state.change));
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
      if (![...select.options].some(({ value }) => value === asked[select.name])) asked[select.name] = EMPTY[select.name];
    }
    for (const name of ["side", "a", "b"]) if (selects.every((select) => select.name !== name)) asked[name] = EMPTY[name];
    if (asked.a === asked.b) Object.assign(asked, { a: EMPTY.a, b: EMPTY.b });
    if (kinds.every(({ dataset }) => dataset.kind !== asked.change)) asked.change = "";
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

  // A run is never set against itself: picked on both sides, the two change places.
  function swapped({ name, value }) {
    const other = { a: "b", b: "a" }[name];
    return other && state[other] === value ? { [other]: state[name] } : {};
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
    else if (event.key === "Escape") set(cleared());
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

  keyed(list, inList);
  keyed(reader, inReader);
  keyed(search, inSearch);
  keyed(document, (event) => {
    if (event.key !== "/" || event.target.closest("input, textarea, select")) return;
    search.focus();
    search.select();
    event.preventDefault();
  });

  pickable((query) => {
    recall(query);
    remember();
    section.scrollIntoView();
    list.focus({ preventScroll: true });
  });

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
  for (const select of selects) select.addEventListener("change", () => set({ ...swapped(select), [select.name]: select.value }));
  for (const button of kinds) button.addEventListener("click", () =>
    set({ change: state.change === button.dataset.kind ? "" : button.dataset.kind }));
  for (const end of ends) end.addEventListener("change", edited);
  for (const view of views) view.addEventListener("click", () => set({ view: view.dataset.view }));
  for (const box of boxes) box.addEventListener("change", () =>
    set({ outcome: boxes.filter(({ checked }) => checked).map(({ value }) => value).join(",") }));
  frame.querySelector("[data-clear]").addEventListener("click", () => set(cleared()));
  addEventListener("hashchange", follow);
  addEventListener("resize", draw);

  section.querySelector(".without-script").hidden = true;
  frame.hidden = false;
  if (!follow()) recall("");
})();
