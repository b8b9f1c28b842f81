"use strict";
const root = document.documentElement;

const kept = {
  get() { try { return localStorage.getItem("noprop-theme"); } catch { return null; } },
  set(theme) { try { localStorage.setItem("noprop-theme", theme); } catch { /* private window */ } },
};
const system = matchMedia("(prefers-color-scheme: dark)");
const theme = document.getElementById("theme");
const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
const asked = "screen and (prefers-color-scheme: dark)";
const tell = () => {
  theme.querySelector("span").textContent = isDark() ? "Light" : "Dark";
  for (const source of document.querySelectorAll("picture source")) {
    source.media = { dark: "screen", light: "not all" }[root.dataset.theme] || asked;
  }
};
if (["dark", "light"].includes(kept.get())) root.dataset.theme = kept.get();
theme.setAttribute("aria-label", "Change between light and dark colours");
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  kept.set(root.dataset.theme);
  tell();
});
system.addEventListener("change", tell);
theme.hidden = false;
tell();

const compare = (a, b, sign) => {
  if (a === "" || b === "") return (a === "") - (b === "");  // what is not known comes last
  const [x, y] = [Number(a), Number(b)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return sign * (x - y);
  return sign * a.localeCompare(b);
};
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.v;
      body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b), sign)));
    });
  });
}

const contents = document.getElementById("contents");
const narrow = matchMedia("(max-width: 75rem)");
const fold = () => { contents.open = !narrow.matches; };
narrow.addEventListener("change", fold);
fold();
