// The widget: a field to draw in, what the network sees, and its ten scores.
import { engine } from "./engines.mjs";
import { prepare, SIDE } from "./prepare.mjs";

const $ = (id) => document.getElementById(id);
const pad = $("pad"), pen = pad.getContext("2d", { willReadFrequently: true });
Object.assign(pen, { lineWidth: 22, lineCap: "round", lineJoin: "round" });
let last = null;

function place(event) {
  const box = pad.getBoundingClientRect();
  return [(event.clientX - box.left) * pad.width / box.width, (event.clientY - box.top) * pad.height / box.height];
}

function line(from, to) {
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}

pad.addEventListener("pointerdown", (event) => {
  pad.setPointerCapture(event.pointerId);
  last = place(event);
  line(last, last);
});
pad.addEventListener("pointermove", (event) => {
  if (!last) return;
  const next = place(event);
  line(last, next);
  last = next;
});
pad.addEventListener("pointerup", async () => { last = null; await look(); });
pad.addEventListener("pointercancel", () => { last = null; });
$("engine").addEventListener("change", look);
$("clear").addEventListener("click", () => {
  pen.clearRect(0, 0, pad.width, pad.height);
  show(new Float32Array(SIDE * SIDE), null);
});

function show(numbers, scores) {
  const seen = $("seen").getContext("2d"), image = seen.createImageData(SIDE, SIDE);
  numbers.forEach((value, i) => image.data.set([0, 0, 0, 255 * value], 4 * i));
  seen.putImageData(image, 0, 0);
  $("bars").replaceChildren();
  $("answer").textContent = "?";
  if (!scores) return;
  const highest = Math.max(...scores), powers = scores.map((value) => Math.exp(value - highest));
  const sum = powers.reduce((a, b) => a + b);
  powers.forEach((power, digit) => {
    const row = document.createElement("div"), bar = document.createElement("i");
    row.className = "bar";
    bar.style.width = `${100 * power / sum}px`;
    row.append(`${digit}`, bar, `${Math.round(100 * power / sum)} %`);
    $("bars").append(row);
  });
  $("answer").textContent = scores.indexOf(highest);
}

async function look() {
  const numbers = prepare(pen.getImageData(0, 0, pad.width, pad.height).data, pad.width, pad.height);
  if (numbers.every((value) => value === 0)) return show(numbers, null);
  const run = await engine($("engine").value);
  show(numbers, Array.from(await run(numbers, 1)));
}

// For tests and for the notebook: the same functions, by name.
window.lab = {
  prepare: (rgba, width, height) => Array.from(prepare(Uint8ClampedArray.from(rgba), width, height)),
  run: async (name, numbers, size) => Array.from(await (await engine(name))(Float32Array.from(numbers), size)),
};
