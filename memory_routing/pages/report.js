"use strict";
// Filters the list of scenarios. The address says what is shown: #filter=wrong&category=none&text=budget
(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  const shown = document.getElementById("shown");
  const items = [...document.querySelectorAll("article")];
  const fields = [...form.elements].filter((field) => field.name);
  const texts = new Map();
  const plain = (text) => text.toLowerCase().replace(/\s+/g, " ").trim();
  const textOf = (item) => {
    // What the scenario says, not the words of the page around it.
    if (!texts.has(item)) {
      texts.set(item, plain([...item.querySelectorAll("summary strong, .text")].map((e) => e.textContent).join(" ")));
    }
    return texts.get(item);
  };
  const has = (item, name, value) => value === "" || item.dataset[name].split(" ").includes(value);
  const value = (name) => (form.elements[name] ? form.elements[name].value : "");

  const apply = () => {
    const text = plain(value("text"));
    let count = 0;
    for (const item of items) {
      const wanted = has(item, "problems", value("filter")) && has(item, "categories", value("category")) &&
        has(item, "report", value("report")) && (text === "" || textOf(item).includes(text));
      item.hidden = !wanted;
      if (wanted) count += 1;
    }
    shown.textContent = `${count} of ${items.length} shown`;
  };

  const fromAddress = () => {
    const told = new URLSearchParams(location.hash.slice(1));
    for (const field of fields) {
      field.value = told.get(field.name) ?? "";
      if (field.selectedIndex === -1) field.selectedIndex = 0;
    }
    apply();
  };

  const toAddress = () => {
    const told = new URLSearchParams(fields.filter((field) => field.value).map((field) => [field.name, field.value]));
    // Where the address may not be changed the filter works all the same.
    try { history.replaceState(null, "", `#${told}`); } catch {}
    apply();
  };

  form.hidden = false;
  form.addEventListener("input", toAddress);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(toAddress));
  window.addEventListener("hashchange", fromAddress);
  fromAddress();
})();
