"use strict";
// Draws every figure from the tables in the page, and redraws it when a reader switches runs or curves.
const payload = JSON.parse(document.getElementById("payload").textContent);

const CONFIG = {
  background: null,
  font: "system-ui, sans-serif",
  view: { stroke: null },
  axis: {
    labelColor: "var(--soft)", titleColor: "var(--ink)", titleFontWeight: "normal", gridColor: "var(--grid)",
    domainColor: "var(--rule)", tickColor: "var(--rule)", labelFontSize: 12, titleFontSize: 12, labelOverlap: true,
  },
  text: { fontSize: 12 },
};

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

const csvOf = (run, table) => (table === "gains" ? payload.gains.csv : payload.tables[run][table]);
// No cell of a table holds a comma or a quotation mark.
const cellsOf = (run, table) => csvOf(run, table).trimEnd().split("\n").map((line) => line.split(","));
const valueOf = (cell) => (cell === "" ? null : Number.isNaN(Number(cell)) ? cell : Number(cell));

const parsed = new Map();
function rowsOf(run, table) {
  const name = `${run}/${table}`;
  if (!parsed.has(name)) {
    const [columns, ...lines] = cellsOf(run, table);
    parsed.set(name, lines.map((line) => Object.fromEntries(columns.map((column, i) => [column, valueOf(line[i])]))));
  }
  return parsed.get(name);
}

// Of each figure: which keys are off, and its views, which are told when that changes.
const hiddenColumns = (panel, off) =>
  Object.entries(panel.keys).filter(([, keys]) => keys.some((key) => off.has(key))).map(([column]) => column);

function swatch(entry) {
  const dash = entry.dash[1] ? `stroke-dasharray="${entry.dash.join(" ")}"` : "";
  return `<svg width="26" height="10" aria-hidden="true"><line x1="1" x2="25" y1="5" y2="5" stroke="var(--${entry.color})"
    stroke-width="3" ${dash}/></svg>`;
}

function legend(place, entries, off, changed) {
  place.replaceChildren(...entries.map((entry) => {
    const box = element("input", { type: "checkbox", checked: !off.has(entry.key) });
    box.addEventListener("change", () => {
      if (box.checked) off.delete(entry.key); else off.add(entry.key);
      changed();
    });
    const label = element("label", {}, box);
    label.dataset.key = entry.key;
    label.insertAdjacentHTML("beforeend", swatch(entry));
    label.append(entry.label);
    return label;
  }));
}

async function draw(place, panel, run, tables, off, span) {
  const spec = structuredClone(panel.spec);
  for (const param of spec.params) {
    if (param.name === "hidden") param.value = hiddenColumns(panel, off);
    if (span && param.name in span) param.value = span[param.name];
  }
  spec.datasets = Object.fromEntries(tables.map((table) => [table, rowsOf(run, table)]));
  const { view } = await vegaEmbed(place, spec, {
    actions: false, renderer: "svg", config: CONFIG, mode: "vega-lite", tooltip: { theme: "page" },
  });
  place.querySelector("svg").setAttribute("aria-label", panel.title);
  return { view, panel };
}

// Panels of the same name in several runs share their vertical axis, so that they can be compared.
function spans(views) {
  const found = {};
  for (const { panels } of views) {
    for (const panel of panels) {
      const ends = Object.fromEntries(panel.spec.params.map(({ name, value }) => [name, value]));
      if (ends.low === undefined) continue;
      const span = (found[panel.title + panel.axis] ??= { low: Infinity, high: -Infinity });
      span.low = Math.min(span.low, ends.low);
      span.high = Math.max(span.high, ends.high);
    }
  }
  return found;
}

class Figure {
  constructor(section) {
    this.section = section;
    this.off = new Set();
    this.drawn = [];
    this.turn = 0;
    const gains = section.dataset.figure === "gains";
    this.views = gains ? [gainsView()] : payload.figures[section.dataset.figure];
    this.on = new Set(this.views.filter((view) => view.shown).map((view) => view.run));
    if (!this.on.size && this.views.length) this.on.add(this.views[0].run);
    if (!gains && payload.runs.length > 1) this.chooseRuns();
    if (this.views.length) legend(section.querySelector(".legend"), this.legendEntries(), this.off, () => this.toggle());
    this.fillNumbers();
    this.markRuns();
  }

  legendEntries() {
    const entries = new Map();
    for (const view of this.views) for (const entry of view.legend) entries.set(entry.key, entry);
    return [...entries.values()];
  }

  chooseRuns() {
    const place = this.section.querySelector(".choice");
    place.append(element("span", { textContent: "runs" }), ...this.views.map(({ run }) => {
      const box = element("input", { type: "checkbox", checked: this.on.has(run) });
      box.addEventListener("change", () => {
        if (box.checked) this.on.add(run); else this.on.delete(run);
        this.markRuns();
        this.draw();
      });
      return element("label", {}, box, payload.runs[run]);
    }));
  }

  // Claims and sources of runs that are not shown are not shown either.
  markRuns() {
    if (!this.views.length || this.section.dataset.figure === "gains") return;
    for (const part of this.section.querySelectorAll("[data-run]")) part.hidden = !this.on.has(Number(part.dataset.run));
    for (const row of this.section.querySelectorAll("tbody tr")) {
      row.hidden = [...row.querySelectorAll("td[data-run]")].every((cell) => cell.hidden || cell.querySelector(".none"));
    }
  }

  async draw() {
    const turn = ++this.turn;
    for (const { view } of this.drawn) view.finalize();
    this.drawn = [];
    if (!this.views.length) return;
    const shown = this.views.filter(({ run }) => this.on.has(run));
    const shared = spans(shown);
    const places = new Map();
    const blocks = shown.map((view) => {
      const grid = element("div", { className: "panels" }, ...view.panels.map((panel) => {
        places.set(panel, element("div", { className: "chart" }));
        return element("figure", {}, element("figcaption", { textContent: panel.title }), places.get(panel));
      }));
      const name = payload.runs.length > 1 && view.run !== null ? [element("h4", { textContent: payload.runs[view.run] })] : [];
      return element("div", { className: "view" }, ...name, grid);
    });
    // All are in their places before the first is drawn, which takes the width of its place.
    this.section.querySelector(".views").replaceChildren(...blocks);
    for (const view of shown) {
      for (const panel of view.panels) {
        const span = shared[panel.title + panel.axis];
        const made = await draw(places.get(panel), panel, view.run, view.tables, this.off, span);
        if (turn !== this.turn) return made.view.finalize();  // a reader has switched runs meanwhile
        this.drawn.push(made);
      }
    }
  }

  toggle() {
    for (const { view, panel } of this.drawn) view.signal("hidden", hiddenColumns(panel, this.off)).runAsync();
  }

  // Filled when they are opened: they are long.
  fillNumbers() {
    for (const place of this.section.querySelectorAll(".numbers")) {
      place.closest("details").addEventListener("toggle", () => {
        if (place.childElementCount) return;
        const { run, table } = place.dataset;
        const lines = cellsOf(run, table);
        const row = (cells, name) => element("tr", {}, ...cells.map((cell) => element(name, { textContent: cell })));
        const href = `data:text/csv;charset=utf-8,${encodeURIComponent(csvOf(run, table))}`;
        place.append(
          element("a", { href, download: `${table}.csv`, textContent: `save ${table}.csv` }),
          element("div", { className: "scroll", tabIndex: 0 },
            element("table", {}, element("thead", {}, row(lines[0], "th")), element("tbody", {}, ...lines.slice(1).map((line) => row(line, "td"))))),
        );
      });
    }
  }
}

function gainsView() {
  const { panels, legend: entries } = payload.gains;
  return { run: null, shown: true, tables: ["gains"], panels, legend: entries };
}

function filterClaims() {
  const section = document.getElementById("claims");
  const rows = [...section.querySelectorAll("tbody tr")];
  const apply = () => {
    const ofPaper = section.querySelector("[data-filter]").checked;
    const verdicts = [...section.querySelectorAll("[data-verdict]:checked")].map((box) => box.dataset.verdict);
    for (const row of rows) {
      row.hidden = (ofPaper && !row.classList.contains("of-the-paper")) || !verdicts.some((v) => row.dataset.verdicts.split(" ").includes(v));
    }
    section.querySelector("output").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
  };
  section.querySelector(".filter").addEventListener("change", apply);
  apply();
}

async function start() {
  filterClaims();
  const figures = [...document.querySelectorAll("[data-figure]")].map((section) => new Figure(section));
  for (const figure of figures) {
    await figure.draw();
    await new Promise((resolve) => setTimeout(resolve));  // the page stays responsive
  }
  document.body.dataset.drawn = "true";
}
start();
