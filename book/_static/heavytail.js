// A button before every block of BibTeX that puts it on the clipboard.
document.addEventListener("DOMContentLoaded", () => {
  for (const block of document.querySelectorAll(".highlight-bibtex")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy-bibtex";
    button.textContent = "Copy BibTeX";
    button.addEventListener("click", async () => {
      const text = block.querySelector("pre").textContent.trim() + "\n";
      let said = "Copied";
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        const range = document.createRange(); // no clipboard on a page opened as a file: mark it, ready for Ctrl-C
        range.selectNodeContents(block.querySelector("pre"));
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        said = document.execCommand("copy") ? "Copied" : "Marked: press Ctrl-C";
      }
      button.textContent = said;
      setTimeout(() => (button.textContent = "Copy BibTeX"), 2000);
    });
    block.before(button);
  }
});
