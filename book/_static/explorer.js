/* The explorer page: choose a cell of the committed tables, see its curves, norms and numbers.

   The records come with the page, as JSON (heavytail/book/explorer.py says what is in them). Nothing is computed here but
   positions on a plot. The choice is kept in the address, after the #, so that a view can be linked. */
(() => {
  "use strict";

  const pieces = window.heavytailPieces;
  const { FIXED, make } = pieces;
  const WIDTH = 340; // of a plot, in its own units; the plot scales with the page

  /** An empty plot. */
  function canvas(title, height) {
    const label = `${title}; the numbers are in the tables below`;
    return make("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label });
  }

  const percent = (x) => (x === null ? "—" : (100 * x).toFixed(1));
  const spread = ([middle, low, high]) => (middle === null ? "—" : `${percent(middle)} (${percent(low)}–${percent(high)})`);

  /** The choice nearest to what is wanted: of each axis its options, given the axes before it, and the one taken. */
  function resolve(data, wanted) {
    let left = data.records;
    const choices = [];
    for (const axis of Object.keys(data.axes)) {
      const options = [...new Set(left.map((record) => record.at[axis]).filter((value) => value !== undefined))];
      if (!options.length) continue;
      const taken = options.includes(wanted[axis]) ? wanted[axis] : options.find((value) => value !== "none");
      const value = taken === undefined ? options[0] : taken;
      left = left.filter((record) => record.at[axis] === value);
      choices.push({ axis, options, value });
    }
    return { choices, record: left[0] };
  }

  /** What tells one cell from another of its network, in words. */
  function named(at) {
    const extra = [];
    if (at.along === "unseen") extra.push("unseen direction");
    if (at.weight_decay !== undefined && at.weight_decay !== "0") extra.push(`weight decay ${at.weight_decay}`);
    const name = at.noise === "none" ? ["plain SGD"] : [at.noise, `α = ${at.alpha}`, `σ = ${at.sigma}`];
    return [...name, ...extra].join(", ");
  }

  /** One plot of accuracy against pruned share; series: {style, points: [share, median, worst, best], band}. */
  function curves(title, series, top) {
    const [height, left, right, upper, lower] = [230, 34, 14, 10, 40];
    const x = (share) => left + share * (WIDTH - left - right);
    const y = (accuracy) => height - lower - (accuracy / top) * (height - upper - lower);
    const path = (points) => `M${points.map(([a, b]) => `${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("L")}`;
    const svg = canvas(title, height);
    for (let i = 0; i <= 5; i += 1) {
      const [share, accuracy] = [i / 5, (i / 5) * top];
      svg.append(
        make("line", { class: "grid", x1: x(0), x2: x(1), y1: y(accuracy), y2: y(accuracy) }),
        make("text", { x: left - 6, y: y(accuracy) + 4, "text-anchor": "end" }, (100 * accuracy).toFixed(0)),
        make("text", { x: x(share), y: height - lower + 16, "text-anchor": "middle" }, (100 * share).toFixed(0)),
      );
    }
    const below = "pruned share of the units, %";
    svg.append(make("text", { x: x(0.5), y: height - 6, "text-anchor": "middle" }, below));
    for (const { style, points, band } of series) {
      if (band) {
        const edge = [...points.map((p) => [p[0], p[3]]), ...points.map((p) => [p[0], p[2]]).reverse()];
        svg.append(make("path", { class: `band ${style}`, d: `${path(edge)}Z` }));
      }
    }
    for (const { style, points } of series) {
      svg.append(make("path", { class: `line ${style}`, d: path(points) }));
      for (const [share, ...numbers] of points) {
        const tip = make("title", {}, `${percent(share)}% pruned: accuracy ${spread(numbers)}%`);
        svg.append(make("circle", { class: `dot ${style}`, cx: x(share), cy: y(numbers[0]), r: 2.6 }, tip));
      }
    }
    return make("figure", {}, make("figcaption", {}, title), svg);
  }

  /** At most six round numbers of a logarithmic axis. */
  function ticks(low, high) {
    for (const steps of [[1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
      const found = [];
      for (let power = -4; power < 8; power += 1) {
        found.push(...steps.map((step) => Number(`${step}e${power}`)).filter((tick) => tick >= low && tick <= high));
      }
      if (found.length <= 6) return found;
    }
    return [low, high];
  }

  /** One plot of a number a run on a logarithmic axis; rows: {style, name, values, errors}. */
  function strip(title, rows) {
    const [step, left, right, lower] = [54, 62, 14, 26];
    const height = rows.length * step + lower;
    const reach = (value, error) => (value === null ? [] : [Math.max(value - error, value / 4), value + error]);
    const ends = rows.flatMap((row) => row.values.flatMap((value, i) => reach(value, row.errors ? row.errors[i] : 0)));
    const middle = Math.sqrt(Math.min(...ends) * Math.max(...ends));
    const half = Math.max(1.15 * Math.sqrt(Math.max(...ends) / Math.min(...ends)), 1.8); // at least two ticks
    const [low, high] = [middle / half, middle * half];
    const x = (value) => left + ((WIDTH - left - right) * Math.log(Math.max(value, low) / low)) / Math.log(high / low);
    const svg = canvas(title, height);
    for (const tick of ticks(low, high)) {
      svg.append(
        make("line", { class: "grid", x1: x(tick), x2: x(tick), y1: 2, y2: height - lower }),
        make("text", { x: x(tick), y: height - lower + 16, "text-anchor": "middle" }, String(tick)),
      );
    }
    rows.forEach(({ style, name, values, errors }, number) => {
      svg.append(make("text", { x: 0, y: (number + 0.5) * step + 4 }, name));
      values.forEach((value, i) => {
        if (value === null) return;
        const y = (number + 0.1 + (0.8 * (i + 1)) / (values.length + 1)) * step;
        const tip = errors ? `${value} ± ${errors[i]}` : String(value);
        const [from, to] = errors ? [x(value - errors[i]), x(value + errors[i])] : [0, 0];
        if (errors) svg.append(make("line", { class: `error ${style}`, x1: from, x2: to, y1: y, y2: y }));
        svg.append(make("circle", { class: `dot ${style}`, cx: x(value), cy: y, r: 3 }, make("title", {}, tip)));
      });
    });
    return make("figure", {}, make("figcaption", {}, title), svg);
  }

  /** A table with a header a column and a header a row. */
  function table(caption, head, rows) {
    const cell = (text, i) => make(i ? "td" : "th", i ? { class: "short" } : { scope: "row" }, String(text));
    const top = make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)));
    const body = make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell))));
    return make("table", { class: "dataframe" }, make("caption", {}, caption), make("thead", {}, top), body);
  }

  const points = (data, one, kind) =>
    (one.curves[kind] || []).map((p, i) => [data.shares[kind][i], ...p]).filter((p) => p[1] !== null);

  /** Which line is which. */
  function legend(shown) {
    const list = make("ul", { class: "legend" });
    const add = (style, text) => {
      const line = make("line", { class: `line ${style}`, x1: 1, x2: 31, y1: 6, y2: 6 });
      list.append(make("li", {}, make("svg", { viewBox: "0 0 32 12", "aria-hidden": "true" }, line), text));
    };
    shown.forEach((one) => add(one.style, one.name));
    if (shown[0].curves.random) add("own random", "the same networks, units pruned at random");
    list.append(make("li", {}, "bands: worst to best seed"));
    return list;
  }

  /** The accuracies and the norms of the networks shown, of which the first is the chosen one. */
  function plots(data, shown) {
    const box = make("div", { class: "plots" });
    const best = shown.flatMap((one) => ["train", "test"].flatMap((kind) => points(data, one, kind).map((p) => p[3])));
    const top = Math.ceil(Math.max(0.05, ...best) * 10) / 10;
    for (const [kind, title] of [["test", "Test accuracy, %"], ["train", "Train accuracy, %"]]) {
      const series = shown.map((one) => ({ style: one.style, points: points(data, one, kind), band: true }));
      if (kind === "test") series.push({ style: "own random", points: points(data, shown[0], "random"), band: false });
      box.append(curves(title, series.filter((one) => one.points.length).reverse(), top));
    }
    const having = shown.filter((one) => one.norms);
    for (const [column, title] of having.length ? Object.entries(data.norms) : []) {
      const rows = having.map(({ style, short, norms }) => {
        return { style, name: short, values: norms[column], errors: norms[`${column}_error`] };
      });
      box.append(strip(rows[0].errors ? `${title} ± standard error` : title, rows));
    }
    return box;
  }

  /** What the plots show, as tables. */
  function numbers(data, shown) {
    const box = make("div", { class: "numbers" });
    for (const one of shown) {
      for (const kind of ["test", "train", "random"].filter((name) => one.curves[name])) {
        const rows = one.curves[kind].map((p, i) => [(100 * data.shares[kind][i]).toFixed(0), spread(p)]);
        const what = kind === "random" ? "test accuracy, units pruned at random" : `${kind} accuracy`;
        box.append(table(`${one.name}: ${what}, %`, ["pruned %", "median (worst–best seed)"], rows));
      }
      if (!one.norms) continue;
      const [middle, square, index, error] = ["norm_median", "norm_rms", "tail_index", "tail_index_error"];
      const told = one.keys.split(" ").map((key, i) => [middle, square, index, error].map((name) => one.norms[name][i]));
      const rows = told.map((row, i) => [i + 1, ...row].map((value) => (value === null ? "—" : value)));
      box.append(table(`${one.name}: norms of each run`, ["run", "median", "r.m.s.", "tail index", "its error"], rows));
    }
    return box;
  }

  /** Everything below the controls. */
  function view(data, record, plain) {
    const own = { ...record, style: "own", name: named(record.at), short: record.at.noise };
    const shown = plain ? [own, { ...plain, style: "other", name: named(plain.at), short: "plain" }] : [own];
    if (own.short === "none") own.short = plain ? "decay" : "plain";
    const lacking = shown.filter((one) => !one.norms).map((one) => one.name);
    const rows = Object.keys(record.row).map((title) => [title, ...shown.map((one) => one.row[title])]);
    const half = "Median over seeds with its 95% interval; “after” is after pruning at squared error 0.1";
    const small = (...parts) => make("p", { class: "keys" }, ...parts);
    const fold = (title, ...parts) => make("details", {}, make("summary", {}, title), ...parts);
    return [
      legend(shown),
      plots(data, shown),
      ...(lacking.length ? [make("p", {}, `The table holds no norms of ${lacking.join(" and ")}.`)] : []),
      table(half, ["", ...shown.map((one) => one.name)], rows),
      small(`The same in all runs: ${data.fixed[record.fixed]}.`),
      fold("The numbers of the plots", numbers(data, shown)),
      fold("The keys of the runs", ...shown.map((one) => small(`${one.name}: `, make("code", {}, one.keys)))),
    ];
  }

  /** The view as a sentence, which a screen reader says after each change. */
  function sentence(record, plain) {
    const { runs, failed } = record.row;
    const number = (one, title) => `${one.row[title].replace(/ /g, FIXED)}%`; // not broken in two
    const what = `${named(record.at)}, width ${record.at.width}, ${record.at.table}`.replace(/^p/, "P");
    if (!runs) return `${what}: all ${failed} runs failed, so there is nothing to draw.`;
    const against = plain && plain.row.runs ? ` (${named(plain.at)}: ${number(plain, "pruned %")})` : "";
    const [pruned, test, after] = ["pruned %", "test %", "test after %"].map((title) => number(record, title));
    const accuracy = `test accuracy ${test} before pruning and ${after} after`;
    return `${what}: pruned ${pruned}${against}, ${accuracy}, ${runs} runs, ${failed} failed.`;
  }

  function mount(root, data) {
    const address = () => Object.fromEntries(new URLSearchParams(window.location.hash.slice(1)));
    let wanted = { ...Object.fromEntries(new URLSearchParams(root.dataset.start)), ...address() };
    const id = (axis) => `explorer-${axis}`;
    const controls = pieces.controls("What to show");
    const status = pieces.status();
    const shown = make("div", { class: "shown" });
    const parts = {};
    for (const [axis, title] of Object.entries(data.axes)) {
      if (axis === "noise") {
        const kinds = [...new Set(["none", ...Object.keys(data.colours)])];
        const options = kinds.map((kind) => [kind, kind === "none" ? "none (plain SGD)" : kind]);
        parts[axis] = { box: pieces.radios(title, id(axis), options), set: setRadios };
      } else {
        const select = make("select", { id: id(axis), name: axis });
        parts[axis] = { box: make("div", {}, make("label", { for: id(axis) }, title), select), set: setSelect };
      }
      controls.append(parts[axis].box);
    }

    function setRadios(box, options, value) {
      for (const button of box.querySelectorAll("input")) {
        button.disabled = !options.includes(button.value);
        button.parentElement.hidden = button.disabled;
        button.checked = button.value === value;
      }
    }

    function setSelect(box, options, value) {
      const select = box.querySelector("select");
      const had = [...select.options].map((option) => option.value);
      if (had.join("\n") !== options.join("\n")) {
        select.replaceChildren(...options.map((option) => make("option", { value: option }, option)));
      }
      select.value = value;
      select.disabled = options.length < 2;
    }

    function render() {
      const { choices, record } = resolve(data, wanted);
      const plain = record.plain === null ? null : data.records[record.plain];
      for (const part of Object.values(parts)) part.box.hidden = true;
      for (const { axis, options, value } of choices) {
        parts[axis].set(parts[axis].box, options, value);
        parts[axis].box.hidden = options.length < 2 && !data.always.includes(axis);
      }
      root.style.setProperty("--own", data.colours[record.at.noise] || "var(--explorer-plain)");
      status.textContent = sentence(record, plain);
      const open = [...shown.querySelectorAll("details")].map((one) => one.open);
      shown.replaceChildren(...view(data, record, plain));
      shown.querySelectorAll("details").forEach((one, place) => (one.open = Boolean(open[place])));
      return new URLSearchParams(choices.map(({ axis, value }) => [axis, value])).toString();
    }

    controls.addEventListener("change", (event) => {
      wanted[event.target.name.replace("explorer-", "")] = event.target.value;
      window.history.replaceState(null, "", `#${render()}`);
    });
    window.addEventListener("hashchange", () => {
      wanted = { ...wanted, ...address() };
      render();
    });
    render();
    root.append(controls, status, shown);
  }

  pieces.mount("explorer", mount);
})();
