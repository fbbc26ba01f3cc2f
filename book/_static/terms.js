// Shows what a word of the glossary means: while the pointer is on it, while it has the focus, or after a tap. The
// definitions stand in the page itself, so nothing is loaded. A second tap, a click or Enter leads to the glossary.
document.addEventListener("DOMContentLoaded", () => {
  const box = document.createElement("div");
  box.className = "term-definition";
  box.id = "definition";
  box.setAttribute("role", "tooltip");
  box.hidden = true;
  document.body.append(box);
  let shown = null; // the word whose definition is seen
  let leaving; // a moment in which the pointer may move from the word into the box

  const hide = () => {
    clearTimeout(leaving);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    box.hidden = true;
  };
  const show = (word) => {
    clearTimeout(leaving);
    if (shown === word) return;
    hide();
    shown = word;
    box.textContent = word.dataset.definition;
    box.hidden = false;
    word.setAttribute("aria-describedby", box.id);
    const line = word.getClientRects()[0] ?? word.getBoundingClientRect();
    const width = document.documentElement.clientWidth;
    const below = line.bottom + 6;
    const above = line.top - box.offsetHeight - 6;
    const fits = below + box.offsetHeight <= innerHeight || above < 0;
    box.style.left = `${scrollX + Math.max(8, Math.min(line.left, width - box.offsetWidth - 8))}px`;
    box.style.top = `${scrollY + (fits ? below : above)}px`;
  };
  const leave = () => {
    clearTimeout(leaving);
    leaving = setTimeout(() => shown === document.activeElement || hide(), 200);
  };

  for (const word of document.querySelectorAll("a.term")) {
    let tapped = false; // by a finger that had not seen the definition yet
    word.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(word));
    word.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && leave());
    word.addEventListener("pointerdown", (event) => (tapped = event.pointerType !== "mouse" && shown !== word));
    word.addEventListener("focus", () => show(word));
    word.addEventListener("blur", leave);
    word.addEventListener("click", (event) => {
      if (!tapped) return;
      tapped = false;
      event.preventDefault();
      show(word);
    });
  }
  box.addEventListener("pointerenter", () => clearTimeout(leaving));
  box.addEventListener("pointerleave", leave);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("a.term, .term-definition")) hide();
  });
});
