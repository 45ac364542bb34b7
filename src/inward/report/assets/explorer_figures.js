// The figures: one stop of the tab key each, arrows from bar to bar. `choose` takes what a bar stands for.
function pickable(choose) {
  for (const figure of document.querySelectorAll("svg:has([data-pick])")) {
    const bars = [...figure.querySelectorAll("[data-pick]")];
    figure.setAttribute("role", "group");
    bars.forEach((bar, position) => {
      bar.setAttribute("role", "button");
      bar.setAttribute("tabindex", position ? "-1" : "0");
      bar.addEventListener("click", () => choose(bar.dataset.pick));
    });
    keyed(figure, (event) => {
      const here = bars.indexOf(event.target);
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      const next = bars[here + step];
      if (event.key === "Enter" || event.key === " ") choose(bars[here].dataset.pick);
      else if (step === undefined) return;
      else if (next) {
        bars.forEach((bar) => bar.setAttribute("tabindex", bar === next ? "0" : "-1"));
        next.focus();
      }
      event.preventDefault();
    });
  }
}

