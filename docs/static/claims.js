// Filters and sorts the table of all claims; every row is in the page, so nothing is fetched.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector("table.claims");
  if (!table) return;
  const rows = [...table.tBodies[0].rows];
  const [text, verdict, paper] = ["text", "verdict", "paper"].map((name) => document.getElementById(`claims-${name}`));
  const count = document.getElementById("claims-count");
  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits =
        (!verdict.value || row.dataset.verdict === verdict.value) &&
        (!paper.value || row.dataset.paper === paper.value) &&
        words.every((word) => `${row.textContent} ${row.dataset.words}`.toLowerCase().includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} claims`;
  };
  for (const field of [text, verdict, paper]) field.addEventListener("input", filter);
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    let ascending = false;
    heading.addEventListener("click", () => {
      ascending = !ascending;
      const sign = ascending ? 1 : -1;
      rows.sort((a, b) => {
        const [one, two] = [a, b].map((row) => row.cells[column].textContent);
        return sign * (one < two ? -1 : Number(one > two));
      });
      table.tBodies[0].append(...rows);
    });
  });
  filter();
});
