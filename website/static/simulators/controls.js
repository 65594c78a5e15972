// What every simulator's page needs: sliders with their values, a table, and pictures in SVG. Only text is ever set.
"use strict";

const page = (() => {
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function svg(name, attributes = {}, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  /** A picture with words for those who cannot see it. */
  const picture = (width, height, words, ...children) =>
    svg("svg", {width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words}, ...children);

  /** A slider {label, min, max, step, value, show} or a choice {label, options}; returns [label element, its value]. */
  function control(id, spec, changed) {
    const input = spec.options
      ? element("select", {id}, ...spec.options.map(([value, words]) => element("option", {value}, words)))
      : element("input", {id, type: "range", min: spec.min, max: spec.max, step: spec.step ?? 1, value: spec.value});
    const shown = element("output", {for: id});
    const value = () => spec.options ? input.value : Number(input.value);
    const tell = () => {
      if (spec.options) return;
      shown.textContent = spec.show ? spec.show(value()) : String(value());
      input.setAttribute("aria-valuetext", shown.textContent);
    };
    input.addEventListener("input", () => { tell(); changed(); });
    tell();
    return [element("label", {for: id}, spec.label, ...(spec.options ? [] : [shown]), input), value];
  }

  /** Controls above a picture and a table; `draw(values, picture, table)` runs now and after every change. */
  function simulator(id, specs, draw) {
    const root = document.getElementById(id);
    const place = element("div", {class: "picture"}), numbers = element("div", {class: "numbers"});
    const values = {};
    const again = () => {
      const now = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value()]));
      draw(now, place, numbers);
      letScroll(); // what site.js does for everything that is wider than the page
    };
    const panel = element("div", {class: "controls"});
    for (const [name, spec] of Object.entries(specs)) {
      const [label, value] = control(`${id}-${name}`, spec, again);
      values[name] = value;
      panel.append(label);
    }
    root.replaceChildren(panel, place, numbers);
    addEventListener("load", again);
    again();
    return again;
  }

  function table(caption, heads, rows) {
    const row = (cells, name) => element("tr", {}, ...cells.map((cell, at) =>
      element(at && name === "td" ? "td" : "th", {scope: name === "th" ? "col" : "row"}, cell)));
    for (const line of rows) if (line.length !== heads.length) throw new Error("a row of another length");
    const made = element("table", {}, element("caption", {}, caption),
      element("thead", {}, row(heads, "th")), element("tbody", {}, ...rows.map(cells => row(cells, "td"))));
    for (const cell of made.querySelectorAll("td")) cell.removeAttribute("scope");
    return element("div", {class: "table-wrapper"}, made);
  }

  function bytes(count) {
    for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]])
      if (count >= size) return `${Number((count / size).toPrecision(3))} ${unit}`;
    return `${count} bytes`;
  }

  function seconds(time) {
    for (const [size, unit] of [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]])
      if (time >= size) return `${Number((time / size).toPrecision(3))} ${unit}`;
    return `${Number((time / 1e-9).toPrecision(3))} ns`;
  }

  /** Numbers from 0 to 1 that are the same for everybody who sees the page (mulberry32). */
  function random(seed) {
    let state = seed;
    return () => {
      state = state + 0x6d2b79f5 | 0;
      let mixed = Math.imul(state ^ state >>> 15, 1 | state);
      mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed;
      return ((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32;
    };
  }

  return {element, svg, picture, control, simulator, table, bytes, seconds, random};
})();
