// The page's own behaviour; plots are Vega specifications, and colours follow the style sheet.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

// Colours: as the system has them, unless chosen.
function kept(value) {
  try {
    if (value !== undefined) localStorage.setItem("narrowgauge-theme", value);
    return localStorage.getItem("narrowgauge-theme");
  } catch {
    return null; // Some browsers keep nothing for a file.
  }
}
function colours(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
const themes = document.querySelector(".theme");
themes.hidden = false;
const before = themes.querySelector(`input[value="${["light", "dark"].find((t) => t === kept()) ?? "auto"}"]`);
before.checked = true;
colours(before.value);
themes.addEventListener("change", (event) => {
  kept(event.target.value);
  colours(event.target.value);
});

// Comparison: filter, order, ratios.
const table = $("comparison");
const body = table.tBodies[0];
const rows = [...body.rows];
const points = new Map(data.points.map((point) => [point.name, point]));
const columns = [...table.tHead.rows[1].cells];
const baselines = data.points.filter((point) => point.baseline && point.macs);
const energies = columns.map((th) => th.dataset.key).filter((key) => /^(op|mac)_/.test(key));

function option(select, value, text) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = text;
  select.append(made);
}
if (baselines.length) option($("reference"), "lanes", `${baselines[0].unit} of as many lanes`);
for (const point of data.points) option($("reference"), point.name, point.name.replaceAll(" --set ", " "));
option($("reference"), "", "nothing");
if (data.points.some((point) => point.energy.real)) option($("vectors"), "real", "real sample");
option($("vectors"), "random", "random vectors");
$("tools").hidden = false;

function reference(point) {
  const chosen = $("reference").value;
  return chosen === "lanes" ? baselines.find((other) => other.macs === point.macs) : points.get(chosen);
}
function energy(point) {
  const kind = point.energy[$("vectors").value] ? $("vectors").value : "random";
  return [kind, point.energy[kind] ?? {}];
}
function number(point, key) {
  return energies.includes(key) ? energy(point)[1][key]?.[0] ?? null : point.values[key] ?? null;
}
function ratio(point, key) {
  const other = reference(point);
  if (!other || other === point || other.made !== point.made) return null;
  const [[kind, values], [otherKind, otherValues]] = [energy(point), energy(other)];
  if (energies.includes(key) && kind !== otherKind) return null;
  // Operations of so many MACs each compare only with operations of as many.
  if (key.startsWith("op_") && values.macs !== otherValues.macs) return null;
  const [mine, theirs] = [number(point, key), number(other, key)];
  return mine === null || !theirs ? null : mine / theirs;
}
function written(value) {
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value >= 0.095 ? value.toFixed(2) : value.toPrecision(2)}\u00d7`;
}
function note(kind, text) {
  const made = document.createElement("span");
  made.className = kind;
  made.textContent = text;
  return made;
}
function figures() {
  for (const row of rows) {
    const point = points.get(row.dataset.name);
    const same = reference(point) === point;
    const [kind, values] = energy(point);
    row.classList.toggle("reference", same);
    row.cells[0].querySelector(".ratio")?.remove();
    const marks = [same && "reference", point.energy.random && kind !== $("vectors").value && "random"];
    const said = marks.filter(Boolean).join(", ");
    if (said) row.cells[0].append(note("ratio", said));
    for (const cell of row.cells) {
      const key = cell.dataset.key;
      const isEnergy = energies.includes(key);
      if (!isEnergy && !(key in point.values)) continue;
      if (isEnergy) {
        const [value, text] = values[key] ?? [null, null];
        cell.dataset.value = value ?? "";
        cell.replaceChildren(value === null ? note("none", "\u2013") : note("value", text));
      }
      cell.querySelector(".ratio")?.remove();
      if (number(point, key) === null) continue;
      const found = ratio(point, key);
      if (found !== null) cell.append(note("ratio", written(found)));
    }
  }
}
function visible() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const unit = $("unit").value;
  let shown = 0;
  for (const row of rows) {
    const name = row.dataset.name.toLowerCase();
    row.hidden = !((!unit || row.dataset.unit === unit) && words.every((word) => name.includes(word)));
    shown += !row.hidden;
  }
  $("count").textContent = `${shown} of ${rows.length} points`;
}
function value(row, key) {
  if (key === "point") return rows.indexOf(row);
  const text = [...row.cells].find((cell) => cell.dataset.key === key).dataset.value;
  return text ? Number(text) : null;
}
let order = { key: "point", up: true };
function sorted() {
  const listed = rows.map((row) => [value(row, order.key), row]);
  // What was not measured stays at the end either way.
  listed.sort(([a], [b]) => (a === null) - (b === null) || (order.up ? a - b : b - a));
  body.append(...listed.map(([, row]) => row));
  for (const th of columns) {
    th.ariaSort = th.dataset.key === order.key ? (order.up ? "ascending" : "descending") : "none";
  }
}
table.tHead.addEventListener("click", (event) => {
  const key = event.target.closest("button")?.closest("th").dataset.key;
  if (!key) return;
  order = { key, up: order.key === key ? !order.up : true };
  sorted();
});
$("tools").addEventListener("submit", (event) => event.preventDefault());
$("tools").addEventListener("input", (event) => {
  if (event.target.id === "reference" || event.target.id === "vectors") figures();
  if (event.target.id === "vectors") sorted();
  visible();
});
figures();
visible();
sorted();

// Commands.
document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy");
  if (!button) return;
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
});

// Plots, as wide as their place.
const tip = $("tip");
function hint(_, event, __, text) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const box = tip.getBoundingClientRect();
  const { clientX: x, clientY: y } = event.touches?.[0] ?? event;
  tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${y > box.height + 24 ? y - box.height - 14 : y + 18}px`;
}
const views = new Map();
const widths = new Map();
async function draw(key, values) {
  // Within the element that has the name: Vega gives its own to the one it draws in.
  const inner = document.createElement("div");
  inner.ariaHidden = "true";
  const figure = data.figures[key];
  const [first, ...rest] = figure.spec.data;
  const spec = { ...figure.spec, data: values ? [{ ...first, values }, ...rest] : figure.spec.data };
  views.get(key)?.finalize();
  const settings = { mode: "vega", renderer: "svg", actions: false, defaultStyle: false, hover: false };
  $(key).replaceChildren(inner);
  views.set(key, await vegaEmbed(inner, spec, { ...settings, tooltip: hint }));
  widths.delete(key);
  await fit(key);
}
async function fit(key) {
  const view = views.get(key)?.view;
  const width = Math.floor($(key).clientWidth);
  if (!view || !width || widths.get(key) === width) return;
  widths.set(key, width);
  if (data.figures[key].spec.autosize === "none") return view.width(width).runAsync();
  // How much the axes take is known after a drawing.
  await view.width(Math.max(120, width - 90)).runAsync();
  const over = Number($(key).querySelector("svg").getAttribute("width")) - width;
  return view.width(Math.max(120, view.width() - Math.ceil(over))).runAsync();
}
const resized = new ResizeObserver((entries) => entries.forEach((entry) => fit(entry.target.id)));
for (const key of Object.keys(data.figures)) {
  await draw(key);
  resized.observe($(key));
}
for (const select of document.querySelectorAll("select[data-for]")) {
  select.addEventListener("input", () => {
    const key = select.dataset.for;
    const [stem, values, text] = data.figures[key].choices[select.value];
    const figure = document.querySelector(`[data-figure="${key}"]`);
    figure.querySelector(".chart").setAttribute("aria-label", text);
    for (const link of figure.querySelectorAll("a[data-kind]")) {
      link.setAttribute("href", `plots/${key}-${stem}.${link.dataset.kind}`);
    }
    draw(key, values);
  });
}
document.documentElement.dataset.ready = "true";
