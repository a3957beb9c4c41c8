"use strict";

const MINUS = /\u2212/g;

/* Tables are sorted by clicking a column header: numerically if possible, with missing values last. */
function sortKey(cell) {
  const text = (cell.dataset.v ?? cell.textContent).trim().replace(MINUS, "-").replace(/,/g, "");
  if (text === "" || text === "\u2013") return null;
  const number = parseFloat(text.replace(/^[<+\s]+/, ""));
  return Number.isNaN(number) ? text.toLowerCase() : number;
}

function compare(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return direction * (a < b ? -1 : a > b ? 1 : 0);
}

function sortBy(table, header, column) {
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => row.cells.length > column);
    rows.sort((a, b) => compare(sortKey(a.cells[column]), sortKey(b.cells[column]), descending ? -1 : 1));
    body.append(...rows);
  }
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    if (!header.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(table, header, column));
  });
}

/* The predictions for one prompt, with one column per arm. */
const predictions = JSON.parse(document.getElementById("fills-data")?.textContent ?? "null");

function createElement(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function percent(probability) {
  return probability >= 0.0005 ? `${(100 * probability).toFixed(1)}%` : "<0.1%";
}

const ROLE_MARKS = { wanted: "\u2713", unwanted: "\u2717" };

function createWord(word, role) {
  if (!role) return createElement("span", "word", word);
  const mark = createElement("span", "", ROLE_MARKS[role]);
  mark.setAttribute("aria-hidden", "true");
  return createElement("span", "word", createElement("span", `role-${role}`, mark, createElement("span", "unseen", `${role}:`), ` ${word}`));
}

function createColumn(arm, words, score, highest, baselineWords, roles) {
  const style = predictions.arms[arm] ?? { sign: "", tint: "var(--soft)", description: "" };
  const sign = createElement("i", "", style.sign);
  sign.style.color = style.tint;
  sign.setAttribute("aria-hidden", "true");
  const list = createElement("ol", "");
  for (const [word, probability] of words) {
    const bar = createElement("div", "bar");
    bar.style.width = `${((100 * probability) / highest).toFixed(1)}%`;
    bar.style.setProperty("--tint", style.tint);
    const line = createElement("div", "fill", createWord(word, roles[word]), createElement("span", "", percent(probability)));
    list.append(createElement("li", baselineWords && !baselineWords.has(word) ? "new" : "", line, bar));
  }
  if (!words.length) list.append(createElement("li", "soft", "no listed word among the most likely words"));
  const description = [style.description, score].filter(Boolean).join(" \u00b7 ");
  const name = arm.split("_").flatMap((segment, i) => (i ? ["_", document.createElement("wbr"), segment] : [segment]));
  const heading = createElement("h3", "", createElement("span", "arm", ...(style.sign ? [sign] : []), ...name));
  return createElement("div", "", heading, createElement("p", "", description || "\u00a0"), list);
}

function showPrompt(probe, index) {
  const entry = predictions.probes[probe][index];
  const roles = predictions.roles[probe];
  const listedOnly = document.getElementById("listed-only").checked;
  const highest = Math.max(...Object.values(entry.arms).map((words) => words[0]?.[1] ?? 0));
  const select = (words) => (listedOnly ? words.filter(([word]) => roles[word]) : words.slice(0, predictions.top));
  const baselineWords = new Set(select(entry.arms[predictions.baseline] ?? []).map(([word]) => word));
  const columns = Object.entries(entry.arms).map(([arm, words]) =>
    createColumn(arm, select(words), entry.scores[arm], highest, arm === predictions.baseline ? null : baselineWords, roles));
  const card = document.getElementById("predictions");
  card.querySelector("p").textContent = entry.prompt;
  card.querySelector(".columns").replaceChildren(...columns);
}

if (predictions) {
  const probes = document.getElementById("pick-probe");
  const prompts = document.getElementById("pick-prompt");
  const listPrompts = () => {
    const title = (entry) => (entry.change ? `${entry.prompt} (${entry.change})` : entry.prompt);
    prompts.replaceChildren(...predictions.probes[probes.value].map((entry, index) => new Option(title(entry), index)));
    const listed = document.getElementById("listed-only");
    listed.closest("label").hidden = Object.keys(predictions.roles[probes.value]).length === 0;
    if (listed.closest("label").hidden) listed.checked = false;
    showPrompt(probes.value, 0);
  };
  const step = (offset) => {
    const count = prompts.options.length;
    prompts.selectedIndex = (prompts.selectedIndex + offset + count) % count;
    showPrompt(probes.value, prompts.selectedIndex);
  };
  probes.addEventListener("change", listPrompts);
  for (const control of [prompts, document.getElementById("listed-only")])
    control.addEventListener("change", () => showPrompt(probes.value, prompts.selectedIndex));
  document.getElementById("prompt-before").addEventListener("click", () => step(-1));
  document.getElementById("prompt-after").addEventListener("click", () => step(1));
  document.getElementById("prompt-controls").hidden = false;
  listPrompts();
}

/* The links to runs open the server that shows this page, or else the address in the text field. */
const address = document.getElementById("mlflow-address");
if (address) {
  const updateLinks = () => {
    for (const link of document.querySelectorAll("a[data-path]")) link.href = address.value.replace(/\/+$/, "") + link.dataset.path;
  };
  address.addEventListener("input", updateLinks);
  if (document.baseURI.startsWith("http")) address.value = new URL(document.baseURI).origin;
  updateLinks();
}

/* Dropped rows can be limited to those that fail one term. */
const reason = document.getElementById("pick-reason");
if (reason) {
  reason.addEventListener("change", () => {
    let visible = 0;
    for (const row of document.querySelectorAll(".dropped li")) {
      row.hidden = reason.value !== "" && !row.dataset.reasons.split("\n").includes(reason.value);
      visible += row.hidden ? 0 : 1;
    }
    document.getElementById("dropped-shown").textContent = `${visible} shown`;
  });
  document.getElementById("reason-controls").hidden = false;
}

/* Collapsed sections are expanded for printing. */
const expandedSections = [];
addEventListener("beforeprint", () => {
  for (const section of document.querySelectorAll("details:not([open])")) expandedSections.push(section), (section.open = true);
});
addEventListener("afterprint", () => {
  while (expandedSections.length) expandedSections.pop().open = false;
});
