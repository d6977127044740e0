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

// What is written in a field is looked for in the names of methods or pairs; several are parted by commas. Everything that
// has none of them is hidden: lines, columns and curves.
const form = document.querySelector(".filters");
if (form) {
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    const wanted = (what) => (form.querySelector(`[data-filter="${what}"]`)?.value ?? "")
      .toLowerCase().split(",").map((word) => word.trim()).filter(Boolean);
    const [methods, pairs] = [wanted("methods"), wanted("pairs")];
    const has = (words, name) => !words.length || words.some((word) => name.toLowerCase().includes(word));
    const show = (element, shown) => element.toggleAttribute("data-hidden", !shown);
    for (const table of document.querySelectorAll(".students table, .gains table")) {
      const shown = [];
      for (const head of table.querySelectorAll("th[data-pair]")) {
        show(head, has(pairs, head.dataset.pair));
        if (head.dataset.column) shown[head.dataset.column] = has(pairs, head.dataset.pair);
      }
      show(table.closest("figure"), shown.some(Boolean));
      for (const row of table.tBodies[0].rows) {
        const name = row.cells[0].textContent;
        show(row, has(methods, name) || /^(Teacher|Student alone)/.test(name));
        for (const [at, cell] of [...row.cells].entries()) if (at in shown) show(cell, shown[at]);
      }
    }
    for (const chart of document.querySelectorAll(".charts figure")) {
      show(chart, has(methods, chart.querySelector("figcaption").textContent) && has(pairs, chart.parentElement.previousElementSibling.textContent));
    }
    for (const charts of document.querySelectorAll(".charts")) {
      show(charts.previousElementSibling, charts.querySelector("figure:not([data-hidden])"));
    }
  });
}
