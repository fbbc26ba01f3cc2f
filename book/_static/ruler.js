/* How wide is wide enough: the width from which noise alone makes a matrix compressible, on a logarithmic ruler.

   The page brings, for each noise, α and share kept, where the law's line begins (heavytail/book/ruler.py); from there
   the logarithm of the width falls with that of the error. Errors of matrices that were drawn come with it too. Nothing
   is computed here but that line and positions on a picture. */
(() => {
  "use strict";

  const pieces = window.heavytailPieces;
  const { FIXED, make } = pieces;
  const END = 27; // of the ruler, a power of ten
  const ROW = 19; // of a landmark's name, in pixels
  const [LEAST, MOST] = [1, 6.2]; // powers of ten of the widths beside the law

  const raised = (power) => String(power).replace(/./g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"["0123456789".indexOf(digit)]);
  const grouped = (number) => String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, FIXED);

  /** The number 10^log to two digits; whole where that is short. */
  function told(log) {
    if (log < 4) return grouped(Number((10 ** log).toPrecision(2)));
    let power = Math.floor(log);
    let front = (10 ** (log - power)).toFixed(1);
    if (front === "10.0") [front, power] = ["1.0", power + 1];
    return `${front}${FIXED}·${FIXED}10${raised(power)}`;
  }

  const share = (part) => `${Number((100 * part).toPrecision(3))}%`;
  const short = (error) => (Math.abs(error * error - 0.1) < 1e-9 ? "√0.1" : String(error));

  function mount(root, data) {
    let [noise, alpha, keep, error] = data.start; // positions in the lists of what can be chosen

    /** The natural logarithm of the required width, as laws.log_required_width has it. */
    function logWidth(kind, a, k, e) {
      const index = data.alphas[a];
      return Math.max(0, data.laws[kind][a][k] - ((2 * index) / (2 - index)) * Math.log(data.errors[e]));
    }

    const slider = (name, title, list, value) =>
      pieces.slider("ruler", name, title, { min: 0, max: list.length - 1, step: 1, value });
    const sliders = {
      alpha: slider("alpha", "Tail index α", data.alphas, alpha),
      keep: slider("keep", "Share kept", data.keeps, keep),
      error: slider("error", "Relative error", data.errors, error),
    };
    const kinds = pieces.radios("Noise", "ruler-noise", [...data.noises.entries()]);
    kinds.querySelectorAll("input")[noise].checked = true;
    const boxes = Object.values(sliders).map((one) => one.box);
    const controls = pieces.controls("How compressible, and by which noise", ...boxes, kinds);
    const summary = pieces.status();
    const scale = pieces.picture("Required width", "The required width on a logarithmic ruler with landmarks");
    const line = pieces.picture("Relative error by columns: the law, and matrices of pure noise", "Errors against the width, of the law and of matrices");

    const text = (x, y, anchor, ...content) => make("text", { x, y, "text-anchor": anchor }, ...content);

    /** A power of ten, its exponent raised. */
    const power = (x, y, anchor, exponent) => text(x, y, anchor, exponent === 0 ? "1" : `10${raised(exponent)}`);

    /** The ruler: names of landmarks under it, each at the end of a line that no other name crosses. */
    function drawRuler(log) {
      const { svg } = scale;
      const [head, foot] = [46, 24];
      const width = pieces.measure(svg, head + foot + data.landmarks.length * ROW + 6);
      const x = (exponent) => 10 + (exponent / END) * (width - 34);
      svg.append(make("line", { class: "edge", x1: x(0), x2: x(END), y1: head, y2: head }));
      for (let exponent = 0; exponent < END; exponent += 1) {
        const [at, end] = [x(exponent), head + (exponent % 5 ? 5 : 9)];
        svg.append(make("line", { class: "edge", x1: at, x2: at, y1: head, y2: end }));
      }
      const places = data.landmarks.map((mark) => ({ ...mark, at: x(Math.log10(mark.number)) }));
      const leftwards = places.filter((mark) => mark.at > width * 0.6);
      const rightwards = places.filter((mark) => mark.at <= width * 0.6).reverse(); // the last is the first below
      [...rightwards, ...leftwards].forEach((mark, row) => {
        const y = head + foot + (row + 1) * ROW - 5;
        const [anchor, beside] = leftwards.includes(mark) ? ["end", -6] : ["start", 6];
        svg.append(
          make("line", { class: "lead", x1: mark.at, x2: mark.at, y1: head, y2: y }),
          make("circle", { class: "landmark", cx: mark.at, cy: head, r: 3 }),
          text(mark.at + beside, y, anchor, mark.name),
        );
      });
      for (let exponent = 0; exponent < END; exponent += 5) {
        const label = power(x(exponent), head + 22, exponent ? "middle" : "start", exponent);
        label.setAttribute("class", "tick"); // lies on the lines to the names
        svg.append(label);
      }
      const off = log > END;
      const at = off ? x(END) : x(log);
      const point = off ? `M${at} ${head - 8}l14 8l-14 8Z` : `M${at} ${head}l-7 -14h14Z`;
      const anchor = at < 60 ? "start" : at > width - 60 ? "end" : "middle";
      const place = anchor === "start" ? Math.max(2, at - 7) : anchor === "end" ? Math.min(width - 2, at + 14) : at;
      const label = text(place, head - 20, anchor, off ? `${told(log)}, off the ruler` : told(log));
      label.setAttribute("class", "answer");
      svg.append(make("path", { class: "answer", d: point }), label);
    }

    /** Errors against widths: the line of the law, matrices as dots, and the error asked for. */
    function drawLaw() {
      const { svg } = line;
      const [height, left, right, top, bottom] = [260, 44, 10, 10, 40];
      const width = pieces.measure(svg, height);
      const lowest = Math.log10(0.015);
      const x = (log) => left + ((log - LEAST) / (MOST - LEAST)) * (width - left - right);
      const y = (value) => top + (Math.log10(value) / lowest) * (height - top - bottom);
      for (let exponent = LEAST; exponent <= MOST; exponent += 1) {
        svg.append(
          make("line", { class: "axis", x1: x(exponent), x2: x(exponent), y1: top, y2: height - bottom }),
          power(x(exponent), height - bottom + 17, "middle", exponent),
        );
      }
      for (const value of [1, 0.5, 0.2, 0.1, 0.05, 0.02]) {
        svg.append(
          make("line", { class: "axis", x1: x(LEAST), x2: x(MOST), y1: y(value), y2: y(value) }),
          text(left - 6, y(value) + 4, "end", String(value)),
        );
      }
      svg.append(text(x((LEAST + MOST) / 2), height - 5, "middle", "columns"));
      const asked = y(data.errors[error]);
      svg.append(make("line", { class: "asked", x1: x(LEAST), x2: x(MOST), y1: asked, y2: asked }));
      data.widths[noise].forEach((count, place) => {
        for (const value of data.matrices[noise][alpha][place][keep]) {
          const [cx, cy] = [x(Math.log10(count)), y(Math.max(value, 0.015))];
          svg.append(make("circle", { class: "matrix", cx, cy, r: 3.2 }));
        }
      });
      // log n = law − 2α/(2−α) log error: from the error 1, or the left edge, to the right edge or the lower one
      const begin = data.laws[noise][alpha][keep] / Math.LN10;
      const slope = (2 * data.alphas[alpha]) / (2 - data.alphas[alpha]);
      const errorAt = (log) => 10 ** ((begin - log) / slope);
      const from = Math.max(LEAST, begin);
      const to = Math.min(MOST, begin - slope * lowest);
      if (from < to) {
        const d = `M${x(from)} ${y(errorAt(from))}L${x(to)} ${y(errorAt(to))}`;
        svg.append(make("path", { class: "own", d }));
      }
      for (const many of data.committed) {
        if (noise !== 0 || many.alpha !== data.alphas[alpha] || many.keep !== data.keeps[keep]) continue;
        svg.append(make("circle", { class: "committed", cx: x(Math.log10(many.width)), cy: y(Math.max(many.error, 0.015)), r: 4.5 }));
      }
    }

    /** The setting and its width in words, which a screen reader says after each change. */
    function sentence(log) {
      const setting = `${data.noises[noise]}, α${FIXED}=${FIXED}${data.alphas[alpha]}`;
      const wish = `${share(data.keeps[keep])} of the columns kept, error ${short(data.errors[error])}`;
      if (log < 2) return `${setting}, ${wish}: fewer than 100 columns, too few for a law of wide matrices.`;
      const below = data.landmarks.filter((mark) => Math.log10(mark.number) <= log).pop();
      const above = data.landmarks.find((mark) => Math.log10(mark.number) > log);
      const between = [below && `beyond ${below.name}`, above && `short of ${above.name}`].filter(Boolean).join(", ");
      return `${setting}, ${wish}: half of all matrices are that good from ${told(log)} columns on: ${between}.`;
    }

    function draw() {
      const log = logWidth(noise, alpha, keep, error) / Math.LN10;
      root.style.setProperty("--own", data.colours[noise]);
      const said = { alpha: data.alphas[alpha], keep: share(data.keeps[keep]), error: short(data.errors[error]) };
      for (const [name, { input, value }] of Object.entries(sliders)) {
        value.textContent = said[name];
        input.setAttribute("aria-valuetext", said[name]);
      }
      drawRuler(log);
      drawLaw();
      const now = sentence(log);
      if (summary.textContent !== now) summary.textContent = now;
    }

    controls.addEventListener("input", () => {
      [alpha, keep, error] = ["alpha", "keep", "error"].map((name) => Number(sliders[name].input.value));
      noise = Number(kinds.querySelector("input:checked").value);
      draw();
    });

    root.append(controls, summary, scale.figure, line.figure);
    root.numbers = { logWidth }; // for the console of a reader, and the tests
    pieces.atEveryWidth(root, draw);
  }

  pieces.mount("ruler", mount);
})();
