// The page of claims: which machines its columns show, a reader's own results, and the plots.
// A file that is dropped is read here and nowhere else. What it says is only ever set as text.
"use strict";

(() => {
  const WIDEST = 10; // the plots' axis: from a tenth of the bound to ten times it
  const WIDTH = 120, HEIGHT = 22, LARGEST_FILE = 2 ** 21, LONGEST_NAME = 100;
  const weeks = JSON.parse(document.getElementById("claims-data").textContent);
  const told = document.getElementById("told");
  let yours = {}; // week -> "notebook/key" -> the claim's entry in the file

  /** A number as the course's pages print it: four digits, whole ones with thousands separators. */
  function number(value, unit) {
    let digits;
    if (Math.abs(value) < 1e15 && (Number.isInteger(value) || Math.abs(value) >= 1e4)) {
      digits = value.toLocaleString("en-US", {maximumFractionDigits: 0});
    } else {
      digits = String(Number(value.toPrecision(4)));
    }
    return digits + (["", "x", "%"].includes(unit) ? unit : " " + unit);
  }

  /** Where a value stands beside its bound, from 0 to 1 on a logarithmic axis; null where it has no place there. */
  function place(value, bound) {
    if (!(value > 0) || !(bound > 0)) return null;
    const log = Math.log(value / bound) / Math.log(WIDEST);
    return (Math.min(1, Math.max(-1, log)) + 1) / 2;
  }

  function svg(name, attributes, parent) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  }

  function draw(cell, claim, own) {
    cell.replaceChildren();
    const bound = claim.low ?? claim.high;
    if (bound === null || !(bound > 0)) return;
    const x = share => 6 + share * (WIDTH - 12);
    const picture = svg("svg", {width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img"});
    const from = claim.low === null ? 0 : place(claim.low, bound);
    const to = claim.high === null ? 1 : place(claim.high, bound);
    svg("rect", {x: x(from), y: 1, width: Math.max(2, x(to) - x(from)), height: HEIGHT - 2, class: "holds"}, picture);
    svg("line", {x1: x(0.5), x2: x(0.5), y1: 1, y2: HEIGHT - 1, class: "bound"}, picture);
    const values = [];
    for (const [kind, entry] of Object.entries(claim.recorded)) {
      const at = place(entry.value, bound);
      if (at === null) continue;
      values.push(entry.value);
      svg("circle", {cx: x(at), cy: HEIGHT / 2, r: 3.5, class: gpus.has(kind) ? "gpu-dot" : "cpu-dot"}, picture);
    }
    if (own) {
      const at = place(own.measured, bound);
      if (at !== null) {
        values.push(own.measured);
        const [cx, cy] = [x(at), HEIGHT / 2];
        svg("path", {d: `M${cx} ${cy - 7}L${cx + 6} ${cy}L${cx} ${cy + 7}L${cx - 6} ${cy}Z`, class: "your-dot"}, picture);
      }
    }
    if (!values.length) return;
    const shares = values.map(value => number(value / bound, "x")).join(", ");
    picture.setAttribute("aria-label", `measured over bound: ${shares}`);
    cell.append(picture);
  }

  const choices = {cpu: document.getElementById("cpu-kind"), gpu: document.getElementById("gpu-kind")};
  const gpus = new Set(choices.gpu ? [...choices.gpu.options].map(option => option.value) : []);

  function show() {
    const kinds = new Set([...document.querySelectorAll(".choices input:checked")].map(box => box.value));
    for (const row of document.querySelectorAll("tr[data-key]")) {
      const week = row.closest("table").dataset.week;
      const claim = weeks[week][row.dataset.key];
      const own = yours[week]?.[row.dataset.key];
      row.hidden = !kinds.has(row.dataset.kind);
      for (const [name, choice] of Object.entries(choices)) {
        if (choice) row.querySelector("." + name).textContent = claim.recorded[choice.value]?.shown ?? "";
      }
      const cell = row.querySelector(".yours");
      cell.textContent = own ? number(own.measured, own.unit) + (own.holds ? "" : " ✗") : "";
      cell.classList.toggle("missed", Boolean(own) && !own.holds);
      draw(row.querySelector(".plot"), claim, own);
    }
    document.getElementById("forget").disabled = !Object.keys(yours).length;
  }

  /** The claims of a results file as {"notebook/key": entry}. Throws an Error, one sentence, for anything else. */
  function read(text, name) {
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      throw new Error(`${name} is not JSON; drop weekNN/results/KIND.json as \`make record\` wrote it.`);
    }
    const wrong = new Error(`${name} is no results file; drop weekNN/results/KIND.json as \`make record\` wrote it.`);
    if (typeof data?.machine?.kind !== "string" || typeof data.notebooks !== "object" || !data.notebooks) throw wrong;
    const found = {};
    for (const [notebook, page] of Object.entries(data.notebooks)) {
      if (typeof page?.claims !== "object" || !page.claims) throw wrong;
      for (const [key, entry] of Object.entries(page.claims)) {
        if (typeof entry?.measured !== "number" || typeof entry.holds !== "boolean") continue; // it needed a GPU, say
        const unit = typeof entry.unit === "string" ? entry.unit.slice(0, 30) : "";
        found[`${notebook}/${key}`] = {measured: entry.measured, holds: entry.holds, unit};
      }
    }
    return {kind: data.machine.kind.slice(0, LONGEST_NAME), found};
  }

  /** A file does not say of which week it is: of the one that knows most of its claims. */
  function weekOf(found) {
    const known = week => Object.keys(found).filter(key => Object.hasOwn(weeks[week], key)).length;
    const best = Object.keys(weeks).reduce((a, b) => known(b) > known(a) ? b : a);
    return known(best) ? best : null;
  }

  async function take(files) {
    told.replaceChildren();
    for (const file of files) {
      const line = document.createElement("p");
      told.append(line);
      try {
        if (file.size > LARGEST_FILE) throw new Error(`${file.name} is larger than 2 MiB, and no results file is.`);
        const {kind, found} = read(await file.text(), file.name);
        const week = weekOf(found);
        if (!week) throw new Error(`${file.name} holds no claim of this page; is it of another version of the course?`);
        const known = Object.fromEntries(Object.entries(found).filter(([key]) => Object.hasOwn(weeks[week], key)));
        yours[week] = {...yours[week], ...known};
        const held = Object.values(known).filter(entry => entry.holds).length;
        const strangers = Object.keys(found).length - Object.keys(known).length;
        line.textContent = `${file.name}: week ${Number(week.slice(4, 6))}, ${kind}. ` +
          `${held} of ${Object.keys(known).length} claims hold there.` +
          (strangers ? ` ${strangers} others are not on this page.` : "");
      } catch (error) {
        line.textContent = error.message;
        line.className = "wrong";
      }
    }
    show();
  }

  const drop = document.getElementById("drop");
  const input = document.getElementById("results-files");
  input.addEventListener("change", () => take([...input.files]).then(() => { input.value = ""; }));
  document.getElementById("forget").addEventListener("click", () => {
    yours = {};
    told.textContent = "Your machine's numbers are taken out.";
    show();
  });
  // A file that misses the frame must not replace the page.
  for (const type of ["dragover", "drop"]) addEventListener(type, event => event.preventDefault());
  drop.addEventListener("dragover", () => drop.classList.add("over"));
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", event => {
    drop.classList.remove("over");
    take([...event.dataTransfer.files]);
  });
  for (const control of document.querySelectorAll(".choices select, .choices input")) {
    control.addEventListener("change", show);
  }
  show();
})();
