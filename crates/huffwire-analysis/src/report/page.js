"use strict";
// Sorts a table by the column whose heading was pressed; pressed again, the other way round.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const column = [...heading.parentNode.children].indexOf(heading);
    const body = heading.closest("table").tBodies[0];
    const isText = heading.classList.contains("text");
    const before = heading.getAttribute("aria-sort");
    const first = isText ? "ascending" : "descending";
    const second = isText ? "descending" : "ascending";
    const order = before === first ? second : first;
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const text = (row) => row.cells[column].textContent;
    // A dash, where there is no number, is the least.
    const number = (row) => { const n = parseFloat(text(row)); return Number.isNaN(n) ? -Infinity : n; };
    const compare = (a, b) => {
      if (isText) return text(a).localeCompare(text(b), "en", { numeric: true });
      const [x, y] = [number(a), number(b)];
      return x < y ? -1 : x > y ? 1 : 0;
    };
    body.append(...[...body.rows].sort((a, b) => sign * compare(a, b)));
  });
}
