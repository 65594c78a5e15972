// The page of progress: draws the file that `grader progress --json` writes, as the terminal's table.
// The file is read here and nowhere else. What it says is only ever set as text; links come from the site's own list.
"use strict";

(() => {
  const FORMAT = "grader progress 1", LARGEST_FILE = 2 ** 20, MOST = 500, LONGEST = 1000;
  const pages = JSON.parse(document.getElementById("progress-pages").textContent); // assignment -> part -> page
  const told = document.getElementById("told");
  const place = document.getElementById("copies");
  const forget = document.getElementById("forget");
  const REMEDY = "drop the file that `.venv/bin/grader progress --json FILE` writes.";

  /** Points without needless decimals: four digits, as the terminal has them. */
  const number = value => String(Number(value.toPrecision(4)));

  /** Hours in words: whole ones, and under two of them tens of minutes. */
  const hours = value => value >= 2 ? `${value.toFixed(0)} hours` : `${Math.max(1, Math.round(value * 6)) * 10} minutes`;

  const isText = value => typeof value === "string" && value.length <= LONGEST;
  const isAmount = value => typeof value === "number" && value >= 0 && value < 1e6;
  const isList = value => Array.isArray(value) && value.length <= MOST;
  const isObject = value => typeof value === "object" && value !== null;

  function isExercise(one) {
    return isObject(one) && Number.isInteger(one.part) && isText(one.name) && isText(one.state) &&
      [one.worth, one.earned, one.hours_left].every(isAmount) && one.earned <= one.worth;
  }

  function isCopy(copy) {
    return isObject(copy) && isText(copy.assignment) && isText(copy.title) && isAmount(copy.hours) &&
      isObject(copy.parts) && isText(copy.advice) && isText(copy.command) && isList(copy.exercises) &&
      copy.exercises.length > 0 && copy.exercises.every(isExercise);
  }

  /** The copies that a file tells of. Throws an Error, one sentence, for anything else. */
  function read(text, name) {
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      throw new Error(`${name} is not JSON; ${REMEDY}`);
    }
    if (isObject(data) && isText(data.format) && data.format.startsWith("grader progress") && data.format !== FORMAT) {
      throw new Error(`${name} is of another version of the course; write it again with the grader of this one.`);
    }
    if (data?.format !== FORMAT) throw new Error(`${name} is no progress file; ${REMEDY}`);
    if (!isList(data.copies) || !data.copies.length || !data.copies.every(isCopy)) {
      throw new Error(`${name} is damaged or was changed; write it again: .venv/bin/grader progress --json FILE`);
    }
    return data.copies;
  }

  function add(parent, name, text = "", className = "") {
    const element = document.createElement(name);
    element.textContent = text;
    if (className) element.className = className;
    parent.append(element);
    return element;
  }

  /** Words that lead to a page of this site, where it has that page. */
  function addLink(parent, words, page) {
    if (!page) return add(parent, "span", words);
    const link = add(parent, "a", words);
    link.href = page;
    return link;
  }

  const known = (copy, part) =>
    Object.hasOwn(pages, copy.assignment) && Object.hasOwn(pages[copy.assignment], part) ? pages[copy.assignment][part] : "";
  const sum = (list, name) => list.reduce((total, one) => total + one[name], 0);

  function draw(copy) {
    const section = add(place, "section");
    addLink(add(section, "h2"), `${copy.title} (${copy.assignment})`, known(copy, ""));
    const asked = copy.exercises.filter(one => !one.extra);
    const [earned, worth] = [sum(asked, "earned"), sum(asked, "worth")];
    const extra = sum(copy.exercises.filter(one => one.extra), "earned");
    const finished = asked.filter(one => one.state === "done").length;
    let head = `${number(earned)} of ${number(worth)} points${extra ? ` and ${number(extra)} extra` : ""}; ` +
      `done: ${finished} of ${asked.length} exercises.`;
    const left = sum(asked, "hours_left");
    if (copy.hours) head += ` Of the ${number(copy.hours)} hours that the texts tell to plan, ` +
      `${left ? `about ${hours(left)} are` : "none is"} left.`;
    add(section, "p", head);
    const bar = add(section, "progress");
    bar.max = worth || 1;
    bar.value = earned;
    bar.setAttribute("aria-label", `points of ${copy.title}`);
    const following = copy.exercises.find(one => one.next === true);
    const advice = add(section, "p", "", "advice");
    advice.append(`${copy.advice} `);
    if (copy.command) add(advice, "code", copy.command, "docutils literal notranslate");
    advice.append(" ");
    if (following && known(copy, following.part)) addLink(advice, "Read its text.", known(copy, following.part));
    const wrapper = add(section, "div", "", "table-wrapper");
    const table = add(wrapper, "table", "", "docutils progress");
    const row = add(add(table, "thead"), "tr");
    for (const name of ["exercise", "points", "state"]) add(row, "th", name).scope = "col";
    const parts = [...new Set(copy.exercises.map(one => one.part))];
    for (const part of parts) {
      const body = add(table, "tbody");
      const title = add(add(body, "tr", "", "part"), "th");
      title.colSpan = 3;
      title.scope = "rowgroup";
      const words = Object.hasOwn(copy.parts, part) && isText(copy.parts[part]) ? `: ${copy.parts[part]}` : "";
      addLink(title, `Part ${part}${words}`, known(copy, part));
      for (const one of copy.exercises.filter(one => one.part === part)) {
        const line = add(body, "tr", "", one === following ? "next" : "");
        add(line, "th", one.name).scope = "row";
        add(line, "td", `${number(one.earned)}/${number(one.worth)}${one.extra ? " extra" : ""}`);
        const state = add(line, "td");
        add(state, "span", one.state, `state ${one.state.replaceAll(" ", "-")}`);
        if (one.report) state.append(", and for a person to read");
        else if (one.state !== "not checked yet") state.append(one.hidden ? ", hidden checks too" : ", by the public checks");
        if (one === following) add(state, "b", " ← next");
      }
    }
  }

  function clear() {
    place.replaceChildren();
    told.replaceChildren();
    forget.disabled = true;
  }

  async function take(files) {
    clear();
    const line = add(told, "p");
    try {
      if (files.length !== 1) throw new Error(`${files.length} files were dropped; drop one.`);
      const [file] = files;
      if (file.size > LARGEST_FILE) throw new Error(`${file.name} is larger than 1 MiB, and no progress file is; ${REMEDY}`);
      const copies = read(await file.text(), file.name);
      place.replaceChildren(); // another file may have been dropped meanwhile
      copies.forEach(draw);
      forget.disabled = false;
      const when = new Date(file.lastModified).toLocaleString("en-GB", {dateStyle: "medium", timeStyle: "short"});
      line.textContent = `${file.name}, written ${when}. After further checks, write and drop it again.`;
    } catch (error) {
      line.textContent = error.message;
      line.className = "wrong";
    }
    dispatchEvent(new Event("resize")); // site.js looks anew which tables scroll
  }

  const drop = document.getElementById("drop");
  const input = document.getElementById("progress-file");
  // Emptied before a choice, so that the same file, written anew, is a change; after it the name stays.
  input.addEventListener("click", () => { input.value = ""; });
  input.addEventListener("change", () => {
    if (input.files.length) take([...input.files]);
  });
  forget.addEventListener("click", () => {
    clear();
    input.value = "";
    told.textContent = "Your progress is taken out of this page.";
  });
  // A file that misses the frame must not replace the page.
  for (const type of ["dragover", "drop"]) addEventListener(type, event => event.preventDefault());
  drop.addEventListener("dragover", () => drop.classList.add("over"));
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", event => {
    drop.classList.remove("over");
    input.value = "";
    take([...event.dataTransfer.files]);
  });
})();
