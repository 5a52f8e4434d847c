"use strict";
// Tables whose head can be sorted by, by mouse or keyboard, and details that open for the printer. Without this
// script the page is whole: its tables stand in the order in which they were written.
const collator = new Intl.Collator("en", { numeric: true });
const starts = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?/i;

function keyOf(row, column) {
  const text = row.cells[column].textContent.trim().replace("\u2212", "-");
  const found = starts.exec(text);
  return { text, number: found ? parseFloat(found[0]) : NaN, empty: ["", "\u2013", "undefined"].includes(text) };
}

function sortBy(table, column, head) {
  const ascending = head.getAttribute("aria-sort") !== "ascending";
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: keyOf(row, column) }));
  const numeric = rows.every(({ key }) => key.empty || !Number.isNaN(key.number));
  const compare = (a, b) => (numeric ? a.number - b.number : 0) || collator.compare(a.text, b.text);
  rows.sort((a, b) => (a.key.empty - b.key.empty) ||
    (a.key.empty ? 0 : (ascending ? 1 : -1) * compare(a.key, b.key)));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  table.tBodies[0].append(...rows.map(({ row }) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.title = "sort by this column";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, column, head));
    head.append(button);
  });
}

const opened = [];
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) {
    details.open = true;
    opened.push(details);
  }
});
addEventListener("afterprint", () => { while (opened.length) opened.pop().open = false; });
