/* The pruning slider: drag the cut through the weight matrix of a trained network, and see what is left of four of them.

   Networks and digits come with the page as bytes (heavytail/book/pruning_slider.py makes them). Norms, errors and
   answers are computed here, as heavytail.prune and the network itself do it: neurons go in the order of their norms,
   the smallest first, and the outputs are V max(0, W x), without a bias. */
(() => {
  "use strict";

  const pieces = window.heavytailPieces;
  const { bytes, make } = pieces;
  const PICTURES = 12; // of digits that are newly wrong, at most
  const ORDERS = { norm: "by norm", random: "at random" };
  const HELD = { error: "same error", share: "same share" };

  const percent = (x) => `${(100 * x).toFixed(1)}%`;
  const decimals = (error) => (error > 0 && error < 0.001 ? "<0.001" : error.toFixed(3));

  /** A matrix of float32 from its bytes and a scale a row. */
  function matrix(values, scales) {
    const whole = new Int8Array(bytes(values).buffer);
    const scale = new Float32Array(bytes(scales).buffer);
    const columns = whole.length / scale.length;
    return Float32Array.from(whole, (value, i) => value * scale[Math.floor(i / columns)]);
  }

  /** The cut through a network: in which order its neurons go, and the squared error when the first k are gone. */
  function cut(squares, order) {
    const errors = new Float64Array(order.length + 1);
    order.forEach((neuron, k) => (errors[k + 1] = errors[k] + squares[neuron]));
    const all = errors[order.length];
    return { order, errors: errors.map((error) => error / all) };
  }

  /** A network with its weights, what its neurons say of each image, and its cuts. */
  function network(packed, data, inputs) {
    const [incoming, outgoing] = ["incoming", "outgoing"].map((name) => matrix(packed[name], packed[`${name}_scales`]));
    const neurons = data.random.length;
    const [columns, images] = [incoming.length / neurons, data.labels.length];
    const squares = new Float64Array(neurons);
    incoming.forEach((weight, i) => (squares[Math.floor(i / columns)] += weight * weight));
    const said = new Float64Array(images * neurons);
    for (let image = 0; image < images; image += 1) {
      for (let neuron = 0; neuron < neurons; neuron += 1) {
        let sum = 0;
        for (let i = 0; i < columns; i += 1) sum += incoming[neuron * columns + i] * inputs[image * columns + i];
        said[image * neurons + neuron] = Math.max(0, sum);
      }
    }
    const bySize = [...squares.keys()].sort((a, b) => squares[a] - squares[b] || a - b);
    const cuts = { norm: cut(squares, bySize), random: cut(squares, data.random) };
    const one = { name: packed.name, colour: packed.colour, incoming, outgoing, neurons, columns, said, cuts };
    return { ...one, whole: answers(one, data.labels.length, squares.keys()) };
  }

  /** The class that a network gives each image with these neurons left. */
  function answers({ outgoing, neurons, said }, images, which) {
    const left = [...which];
    const classes = outgoing.length / neurons;
    const outputs = new Float64Array(classes);
    const found = new Uint8Array(images);
    for (let image = 0; image < images; image += 1) {
      outputs.fill(0);
      for (const neuron of left) {
        const value = said[image * neurons + neuron];
        if (value > 0) for (let c = 0; c < classes; c += 1) outputs[c] += outgoing[neuron * classes + c] * value;
      }
      found[image] = outputs.indexOf(Math.max(...outputs));
    }
    return found;
  }

  const accuracy = (found, labels) => found.filter((answer, i) => answer === labels[i]).length / labels.length;

  /** How many neurons stay at a squared error of at most this: one at least. */
  function keptAt({ errors }, error) {
    const fitting = errors.filter((one) => one <= error).length - 1;
    return Math.max(errors.length - 1 - fitting, 1);
  }

  /** A network cut so that `kept` neurons stay. */
  function measured(one, labels, order, kept) {
    const { order: first, errors } = one.cuts[order];
    const gone = one.neurons - kept;
    const found = answers(one, labels.length, first.slice(gone).sort((a, b) => a - b));
    return { name: one.name, kept, pruned: gone / one.neurons, error: errors[gone], found, right: accuracy(found, labels) };
  }

  /** The numbers of some networks: one, or from the smallest to the largest. */
  function range(numbers) {
    const [low, high] = [percent(Math.min(...numbers)), percent(Math.max(...numbers))];
    return low === high ? low : `${low} to ${high}`;
  }

  const listed = (names) => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`);

  const bound = (error) => decimals(error).replace(/^(?!<)/, "at most ").replace("<", "below ");

  /** What is seen now, as two sentences: how noise looks by what is compared, and who is how far. */
  function sentence(rows, state) {
    const [plain, ...noisy] = rows;
    const byError = state.held === "error";
    const value = (row) => (byError ? row.pruned : row.right);
    const groups = {
      more: noisy.filter((row) => value(row) > value(plain)),
      less: noisy.filter((row) => value(row) < value(plain)),
      same: noisy.filter((row) => value(row) === value(plain)),
    };
    const all = (group) => group.length === noisy.length;
    const one = (group) => group.length === 1 || all(group);
    const who = (group) => (all(group) && noisy.length > 1 ? "every noise" : listed(group.map((row) => row.name)));
    const words = byError ? ["loses", "lose", "more columns", "fewer columns"] : ["is", "are", "more accurate", "less accurate"];
    const unlike = [[groups.more, words[2]], [groups.less, words[3]]].filter(([group]) => group.length);
    const told = unlike.map(([group, what]) => {
      return `${who(group)} ${words[one(group) ? 0 : 1]} ${what} (${range(group.map(value))})`;
    });
    const parts = told.length ? [`${told.join(", and ")} than plain SGD (${percent(value(plain))})`] : [];
    if (groups.same.length) {
      const level = told.length ? "it" : `plain SGD (${percent(value(plain))})`;
      parts.push(`${who(groups.same)} ${one(groups.same) ? "is" : "are"} level with ${level}`);
    }
    let look = "The noises differ"; // some are ahead of plain SGD, and some behind
    if (all(groups.same)) look = "Noise makes no difference";
    else if (!groups.less.length) look = all(groups.more) ? "Noise looks better" : "Noise looks no worse";
    else if (!groups.more.length) look = all(groups.less) ? "Noise looks worse" : "Noise looks no better";
    const equal = byError ? `squared error (${bound(state.error)})` : `pruned share (${percent(plain.pruned)})`;
    const how = `At the same ${equal}, columns cut ${ORDERS[state.order]}`;
    return `${look}. ${how}: ${parts.join("; ")}.`;
  }

  /** The weights of a network as a picture: a column a neuron, what is pruned first on the right; red is positive. */
  function drawMatrix(canvas, one, order, [positive, negative]) {
    const sizes = one.incoming.map(Math.abs).sort();
    const limit = sizes[Math.floor(0.995 * (sizes.length - 1))] || 1; // one giant does not bleach the rest
    [canvas.width, canvas.height] = [one.neurons, one.columns];
    const context = canvas.getContext("2d");
    const picture = context.createImageData(one.neurons, one.columns);
    one.cuts[order].order.forEach((neuron, k) => {
      for (let i = 0; i < one.columns; i += 1) {
        const weight = one.incoming[neuron * one.columns + i];
        const opacity = Math.round(255 * Math.min(Math.abs(weight) / limit, 1));
        picture.data.set([...(weight > 0 ? positive : negative), opacity], 4 * (i * one.neurons + one.neurons - 1 - k));
      }
    });
    context.putImageData(picture, 0, 0);
  }

  /** An image, dark on white as on paper. */
  function drawDigit(pixels, scale) {
    const side = Math.sqrt(pixels.length);
    const canvas = make("canvas", { width: side, height: side, "aria-hidden": "true" });
    const picture = canvas.getContext("2d").createImageData(side, side);
    pixels.forEach((value, i) => picture.data.set([0, 0, 0, Math.min(255, Math.round((255 * value) / scale))], 4 * i));
    canvas.getContext("2d").putImageData(picture, 0, 0);
    return canvas;
  }

  /** What the chosen network still read when it was whole, and does not read now. */
  function newlyWrong(one, row, data) {
    const wrong = [...row.found.keys()].filter((i) => one.whole[i] === data.labels[i] && row.found[i] !== data.labels[i]);
    const some = wrong.length > PICTURES ? `; the first ${PICTURES}` : "";
    const text = `Newly wrong with ${one.name}: ${wrong.length} of ${data.labels.length}${some}${wrong.length ? ", digit → answer" : ""}`;
    const items = wrong.slice(0, PICTURES).map((i) => {
      const pixels = data.pixels.subarray(i * one.columns, (i + 1) * one.columns);
      return make("li", {}, drawDigit(pixels, data.scale), `${data.labels[i]} → ${row.found[i]}`);
    });
    return [make("p", {}, text), ...(items.length ? [make("ul", {}, ...items)] : [])];
  }

  /** The four networks as a table; `chosen` is the one whose matrix is drawn. */
  function table(rows, networks, labels, chosen) {
    const top = ["", "pruned", "squared error", "accuracy", "before"].map((text) => make("th", { scope: "col" }, text));
    const body = rows.map((row, i) => {
      const style = `--series: ${networks[i].shown}; --now: ${100 * row.right}%`;
      const name = make("th", { scope: "row", style }, row.name);
      const right = make("td", {}, percent(row.right), make("span", { class: "bar", style }));
      const rest = [percent(row.pruned), decimals(row.error)].map((text) => make("td", {}, text));
      const whole = make("td", {}, percent(accuracy(networks[i].whole, labels)));
      return make("tr", i === chosen ? { "aria-current": "true" } : {}, name, ...rest, right, whole);
    });
    const caption = make("caption", {}, `All of them now, on ${labels.length} test digits`);
    return [caption, make("thead", {}, make("tr", {}, ...top)), make("tbody", {}, ...body)];
  }

  function mount(root, data) {
    data.pixels = bytes(data.pixels);
    data.labels = bytes(data.labels);
    const inputs = Float32Array.from(data.pixels, (value) => value / data.scale);
    const networks = data.networks.map((packed) => network(packed, data, inputs));
    networks.forEach((one, i) => (one.shown = i ? one.colour : "var(--pruning-plain)"));
    const neurons = data.random.length;

    const state = { chosen: networks.length > 1 ? 1 : 0, held: "error", order: "norm", error: data.start, kept: 0 };
    state.kept = keptAt(networks[state.chosen].cuts[state.order], state.error);

    const controls = pieces.controls(
      "What to prune, and what to compare",
      pieces.radios("Network to cut", "pruning-chosen", networks.map((one, i) => [i, one.name])),
      pieces.radios("Held equal for all", "pruning-held", Object.entries(HELD)),
      pieces.radios("Columns go", "pruning-order", Object.entries(ORDERS)),
    );
    const canvas = make("canvas", { role: "img" });
    const [gone, line] = [make("div", { class: "gone" }), make("div", { class: "cut" })];
    const picture = make("div", { class: "matrix" }, canvas, gone, line);
    const slider = make("input", { type: "range", id: "pruning-cut", min: 1, max: neurons, step: 1 });
    const label = make("label", { for: "pruning-cut" }, "Columns kept");
    const read = make("p", { class: "read" });
    const status = pieces.status();
    const numbers = make("table", { class: "dataframe" });
    const wrong = make("div", { class: "wrong" });

    function draw() {
      const style = getComputedStyle(root);
      const colour = (name) => style.getPropertyValue(`--pruning-${name}`).trim().split(/\s+/).map(Number);
      drawMatrix(canvas, networks[state.chosen], state.order, [colour("positive"), colour("negative")]);
      const how = state.order === "norm" ? "sorted by norm, the largest left" : "in a random order";
      canvas.setAttribute("aria-label", `Weight matrix of ${networks[state.chosen].name}, a column a neuron, ${how}`);
    }

    function render() {
      const one = networks[state.chosen];
      for (const name of ["chosen", "held", "order"]) {
        const buttons = controls.querySelectorAll(`[name=pruning-${name}]`);
        for (const button of buttons) button.checked = button.value === String(state[name]);
      }
      const kept = (other) => (state.held === "share" ? state.kept : keptAt(other.cuts[state.order], state.error));
      const rows = networks.map((other) => {
        return measured(other, data.labels, state.order, other === one ? state.kept : kept(other));
      });
      const row = rows[state.chosen];
      root.style.setProperty("--own", one.shown);
      slider.value = state.kept;
      gone.style.left = line.style.left = `${(100 * state.kept) / neurons}%`;
      const error = `squared error ${decimals(row.error)}`;
      read.textContent = `${one.name}: ${state.kept} of ${neurons} columns kept, ${percent(row.pruned)} pruned, ${error}`;
      slider.setAttribute("aria-valuetext", read.textContent);
      status.textContent = sentence(rows, state);
      numbers.replaceChildren(...table(rows, networks, data.labels, state.chosen));
      wrong.replaceChildren(...newlyWrong(one, row, data));
    }

    function moved(kept) {
      state.kept = kept;
      state.error = networks[state.chosen].cuts[state.order].errors[neurons - kept];
      render();
    }

    slider.addEventListener("input", () => moved(Number(slider.value)));
    controls.addEventListener("change", (event) => {
      const name = event.target.name.replace("pruning-", "");
      state[name] = name === "chosen" ? Number(event.target.value) : event.target.value;
      const { cuts } = networks[state.chosen];
      if (state.held === "error" && name !== "held") state.kept = keptAt(cuts[state.order], state.error);
      else state.error = cuts[state.order].errors[neurons - state.kept];
      draw();
      render();
    });

    function drag(event) {
      const box = canvas.getBoundingClientRect();
      const kept = Math.round((neurons * (event.clientX - box.left)) / box.width);
      moved(Math.min(Math.max(kept, 1), neurons));
    }
    picture.addEventListener("pointerdown", (event) => {
      picture.setPointerCapture(event.pointerId);
      drag(event);
    });
    picture.addEventListener("pointermove", (event) => {
      if (picture.hasPointerCapture(event.pointerId)) drag(event);
    });

    const parts = [controls, label, picture, slider, read, status, numbers, wrong];
    root.querySelector("script").after(make("div", { class: "touch" }, ...parts));
    draw();
    render();
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  pieces.mount("pruning", mount);
})();
