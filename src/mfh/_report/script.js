"use strict";
// The page is complete without this, but for the tables that are too long to lay out (`.explorer`).

const PAGE = 20;

/** An element with attributes and children; `text` is its text. */
function make(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

const shown = (value, digits) =>
  value === null || Number.isNaN(value) ? "\u2013" : value.toFixed(digits).replace("-", "\u2212");

/** Order two keys; empty ones stay last whatever the direction. */
function order(x, y, down) {
  if (x === null || y === null) return (x === null) - (y === null);
  const difference = typeof x === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true });
  return down ? -difference : difference;
}

/** Turn the heads of a table into buttons; `sort(column, down)` is called when one is pressed. */
function sortable(heads, sort) {
  heads.forEach((head, column) => {
    const button = make("button", { type: "button", text: head.textContent });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(column, down);
    });
  });
}

/** A field with its label. */
function field(label, control) {
  return make("label", {}, make("span", { text: label }), control);
}

function select(options, value) {
  const control = make("select");
  for (const [key, label] of options) control.append(make("option", { value: key, text: label }));
  if (value !== undefined) control.value = value;
  return control;
}

// Tables that are laid out: sorted by their heads, long ones filtered by a word.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 3 || !table.querySelector("thead .number")) continue;
  const heads = [...table.tHead.rows[0].cells];
  sortable(heads, (column, down) => {
    const numeric = heads[column].classList.contains("number");
    const key = ({ cells: { [column]: cell } }) =>
      !numeric ? cell.textContent : cell.dataset.value === undefined ? null : Number(cell.dataset.value);
    body.append(...[...body.rows].sort((a, b) => order(key(a), key(b), down)));
  });
  if (body.rows.length <= 12) continue;
  const words = make("input", { type: "search", autocomplete: "off" });
  const status = make("span", { role: "status", class: "count" });
  const show = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word));
    }
    const count = [...body.rows].filter((row) => !row.hidden).length;
    status.textContent = `${count.toLocaleString()} of ${body.rows.length.toLocaleString()} rows`;
  };
  words.addEventListener("input", show);
  show();
  table.closest(".scroll").before(make("div", { class: "controls-bar" }, field("Filter", words), status));
}

/** A table of any number of rows, a page at a time. Columns: {label, numeric, text(i), key(i)}. */
function pagedTable(root, columns, noun, onChange) {
  let rows = [], page = 0, sorted = null;
  const heads = columns.map((c) => make("th", { scope: "col", class: c.numeric ? "number" : null, text: c.label }));
  const body = make("tbody");
  const status = make("p", { role: "status", class: "count" });
  const caption = make("caption", { class: "unseen", text: root.dataset.caption });
  const table = make("table", {}, caption, make("thead", {}, make("tr", {}, ...heads)), body);
  const pager = ["First", "Previous", "Next", "Last"].map((text) => make("button", { type: "button", text }));
  const last = () => Math.max(Math.ceil(rows.length / PAGE) - 1, 0);
  const draw = () => {
    page = Math.min(page, last());
    const visible = rows.slice(page * PAGE, (page + 1) * PAGE);
    body.replaceChildren(...visible.map((i) => make("tr", {}, ...columns.map((c, place) =>
      make(place ? "td" : "th", { scope: place ? null : "row", class: c.numeric ? "number" : null, text: c.text(i) })))));
    const from = rows.length ? page * PAGE + 1 : 0;
    status.textContent = `${rows.length.toLocaleString()} ${noun}, ${from.toLocaleString()} to ` +
      `${(page * PAGE + visible.length).toLocaleString()} shown`;
    pager.forEach((button, place) => { button.disabled = place < 2 ? page === 0 : page === last(); });
  };
  const arrange = () => {
    if (sorted) {
      const { key } = columns[sorted.column];
      rows = [...rows].sort((a, b) => order(key(a), key(b), sorted.down) || a - b);
    }
    draw();
    onChange?.(rows);
  };
  sortable(heads, (column, down) => { sorted = { column, down }; page = 0; arrange(); });
  pager.forEach((button, place) => button.addEventListener("click", () => {
    page = [0, page - 1, page + 1, last()][place];
    draw();
  }));
  const scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": root.dataset.caption }, table);
  root.append(scroll, make("div", { class: "pager" }, ...pager, status));
  return (wanted) => { rows = wanted; page = 0; arrange(); };
}

const indices = (count) => Array.from({ length: count }, (_, i) => i);

/** The numbers that a text names: "3, 10-12". Null if it names none. */
function ranges(text) {
  const parts = text.split(/[\s,;]+/).filter(Boolean).map((part) => part.match(/^(\d+)(?:[-\u2013](\d+))?$/));
  if (!parts.length || parts.includes(null)) return null;
  return parts.map(([, low, high]) => [Number(low), Number(high ?? low)]);
}

function exploreChannels(root, data) {
  const decode = (text) => text && new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const count = data.num_channels;
  const sets = select(data.sets.map((s, i) => [i, `fit ${s.seed}, ${s.split} split`]));
  const ratios = select(data.ratios.map((r) => [r, r]), data.ratio ?? undefined);
  const { first, second } = data.arms;
  const filter = select([["all", "all channels"], ["kept", `kept by ${first}`], ["removed", `removed by ${first}`],
    ["differ", `${first} and ${second} differ`]]);
  const search = make("input", { type: "search", placeholder: "12, 30-40", autocomplete: "off" });
  const note = make("p", { class: "aside", role: "status" });
  const bar = make("div", { class: "controls-bar" }, field("Network", sets));
  if (data.ratios.length) bar.append(field("Ratio removed", ratios));
  bar.append(field("Show", filter), field("Channel numbers", search));
  const plot = make("div", { class: "plot" });
  const readout = make("output", { class: "readout" });
  const slider = make("input", { type: "range", min: "0", step: "1", value: "0" });
  root.append(bar, note, plot, field("Read along the plot", slider), readout);

  let now = {};
  const yes = (value) => (value ? "kept" : "removed");
  const columns = [
    { label: "Channel", numeric: true, key: (i) => i, text: (i) => String(i) },
    { label: "Saliency", numeric: true, key: (i) => now.saliency[i], text: (i) => significant(now.saliency[i]) },
    { label: "\u00b1 95%", numeric: true, key: (i) => now.error?.[i] ?? null,
      text: (i) => (now.error ? significant(1.96 * now.error[i]) : "\u2013") },
    { label: "Rank", numeric: true, key: (i) => now.rank[i], text: (i) => String(now.rank[i]) },
    { label: "Importance", numeric: true, key: (i) => now.importance?.[i] ?? null,
      text: (i) => (now.importance ? significant(now.importance[i]) : "\u2013") },
    { label: "Rank by importance", numeric: true, key: (i) => now.other?.[i] ?? null,
      text: (i) => (now.other ? String(now.other[i]) : "\u2013") },
    { label: first, key: (i) => yes(now.kept(i)), text: (i) => yes(now.kept(i)) },
    { label: second, key: (i) => (now.other ? yes(now.keptOther(i)) : "\u2013"),
      text: (i) => (now.other ? yes(now.keptOther(i)) : "\u2013") },
  ];
  const significant = (value) => Number(value).toPrecision(3).replace("-", "\u2212");
  const show = pagedTable(root, columns, count === 1 ? "channel" : "channels", (rows) => draw(rows));

  /** 1 for the largest; of equals the one with the larger number comes first, as the others are removed first. */
  const ranks = (values) => {
    const rank = new Uint32Array(count);
    indices(count).sort((a, b) => values[a] - values[b] || a - b).forEach((i, place) => { rank[i] = count - place; });
    return rank;
  };
  const choose = () => {
    const set = data.sets[sets.value];
    now = { saliency: decode(set.saliency), error: decode(set.error), importance: decode(set.importance) };
    now.rank = ranks(now.saliency);
    now.other = now.importance && ranks(now.importance);
    update();
  };
  const update = () => {
    const removed = Math.min(Math.floor(Number(ratios.value || 0) * count + 1e-9), count - 1);
    now.kept = (i) => now.rank[i] <= count - removed;
    now.keptOther = (i) => now.other[i] <= count - removed;
    const tests = { all: () => true, kept: now.kept, removed: (i) => !now.kept(i),
      differ: (i) => now.other && now.kept(i) !== now.keptOther(i) };
    const wanted = ranges(search.value);
    note.textContent = search.value.trim() && !wanted
      ? `Channels are numbers from 0 to ${count - 1}: type some, or ranges such as 30-40.` : "";
    show(indices(count).filter(tests[filter.value])
      .filter((i) => !wanted || wanted.some(([low, high]) => low <= i && i <= high)));
  };

  let drawn = [];
  const draw = (rows) => {
    drawn = rows;
    slider.max = String(Math.max(rows.length - 1, 0));
    slider.disabled = !rows.length;
    plot.replaceChildren(...(rows.length ? [bars(rows, now, plot.clientWidth || 640, `hollow: removed by ${first}`)] : []));
    read(0);
  };
  const read = (place) => {
    const i = drawn[place];
    slider.value = String(place);
    const text = i === undefined ? "No channel" : `Channel ${i}: saliency ${significant(now.saliency[i])}` +
      (now.error ? ` \u00b1 ${significant(1.96 * now.error[i])}` : "") + `, rank ${now.rank[i]} of ${count}` +
      (now.other ? `, rank ${now.other[i]} by importance` : "") + `; ${first}: ${yes(now.kept(i))}`;
    readout.textContent = text;
    slider.setAttribute("aria-valuetext", text);
    const cursor = plot.querySelector(".cursor");
    if (cursor) {
      const { left, step } = plot.firstChild.dataset;
      const x = Number(left) + (place + 0.5) * Number(step);
      cursor.setAttribute("d", `M${x} 0V${plot.firstChild.dataset.bottom}`);
    }
  };
  slider.addEventListener("input", () => read(Number(slider.value)));
  plot.addEventListener("pointermove", (event) => {
    if (!plot.firstChild) return;
    const { left, step } = plot.firstChild.dataset;
    const x = event.clientX - plot.getBoundingClientRect().left;
    read(Math.min(Math.max(Math.floor((x - left) / step), 0), drawn.length - 1));
  });
  sets.addEventListener("change", choose);
  for (const control of [ratios, filter]) control.addEventListener("change", update);
  search.addEventListener("input", update);
  addEventListener("resize", () => draw(drawn));
  choose();
}

/** Saliency of the rows, in their order, as bars, or as the range in each pixel where they are many. */
function bars(rows, now, width, legend) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const add = (name, attributes, text) => {
    const node = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    svg.append(node);
  };
  const left = 52, height = 190, bottom = height - 22, step = (width - left - 4) / rows.length;
  let low = 0, high = 0;
  for (const i of rows) { low = Math.min(low, now.saliency[i]); high = Math.max(high, now.saliency[i]); }
  const y = (value) => 6 + ((high - value) / (high - low || 1)) * (bottom - 12);
  const paths = { kept: "", removed: "" };
  const each = Math.max(1, Math.ceil(1.5 / step)); // rows a bar
  const gap = each === 1 && step > 3 ? step * 0.2 : 0;
  for (let start = 0; start < rows.length; start += each) {
    let least = 0, most = 0, kept = 0;
    const end = Math.min(start + each, rows.length);
    for (let place = start; place < end; place++) {
      const value = now.saliency[rows[place]];
      least = Math.min(least, value);
      most = Math.max(most, value);
      kept += now.kept(rows[place]) ? 1 : -1;
    }
    const x = left + start * step + gap / 2, w = Math.max((end - start) * step - gap, 0.75);
    paths[kept > 0 ? "kept" : "removed"] +=
      `M${x.toFixed(1)} ${y(most).toFixed(1)}h${w.toFixed(2)}V${y(least).toFixed(1)}h-${w.toFixed(2)}Z`;
  }
  for (const value of new Set([0, low, high])) {
    add("line", { x1: left, x2: width, y1: y(value), y2: y(value), class: "axis" });
    if (value && Math.abs(y(value) - y(0)) < 14) continue; // its label would lie on that of 0
    add("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, Number(value.toPrecision(2)).toString().replace("-", "\u2212"));
  }
  add("path", { d: paths.kept, class: "kept" });
  add("path", { d: paths.removed, class: "removed" });
  add("path", { class: "cursor" });
  add("text", { x: left, y: height - 6 }, legend);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  svg.setAttribute("aria-hidden", "true");
  Object.assign(svg.dataset, { left, step, bottom });
  return svg;
}

function exploreStudents(root, data) {
  const text = (column, i) => {
    const value = column.values[i];
    if (column.names) return value < 0 ? "\u2013" : column.names[value];
    return value === null ? "\u2013" : column.digits === 0 || column.label === "Ratio" ? String(value) : shown(value, column.digits);
  };
  const columns = data.columns.map((column) => ({
    label: column.label, numeric: !column.names, text: (i) => text(column, i),
    key: (i) => (column.names ? text(column, i) : column.values[i]),
  }));
  const bar = make("div", { class: "controls-bar" });
  const filters = data.columns.filter(({ label }) => ["Arm", "Ratio", "Fit", "Loss", "Metric"].includes(label)).map((column) => {
    const values = [...new Set(indices(data.count).map((i) => text(column, i)))]
      .sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    const control = select([["", "all"], ...values.map((value) => ["=" + value, value])]);
    bar.append(field(column.label, control));
    control.addEventListener("change", () => update());
    return { column, control };
  });
  root.append(bar);
  const show = pagedTable(root, columns, data.count === 1 ? "student" : "students");
  const update = () => show(indices(data.count).filter((i) =>
    filters.every(({ column, control }) => !control.value || control.value === "=" + text(column, i))));
  update();
}

for (const [name, explore] of [["channels", exploreChannels], ["students", exploreStudents]]) {
  const root = document.getElementById(`explore-${name}`);
  if (root) explore(root, JSON.parse(document.getElementById(`data-${name}`).textContent));
}

// A link to something folded unfolds it.
const unfold = () => {
  const target = document.getElementById(location.hash.slice(1));
  const around = target?.closest("details");
  if (around && !around.open) { around.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", unfold);
unfold();

// What is folded on the screen is printed.
const folded = document.querySelectorAll("details");
addEventListener("beforeprint", () => folded.forEach((d) => { d.dataset.was = d.open; d.open = true; }));
addEventListener("afterprint", () => folded.forEach((d) => { d.open = d.dataset.was === "true"; }));
