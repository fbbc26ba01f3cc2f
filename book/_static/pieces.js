/* What the pieces of the book to touch share: elements, controls, the data that come with a piece, and its width.

   Each piece brings this script before its own (heavytail/book/pieces.py). On a page of several the first one counts. */
window.heavytailPieces ??= (() => {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";
  const IN_SVG = new Set(["svg", "g", "path", "line", "circle", "text", "title", "clipPath", "rect"]);
  const FIXED = "\u00a0"; // a space that does not break

  /** An element with attributes and children. */
  function make(name, attributes, ...children) {
    const element = IN_SVG.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

  /** A form of what can be chosen, which is sent nowhere. */
  function controls(label, ...parts) {
    const form = make("form", { class: "controls", "aria-label": label }, ...parts);
    form.addEventListener("submit", (event) => event.preventDefault());
    return form;
  }

  /** A slider below its title and its value: the input, where the value is shown, and the box of it all. */
  function slider(piece, name, title, attributes) {
    const input = make("input", { type: "range", name, id: `${piece}-${name}`, ...attributes });
    const value = make("span", { class: "value", "aria-hidden": "true" }); // a slider says its own
    return { input, value, box: make("div", {}, make("label", { for: input.id }, title), " ", value, input) };
  }

  /** A group of radio buttons, of pairs of a value and what is said of it. */
  function radios(title, name, options) {
    const labels = options.map(([value, text]) => make("label", {}, make("input", { type: "radio", name, value }), text));
    return make("fieldset", {}, make("legend", {}, title), ...labels);
  }

  /** The line that says what is seen, which a screen reader says after each change. */
  const status = () => make("p", { class: "summary", role: "status", "aria-live": "polite" });

  /** An empty drawing below its title. */
  function picture(title, label) {
    const svg = make("svg", { role: "img", "aria-label": `${label}; the line above has the numbers` });
    return { svg, figure: make("figure", {}, make("figcaption", {}, title), svg) };
  }

  /** An empty drawing becomes as wide as its place, a unit a pixel; that width. */
  function measure(svg, height) {
    const width = Math.max(240, Math.round(svg.getBoundingClientRect().width));
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    return width;
  }

  /** Draw now, and again whenever the element has another width. */
  function atEveryWidth(root, draw) {
    draw();
    let width = root.getBoundingClientRect().width;
    new ResizeObserver(() => {
      const wide = root.getBoundingClientRect().width;
      if (wide === width) return;
      width = wide;
      draw();
    }).observe(root);
  }

  /** Make every piece of a name once, from its data; what stands there without a script goes when all went well. */
  function mount(name, make) {
    for (const root of document.querySelectorAll(`section.${name}:not([data-mounted])`)) {
      root.dataset.mounted = "";
      make(root, JSON.parse(root.querySelector("script[type='application/json']").textContent));
      root.querySelector("[class$='-without']").hidden = true;
    }
  }

  return { FIXED, make, bytes, controls, slider, radios, status, picture, measure, atEveryWidth, mount };
})();
