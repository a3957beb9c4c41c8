"use strict";

/* On a narrow screen, a table that is wider than the screen becomes a list of cards, one per row. The roles keep the
   meaning of the table, which browsers drop if the rows are no longer displayed as a table. */
{
  const narrow = matchMedia("(max-width: 36rem)");
  const ROLES = { TABLE: "table", THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell" };

  const labelCells = (table) => {
    const headings = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    for (const element of table.querySelectorAll("thead, tbody, tr, td, th")) {
      const isRowHeading = element.tagName === "TH" && !element.closest("thead");
      element.setAttribute("role", ROLES[element.tagName] ?? (isRowHeading ? "rowheader" : "columnheader"));
    }
    table.setAttribute("role", "table");
    for (const row of table.querySelectorAll("tbody tr"))
      for (const cell of row.cells) cell.dataset.label = headings[cell.cellIndex] ?? "";
  };

  const watch = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const table = target.querySelector("table");
      if (!narrow.matches) table.classList.remove("cards");
      else if (target.scrollWidth > target.clientWidth + 1) {
        if (!table.hasAttribute("role")) labelCells(table);
        table.classList.add("cards");
      }
    }
  });
  for (const container of document.querySelectorAll(".scroll:has(thead)")) watch.observe(container);
}
