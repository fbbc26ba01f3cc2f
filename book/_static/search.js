// The page for searching: finds words in the index that heavytail.book.search wrote. Nothing is fetched, so that it
// works on a page that is opened as a file.
document.addEventListener("DOMContentLoaded", async () => {
  const SHOWN = 3; // places of a page before the rest is folded
  const BEFORE = 70; // characters of an excerpt before what was found, and in all
  const LENGTH = 230;

  const field = document.querySelector(".bd-search-container input[name=q]");
  const results = document.createElement("div");
  results.id = "found";
  document.getElementById("search-results").replaceWith(results); // the theme hides headings in its own
  const pages = (await index()).map(([address, title, reference, sections]) => ({
    address,
    title,
    reference,
    folded: fold(title),
    sections: sections.map(([anchor, heading, text]) => ({
      anchor,
      heading,
      text,
      foldedHeading: fold(heading),
      foldedText: fold(text),
    })),
  }));

  async function index() {
    const deflated = Uint8Array.from(atob(window.heavytailIndex), (letter) => letter.charCodeAt(0));
    const text = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(text).json();
  }

  // Small letters without accents; every character stays where it is.
  function fold(text) {
    const plain = (letter) => {
      const bare = letter.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "");
      return bare.length === 1 ? { ı: "i", ł: "l", ø: "o", đ: "d", "’": "'" }[bare] ?? bare : letter;
    };
    return text.replace(/[^\x00-\x7f]/g, plain).replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  }

  // The words of a query, or phrases in quotation marks, as patterns: each is found where a word begins with it.
  function patterns(query) {
    const asked = [...fold(query.normalize("NFC")).matchAll(/["“„]([^"“”„]+)["”“]?|[^\s"“”„]+/g)];
    const words = asked.map((one) => (one[1] ?? one[0].replace(/(?<=[a-z]{3})s$/, "")).trim());
    return words.filter((word) => /[\p{L}\p{N}]/u.test(word)).map(source);
  }
  function source(word) {
    const letters = word.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&").replace(/[-\s\u2010\u2011]+/g, "[-\\s\u2010\u2011]?");
    return (/^[\p{L}\p{N}]/u.test(word) ? "(?<![\\p{L}\\p{N}])" : "") + letters;
  }
  const count = (text, pattern) => [...text.matchAll(new RegExp(pattern, "gu"))].length;

  // A title says more than a heading, a heading more than any number of words in a text.
  function score(page, section, wanted) {
    let sum = 0;
    let own = 0;
    for (const pattern of wanted) {
      const title = count(page.folded, pattern);
      const heading = count(section.foldedHeading, pattern);
      const text = count(section.foldedText, pattern);
      if (!title && !heading && !text) return 0;
      own += heading + text;
      sum += (title && section === page.sections[0] ? 40 : 0) + (heading ? 20 : 0) + Math.min(text, 6);
    }
    if (wanted.length > 1) {
      const together = wanted.join("[\\p{L}\\p{N}]*[^\\p{L}\\p{N}]+");
      sum += 30 * Math.min(1, count(section.foldedHeading, together));
      sum += 10 * Math.min(1, count(section.foldedText, together));
    }
    return own ? sum : 0;
  }

  // Pages with what was found in them, the best first; a page that lists names of functions comes after all others.
  function find(query) {
    const wanted = patterns(query);
    if (!wanted.length) return { wanted, found: [] };
    const found = pages.map((page) => {
      const places = page.sections
        .map((section) => ({ section, score: score(page, section, wanted) }))
        .filter((place) => place.score > 0)
        .sort((a, b) => b.score - a.score);
      return { page, places, score: places.length ? places[0].score + Math.min(places.length, 9) / 10 : 0 };
    });
    const best = found.filter((one) => one.score > 0);
    best.sort((a, b) => a.page.reference - b.page.reference || b.score - a.score);
    return { wanted, found: best };
  }

  function element(name, properties = {}, ...inside) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...inside);
    return made;
  }

  // A text with what was found in it marked.
  function marked(text, folded, wanted) {
    const parts = [];
    let end = 0;
    for (const match of folded.matchAll(new RegExp(`(?:${wanted.join("|")})[\\p{L}\\p{N}]*`, "gu"))) {
      parts.push(text.slice(end, match.index), element("mark", {}, text.slice(match.index, match.index + match[0].length)));
      end = match.index + match[0].length;
    }
    return [...parts, text.slice(end)];
  }

  // Where all words stand together, or else where the first of them stands; else how the section begins.
  function excerpt(section, wanted) {
    const { text, foldedText: folded } = section;
    const together = wanted.join("[\\p{L}\\p{N}]*[^\\p{L}\\p{N}]+");
    const at = [together, wanted.join("|")].map((pattern) => folded.search(new RegExp(pattern, "u"))).find((place) => place >= 0);
    let start = Math.max(0, (at ?? 0) - BEFORE);
    if (start > 0) start = text.indexOf(" ", start) + 1;
    let end = Math.min(text.length, start + LENGTH);
    if (end < text.length) end = Math.max(text.lastIndexOf(" ", end), start + 1);
    const inside = marked(text.slice(start, end), folded.slice(start, end), wanted);
    return element("p", { className: "excerpt" }, start > 0 ? "… " : "", ...inside, end < text.length ? " …" : "");
  }

  function place(page, section, wanted) {
    const link = element("a", { href: `${page.address}#${section.anchor}` }, ...marked(section.heading, section.foldedHeading, wanted));
    return element("li", {}, link, excerpt(section, wanted));
  }

  function shown({ page, places }, wanted) {
    const title = element("a", { href: page.address }, ...marked(page.title, page.folded, wanted));
    const made = element("li", {}, element("h2", {}, title));
    const items = places.map(({ section }) =>
      section === page.sections[0] ? element("li", {}, excerpt(section, wanted)) : place(page, section, wanted),
    );
    made.append(element("ul", {}, ...items.slice(0, SHOWN)));
    const more = items.length - SHOWN;
    if (more > 0) {
      const summary = element("summary", {}, `${more} more ${more === 1 ? "place" : "places"} on this page`);
      made.append(element("details", {}, summary, element("ul", {}, ...items.slice(SHOWN))));
    }
    return made;
  }

  const status = element("p", { className: "found" });
  status.setAttribute("role", "status");
  const list = element("ol");
  results.replaceChildren(status, list);

  function show() {
    const query = field.value.trim();
    const { wanted, found } = find(query);
    const places = found.reduce((sum, one) => sum + one.places.length, 0);
    const counted = (number, thing) => `${number} ${thing}${number === 1 ? "" : "s"}`;
    list.replaceChildren(...found.map((one) => shown(one, wanted)));
    if (!query) status.textContent = "";
    else if (found.length) status.textContent = `“${query}”: ${counted(places, "place")} on ${counted(found.length, "page")}`;
    else status.textContent = `“${query}” was not found. A word is found by its beginning; fewer or shorter words find more.`;
    document.title = query ? `${query}: search` : "Search";
  }

  let waiting;
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 150);
  });
  document.querySelector(".bd-search-container").addEventListener("keydown", (event) => {
    const links = [field, ...results.querySelectorAll(":scope ol > li > h2 a, :scope ul a")].filter((one) => one.checkVisibility());
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const here = links.indexOf(document.activeElement);
    if (step && here >= 0 && links[here + step]) {
      links[here + step].focus();
      event.preventDefault();
    } else if (event.key === "Escape" && document.activeElement !== field) {
      field.focus();
    }
  });
  field.value = new URLSearchParams(location.search).get("q") ?? "";
  show();
});
