"use strict";
// Charts of the page by uPlot, in place of the still pictures; tables that sort. Text reaches the page as text alone.
(() => {
  const record = JSON.parse(document.getElementById("record").textContent);
  const hidden = new Set(), shown = [];
  const DASH = [[], [7, 4], [2, 3], [7, 3, 2, 3]];
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const make = (name, parent, text, kind) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    if (parent) parent.append(element);
    return element;
  };
  const digits = x => x === 0 ? "0" : Math.abs(x) >= 1e6 ? (x / 1e6).toPrecision(4) + " M"
    : Math.abs(x) >= 1e4 ? Math.round(x).toLocaleString("en") : String(+x.toPrecision(4));
  const brief = x => Math.abs(x) >= 1e6 ? +(x / 1e6).toPrecision(4) + " M" : Math.abs(x) >= 1e4 ? +(x / 1e3).toPrecision(4) + " k" : String(+x.toPrecision(6));
  const faded = (colour, opacity) => colour + Math.round(255 * opacity).toString(16).padStart(2, "0");
  const long = colour => colour.length === 4 ? "#" + [...colour.slice(1)].map(c => c + c).join("") : colour;

  // The lines that a chart shows: a mean with its interval, or lines of single seeds
  const linesOf = (chart, state) => {
    const found = [];
    for (const line of chart.lines) {
      if (hidden.has(line.g) || !line.y[state.measure]) continue;
      const single = line.seeds.filter(one => one.y[state.measure] && (state.seeds === "each" || String(one.seed) === state.seeds));
      if (state.seeds === "mean" || !line.seeds.length) found.push({ ...line, x: line.x[state.axis], y: line.y[state.measure] });
      else for (const one of single)
        found.push({ ...line, name: `${line.name}, seed ${one.seed}`, x: one.x[state.axis], y: one.y[state.measure].slice(0, 1) });
    }
    return found.filter(line => line.x.every(x => x !== null));
  };

  const draw = view => {
    const { chart, state, box } = view;
    if (view.plot) view.plot.destroy();
    const lines = linesOf(chart, state), faint = css("--faint"), rule = css("--rule");
    const tables = [], series = [{}], bands = [];
    view.means = [];
    for (const line of lines) {
      const [colour, dash] = record.looks[line.g], stroke = long(css(`--s${colour}`));
      const ends = line.y.length === 3;
      tables.push([line.x, ...line.y]);
      view.means.push({ index: series.length, line, stroke, ends });
      series.push({ label: line.name, stroke, width: 2, dash: DASH[line.dashed ? 1 : dash], points: { show: line.x.length <= 12, size: 6, fill: stroke } });
      if (ends) {
        const edge = { stroke: "transparent", width: 0, points: { show: false } };
        bands.push({ series: [series.length + 1, series.length], fill: faded(stroke, lines.length > 6 ? .07 : .14) });
        series.push(edge, edge);
      }
    }
    const ordered = tables.map(table => {
      const order = table[0].map((_, i) => i).sort((a, b) => table[0][a] - table[0][b]);
      return table.map(values => order.map(i => values[i]));
    });
    const levels = chart.levels.filter(() => ["mean", "iqm"].includes(state.measure));
    const xs = lines.flatMap(line => line.x);
    if (levels.length && xs.length) for (const level of levels) {
      ordered.push([[Math.min(...xs), Math.max(...xs)], [level.y, level.y]]);
      series.push({ label: level.name, stroke: faint, width: 1, dash: [6, 4], points: { show: false } });
    }
    box.querySelector(".tip")?.remove();
    const tip = make("div", box, undefined, "tip");
    tip.hidden = true;
    const axis = label => ({ label, stroke: faint, grid: { stroke: rule, width: 1 }, ticks: { stroke: rule }, font: "12px system-ui", labelFont: "12.5px system-ui", values: (u, all) => all.map(x => x === null ? "" : brief(x)) });
    view.plot = new uPlot({
      width: box.clientWidth, height: Math.max(260, Math.min(400, box.clientWidth * .55)),
      legend: { show: false }, cursor: { points: { show: false }, y: false },
      scales: { x: { time: false, distr: state.log ? 4 : 1, asinh: Math.max(1e-9, Math.min(...xs.filter(x => x > 0), Infinity) || 1) } },
      axes: [axis(chart.axes[state.axis]), { ...axis(chart.measures[state.measure]), size: 62 }],
      series, bands, hooks: { setCursor: [u => hover(view, u, tip)] },
    }, ordered.length ? uPlot.join(ordered) : [[]], box);
  };

  // Pixels from the pointer to the part of the axis on which a line has points
  const beyond = (u, xs, left) => Math.max(0, u.valToPos(Math.min(...xs), "x") - left, left - u.valToPos(Math.max(...xs), "x"));

  const hover = (view, u, tip) => {
    const { left, top } = u.cursor;
    if (left === undefined || left < 0 || !view.means.length) { tip.hidden = true; return; }
    const x = u.posToVal(left, "x"), found = [];
    for (const { index, line, stroke, ends } of view.means) {
      let best = null;
      line.x.forEach((at, i) => { if (line.y[0][i] !== null && (best === null || Math.abs(at - x) < Math.abs(line.x[best] - x))) best = i; });
      if (best === null) continue;
      const across = u.valToPos(line.x[best], "x"), down = u.valToPos(line.y[0][best], "y");
      found.push({ line, best, stroke, ends, far: beyond(u, line.x, left) > 60 ? Infinity : Math.abs(down - top) });
    }
    const near = found.filter(one => one.far < Infinity).sort((a, b) => a.far - b.far).slice(0, 8);
    tip.hidden = !near.length;
    tip.replaceChildren();
    near.forEach((one, rank) => {
      const row = make("span", tip), mark = make("i", row, "■ ");
      mark.style.color = one.stroke;
      make(rank ? "i" : "b", row, one.line.name).style.fontStyle = "normal";
      const [mean, low, high] = one.line.y.map(values => values[one.best]);
      make("i", row, ` ${digits(mean)}${one.ends ? ` (${digits(low)} to ${digits(high)})` : ""} at ${digits(one.line.x[one.best])}`).style.fontStyle = "normal";
    });
    const over = u.over, width = over.clientWidth, start = over.offsetLeft + (left > width / 2 ? left - tip.offsetWidth - 14 : left + 14);
    tip.style.left = `${Math.max(0, start)}px`;
    tip.style.top = `${Math.max(0, Math.min(top - 10, over.clientHeight - tip.offsetHeight))}px`;
  };

  const choice = (tools, name, options, value, changed) => {
    const label = make("label", tools, `${name} `), select = make("select", label);
    for (const [key, text] of options) make("option", select, text).value = key;
    select.value = value;
    select.addEventListener("change", () => changed(select.value));
  };

  for (const chart of record.charts) {
    const figure = document.getElementById(chart.id), still = figure.querySelector("svg"), tools = make("div", null, undefined, "tools"), box = make("div", null, undefined, "plot");
    still.before(tools, box);
    still.remove();
    const state = { axis: Object.keys(chart.axes)[0], measure: Object.keys(chart.measures)[0], seeds: "mean", log: false }, view = { chart, state, box };
    const again = (key, value) => { state[key] = value; draw(view); };
    if (Object.keys(chart.axes).length > 1) choice(tools, "axis", Object.entries(chart.axes), state.axis, value => again("axis", value));
    if (Object.keys(chart.measures).length > 1) choice(tools, "value", Object.entries(chart.measures), state.measure, value => again("measure", value));
    const seeds = [...new Set(chart.lines.flatMap(line => line.seeds.map(one => String(one.seed))))].sort((a, b) => a - b);
    if (seeds.length) choice(tools, "seeds", [["mean", "mean and interval"], ["each", "each seed"], ...seeds.map(seed => [seed, `seed ${seed}`])], "mean", value => again("seeds", value));
    choice(tools, "scale", [["", "linear"], ["1", "logarithmic"]], "", value => again("log", Boolean(value)));
    shown.push(view);
    draw(view);
    new ResizeObserver(() => { if (view.plot && box.clientWidth && box.clientWidth !== view.plot.width) draw(view); }).observe(box);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shown.forEach(draw));

  // A click switches a method, a double click shows it alone, and another one all again
  const chips = [...document.querySelectorAll("button.chip")], of = chip => chip.dataset.g.split(" ").map(Number);
  const alone = chip => chips.every(other => hidden.has(of(other)[0]) !== (other === chip));
  const show = (chip, yes) => of(chip).forEach(g => yes ? hidden.delete(g) : hidden.add(g));
  for (const chip of chips) {
    let before = false;
    chip.addEventListener("click", event => {
      if (event.detail === 2) chips.forEach(other => show(other, before || other === chip));
      else { before = alone(chip); show(chip, hidden.has(of(chip)[0])); }
      for (const other of chips) other.setAttribute("aria-pressed", String(!hidden.has(of(other)[0])));
      shown.forEach(draw);
    });
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0], value = (row, column) => {
      const cell = row.cells[column];
      return cell.dataset.v === undefined || cell.dataset.v === "" ? cell.textContent : Number(cell.dataset.v);
    };
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.setAttribute("aria-sort", "none");
      head.tabIndex = 0;
      const sort = () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].sort((a, b) => {
          const x = value(a, column), y = value(b, column);
          const order = typeof x === "number" && typeof y === "number" ? x - y : typeof x === typeof y ? String(x).localeCompare(String(y), "en", { numeric: true }) : typeof x === "number" ? -1 : 1;
          return down ? -order : order;
        });
        body.append(...rows);
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); } });
    });
  }
})();
