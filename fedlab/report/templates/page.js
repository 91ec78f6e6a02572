"use strict";
// Values of the curves under the pointer, and tables that sort by a column. The page says all that matters without either.
const word = {
  percent: v => (100 * v).toFixed(2) + "%",
  number: v => Math.abs(v) >= 1e-3 && Math.abs(v) < 1e6 || v === 0 ? String(+v.toPrecision(4)) : v.toExponential(2),
};
for (const area of document.querySelectorAll("[data-hover]")) {
  const [left, right] = area.dataset.x.split(" ").map(Number), [low, high] = area.dataset.y.split(" ").map(Number);
  const show = word[area.dataset.hover] || word.number;
  let curves, cursor, tip;
  const parse = path => path.getAttribute("d").split(/[ML]/).filter(Boolean).map(p => p.split(" ").map(Number));
  const hide = () => { if (cursor) { cursor.remove(); tip.remove(); cursor = null; } };
  area.addEventListener("pointermove", event => {
    curves ||= [...area.querySelectorAll("[data-name]")].map(path => ({name: path.dataset.name, points: parse(path)}));
    const box = area.getBoundingClientRect(), x = 1000 * (event.clientX - box.left) / box.width;
    const near = curves.map(c => ({name: c.name, point: c.points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a)}));
    const nearest = near.reduce((a, b) => Math.abs(b.point[0] - x) < Math.abs(a.point[0] - x) ? b : a).point[0];
    if (!cursor) {
      cursor = Object.assign(document.createElement("div"), {className: "cursor"});
      tip = Object.assign(document.createElement("div"), {className: "tip"});
      area.append(cursor, tip);
    }
    cursor.style.left = nearest / 10 + "%";
    const heading = Object.assign(document.createElement("b"), {textContent: "round " + Math.round(left + nearest / 1000 * (right - left))});
    tip.replaceChildren(heading);
    for (const {name, point} of near.filter(n => Math.abs(n.point[0] - nearest) < 15).slice(0, 12))
      tip.append(document.createElement("br"), `${name} ${show(high - point[1] / 1000 * (high - low))}`);
    const flip = nearest > 500;
    tip.style.left = flip ? "auto" : `calc(${nearest / 10}% + .6rem)`;
    tip.style.right = flip ? `calc(${100 - nearest / 10}% + .6rem)` : "auto";
  });
  area.addEventListener("pointerleave", hide);
}
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = Object.assign(document.createElement("button"), {type: "button", innerHTML: head.innerHTML});
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending", body = table.tBodies[0];
      heads.forEach(h => h.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [p, q] = [key(a), key(b)];
        if (p === "" || q === "") return (p === "") - (q === "");  // nothing known: at the end either way
        const order = isNaN(p) || isNaN(q) ? p.localeCompare(q, "en", {numeric: true}) : p - q;
        return down ? -order : order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
