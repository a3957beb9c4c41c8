"use strict";

const MINUS = /\u2212/g;

/* Tables sort by a click on a column's head: numbers as numbers, a dash last. */
function keyOf(cell) {
  const text = (cell.dataset.v ?? cell.textContent).trim().replace(MINUS, "-").replace(/,/g, "");
  const number = parseFloat(text.replace(/^[<+\s]+/, ""));
  return Number.isNaN(number) ? text.toLowerCase() : number;
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
}

function sortBy(table, head, column) {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => row.cells.length > column);
    rows.sort((a, b) => compare(keyOf(a.cells[column]), keyOf(b.cells[column])) * (down ? -1 : 1));
    body.append(...rows);
  }
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(table, head, column));
  });
}

/* The fills of one prompt, arm beside arm. */
const fills = JSON.parse(document.getElementById("fills-data")?.textContent ?? "null");

function make(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function percent(share) {
  return share >= 0.0005 ? `${(100 * share).toFixed(1)}%` : "<0.1%";
}

function column(arm, words, score, top, usual) {
  const look = fills.arms[arm] ?? { sign: "", tint: "var(--soft)", told: "" };
  const sign = make("i", "", look.sign);
  sign.style.color = look.tint;
  sign.setAttribute("aria-hidden", "true");
  const list = make("ol", "");
  for (const [word, share] of words) {
    const bar = make("div", "bar");
    bar.style.width = `${((100 * share) / top).toFixed(1)}%`;
    bar.style.setProperty("--tint", look.tint);
    const line = make("div", "fill", make("span", "word", word), make("span", "", percent(share)));
    list.append(make("li", usual && !usual.has(word) ? "own" : "", line, bar));
  }
  const told = [look.told, score].filter(Boolean).join(" · ");
  return make("div", "", make("h4", "", make("span", "arm", sign, arm)), make("p", "", told || "\u00a0"), list);
}

function show(probe, index) {
  const entry = fills.probes[probe][index];
  const top = Math.max(...Object.values(entry.arms).map((words) => words[0]?.[1] ?? 0));
  const usual = new Set((entry.arms[fills.baseline] ?? []).map(([word]) => word));
  const columns = Object.entries(entry.arms).map(([arm, words]) =>
    column(arm, words, entry.scores[arm], top, arm === fills.baseline ? null : usual));
  const said = document.getElementById("said");
  said.querySelector("p").textContent = entry.prompt;
  said.querySelector(".columns").replaceChildren(...columns);
}

if (fills) {
  const probes = document.getElementById("pick-probe");
  const prompts = document.getElementById("pick-prompt");
  const list = () => {
    prompts.replaceChildren(...fills.probes[probes.value].map((entry, index) => new Option(entry.prompt, index)));
    show(probes.value, 0);
  };
  const step = (by) => {
    const count = prompts.options.length;
    prompts.selectedIndex = (prompts.selectedIndex + by + count) % count;
    show(probes.value, prompts.selectedIndex);
  };
  probes.addEventListener("change", list);
  prompts.addEventListener("change", () => show(probes.value, prompts.selectedIndex));
  document.getElementById("prompt-before").addEventListener("click", () => step(-1));
  document.getElementById("prompt-after").addEventListener("click", () => step(1));
  document.getElementById("prompt-controls").hidden = false;
  show(probes.value, 0);
}

/* Dropped rows by the term that dropped them. */
const reason = document.getElementById("pick-reason");
if (reason) {
  reason.addEventListener("change", () => {
    let shown = 0;
    for (const row of document.querySelectorAll(".dropped li")) {
      row.hidden = reason.value !== "" && !row.dataset.reasons.split("\n").includes(reason.value);
      shown += row.hidden ? 0 : 1;
    }
    document.getElementById("dropped-shown").textContent = `${shown} shown`;
  });
  document.getElementById("reason-controls").hidden = false;
}

/* Paper shows all that is folded away. */
const folded = [];
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details:not([open])")) folded.push(one), (one.open = true);
});
addEventListener("afterprint", () => {
  while (folded.length) folded.pop().open = false;
});
