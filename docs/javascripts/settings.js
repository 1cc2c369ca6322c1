// A filter above the tables of the Settings page: rows stay that contain every word, and empty sections disappear.
document.addEventListener("DOMContentLoaded", () => {
  const title = document.querySelector("article h1#settings");
  if (!title) return;
  const tables = [...document.querySelectorAll("article table")];
  const field = document.createElement("input");
  field.type = "search";
  field.className = "settings-filter";
  field.placeholder = "Filter the settings, for example: ema, new run, sampling";
  field.setAttribute("aria-label", "Filter the settings");
  title.after(field);
  title.parentElement.classList.add("settings");

  const headingOf = (element) => {
    while (element && element.tagName !== "H2") element = element.previousElementSibling;
    return element;
  };
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const table of tables) {
      const block = table.closest("article > *");
      const heading = headingOf(block);
      const section = heading ? heading.textContent.toLowerCase() : "";
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const text = section + " " + row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      block.hidden = shown === 0;
      if (heading) heading.hidden = shown === 0;
    }
  });
});
