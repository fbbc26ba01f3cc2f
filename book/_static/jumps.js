/* Jump by jump: 200 columns, each the sum of its stable kicks, at an α that the reader moves.

   The uniforms behind the kicks come with the page and stay the same at every α; `symmetric` is the formula of
   heavytail/stable.py, and a test holds its numbers to the library's. Nothing moves until it is asked to. */
(() => {
  "use strict";

  const pieces = window.heavytailPieces;
  const { FIXED, make } = pieces;
  const HEIGHT = 236; // of a picture, in pixels
  const EDGE = { left: 44, right: 8, top: 8, bottom: 36 };

  /** Numbers of 64 bits, the lowest byte first. */
  const numbers = (base64) => new Float64Array(pieces.bytes(base64).buffer);

  /** One symmetric α-stable variable of scale 1, after Chambers, Mallows and Stuck, as in heavytail/stable.py.

     The size of `turn` is the distance of the angle from the end where the tail sits, its sign that of the variable.
     The size of `wait`, halved, is a uniform below 1/2; its sign says on which side of its median the exponential is. */
  function symmetric(alpha, turn, wait) {
    const delta = (Math.abs(turn) * Math.PI) / 2;
    const half = Math.abs(wait) / 2;
    const exponential = wait > 0 ? -Math.log1p(-half) : -Math.log(half);
    const lean = Math.abs(1 - alpha);
    const ratio = Math.log(Math.sin(((1 - lean) * Math.PI) / 2 + lean * delta)) - Math.log(exponential);
    const [slope, offset] = alpha >= 1 ? [alpha, 2 - alpha] : [-alpha, alpha];
    const sine = Math.abs(Math.sin((offset * Math.PI) / 2 + slope * delta));
    const size = Math.exp(Math.log(sine) - ratio + (ratio - Math.log(Math.sin(delta))) / alpha);
    return Math.sign(turn) * size;
  }

  /** The round numbers from 0 to `top`, three to five of them. */
  function ticks(top) {
    const power = 10 ** Math.floor(Math.log10(top));
    const step = [0.2, 0.5, 1, 2].map((part) => part * power).find((each) => top / each < 5);
    return Array.from({ length: Math.floor(top / step) + 1 }, (_, k) => Number((k * step).toPrecision(6)));
  }

  const percent = (share) => `${(100 * share).toFixed(1)}%`;

  function mount(root, data) {
    const { columns, kicks: steps } = data;
    const [turns, waits] = [numbers(data.turns), numbers(data.waits)];

    /** The kicks at an α, one after the other, of all columns each. */
    function kicks(alpha) {
      const scale = steps ** (-1 / alpha); // so that all kicks together have scale 1
      return turns.map((turn, i) => scale * symmetric(alpha, turn, waits[i]));
    }

    /** Where each column is after k = 0, 1, … kicks. */
    function paths(alpha) {
      const made = kicks(alpha);
      const sums = Array.from({ length: steps + 1 }, () => new Float64Array(columns));
      for (let k = 0; k < steps; k += 1) {
        for (let j = 0; j < columns; j += 1) sums[k + 1][j] = sums[k][j] + made[k * columns + j];
      }
      return sums;
    }

    /** The squares of the columns, the largest first, as shares of their sum. */
    function shares(at) {
      const squares = Array.from(at, (value) => value * value).sort((a, b) => b - a);
      const total = squares.reduce((sum, square) => sum + square, 0);
      return squares.map((square) => (total ? square / total : 0));
    }

    const gaussian = paths(2);
    let [alpha, now, timer] = [data.alpha, steps, null];
    let sums = paths(alpha);

    const atAlpha = { min: data.lowest, max: 2, step: data.step, value: alpha };
    const index = pieces.slider("jumps", "alpha", "Tail index α", atAlpha);
    const time = pieces.slider("jumps", "time", "Kicks so far", { min: 0, max: steps, step: 1, value: now });
    const play = make("button", { type: "button" }, "Play");
    const step = make("button", { type: "button" }, "Step");
    const buttons = make("div", { class: "buttons" }, play, step);
    const controls = pieces.controls("Tail and time", index.box, time.box, buttons);
    const summary = pieces.status();
    const walk = pieces.picture("The columns in time", "Paths of all columns; the largest is highlighted");
    const sorted = pieces.picture("Their sizes, sorted", "Sizes of the columns, the largest first");

    /** An empty picture as wide as its place, and where values lie in it; `low` and `high` are the ends of y. */
    function frame({ svg }, low, high, marks, below) {
      const width = pieces.measure(svg, HEIGHT);
      const x = (part) => EDGE.left + part * (width - EDGE.left - EDGE.right);
      const y = (value) => EDGE.top + ((high - value) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
      for (const mark of marks) {
        svg.append(
          make("line", { class: "axis", x1: x(0), x2: x(1), y1: y(mark), y2: y(mark) }),
          make("text", { x: EDGE.left - 6, y: y(mark) + 4, "text-anchor": "end" }, String(mark).replace("-", "−")),
        );
      }
      svg.append(make("text", { x: x(0.5), y: HEIGHT - 19, "text-anchor": "middle" }, below));
      return { x, y, svg };
    }

    const largest = () =>
      sums[now].reduce((best, value, j, all) => (Math.abs(value) > Math.abs(all[best]) ? j : best), 0);

    /** A path to its k-th kick: a jump, then nothing until the next. */
    function trace(column, until, { x, y }) {
      let path = `M${x(0).toFixed(1)} ${y(0).toFixed(1)}`;
      for (let k = 1; k <= until; k += 1) path += `H${x(k / steps).toFixed(1)}V${y(sums[k][column]).toFixed(1)}`;
      return path;
    }

    let [walking, sorting, top] = [null, null, 1];

    /** What depends on α and on the width of the page. */
    function lay() {
      top = 1.04 * Math.max(...sums.map((at) => at.reduce((most, value) => Math.max(most, Math.abs(value)), 0)));
      const marks = ticks(top);
      walking = frame(walk, -top, top, [...marks.slice(1).map((mark) => -mark), ...marks], "kicks");
      for (const [part, text, anchor] of [[0, "0", "start"], [1, String(steps), "end"]]) {
        walking.svg.append(make("text", { x: walking.x(part), y: HEIGHT - 19, "text-anchor": anchor }, text));
      }
      const shown = make("rect", { x: 0, y: 0, height: HEIGHT, width: 0 });
      let every = "";
      for (let j = 0; j < columns; j += 1) every += trace(j, steps, walking);
      walking.shown = shown;
      walking.own = make("path", { class: "own" });
      walking.svg.append(
        make("clipPath", { id: "jumps-until-now" }, shown),
        make("path", { class: "others", d: every, "clip-path": "url(#jumps-until-now)" }),
        walking.own,
      );
      sorting = frame(sorted, 0, top, marks, `${columns} columns, the largest first`);
      sorting.rest = make("path", { class: "bars" });
      sorting.own = make("path", { class: "bars largest" });
      sorting.svg.append(sorting.rest, sorting.own);
    }

    /** What depends on the time. */
    function draw() {
      walking.shown.setAttribute("width", walking.x(now / steps) + 0.5);
      walking.own.setAttribute("d", trace(largest(), now, walking));
      const sizes = Array.from(sums[now], Math.abs).sort((a, b) => b - a);
      const { x, y } = sorting;
      const edge = (k) => x(k / columns).toFixed(2);
      const bar = (size, k) => `M${edge(k)} ${y(0)}V${y(size).toFixed(2)}H${edge(k + 1)}V${y(0)}Z`;
      sorting.rest.setAttribute("d", sizes.map(bar).join(""));
      const wide = Math.max(4, x(1 / columns) - x(0));
      sorting.own.setAttribute("d", `M${x(0)} ${y(0)}V${y(sizes[0]).toFixed(2)}h${wide}V${y(0)}Z`);
      index.value.textContent = String(alpha);
      time.value.textContent = `${now} of ${steps}`;
      index.input.value = alpha;
      time.input.value = now;
      summary.textContent = sentence();
    }

    /** The pictures in words, which a screen reader says after each change but not while time plays. */
    function sentence() {
      if (now === 0) return "No kick yet: every column is 0.";
      const [own, normal] = [shares(sums[now])[0], shares(gaussian[now])[0]];
      const at = (value) => `α${FIXED}=${FIXED}${value}`;
      const first = `${at(alpha)}, kick ${now} of ${steps}: the largest column holds ${percent(own)} of the squared norm.`;
      const other = alpha === 2 ? "This is the Gaussian." : `At ${at(2)}, on the same random numbers: ${percent(normal)}.`;
      return `${first} ${other}`;
    }

    function stop() {
      window.clearInterval(timer);
      timer = null;
      play.textContent = "Play";
      summary.setAttribute("aria-live", "polite");
      draw();
    }

    function start() {
      if (now === steps) now = 0;
      const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
      play.textContent = "Pause";
      summary.setAttribute("aria-live", "off");
      timer = window.setInterval(() => {
        now += 1;
        if (now === steps) stop();
        else draw();
      }, calm ? 600 : 110);
      draw();
    }

    play.addEventListener("click", () => (timer === null ? start() : stop()));
    step.addEventListener("click", () => {
      now = now === steps ? 0 : now + 1;
      stop();
    });
    time.input.addEventListener("input", () => {
      now = Number(time.input.value);
      stop();
    });
    index.input.addEventListener("input", () => {
      alpha = Number(index.input.value);
      sums = paths(alpha);
      lay();
      draw();
    });

    root.append(controls, summary, make("div", { class: "pictures" }, walk.figure, sorted.figure));
    root.numbers = { kicks }; // for the console of a reader, and the tests
    pieces.atEveryWidth(root, () => {
      lay();
      draw();
    });
  }

  pieces.mount("jumps", mount);
})();
