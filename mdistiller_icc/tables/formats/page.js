// A click on a head sorts its table by that column (numbers from the largest, names from A), the next the other way
// round, the third as it was. Blank cells stay at the end.
for (const head of document.querySelectorAll("th[data-column]")) {
  const table = head.closest("table"), body = table.tBodies[0], original = [...body.rows];
  const cell = (row) => row.cells[head.dataset.column];
  const names = cell(original[0]).tagName === "TH";
  const [first, second] = names ? ["ascending", "descending"] : ["descending", "ascending"];
  head.firstElementChild.addEventListener("click", () => {
    const next = { none: first, [first]: second, [second]: "none" }[head.ariaSort];
    for (const other of table.querySelectorAll("th[data-column]")) other.ariaSort = "none";
    head.ariaSort = next;
    table.classList.toggle("sorted", next !== "none");
    const sign = next === "ascending" ? 1 : -1;
    const order = (a, b) => {
      if (names) return sign * cell(a).textContent.localeCompare(cell(b).textContent, "en", { numeric: true });
      const [x, y] = [cell(a), cell(b)].map(({ dataset }) => parseFloat(dataset.value));
      return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y);
    };
    body.append(...(next === "none" ? original : [...original].sort(order)));
  });
}
