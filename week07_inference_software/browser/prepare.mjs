// From what was drawn to what the network takes; digits.prepare in Python does the same, number for number.

export const SIDE = 8, BITMAP = 32, BLOCK = 4;

/**
 * @param {Uint8ClampedArray} rgba  the pixels of a canvas, four numbers each, row by row
 * @param {number} width            pixels in a row
 * @param {number} height           rows
 * @returns {Float32Array}          64 numbers between 0 and 1
 */
export function prepare(rgba, width, height) {
  const ink = (x, y) => x >= 0 && y >= 0 && x < width && y < height && rgba[4 * (y * width + x) + 3] >= 128;
  let left = width, right = -1, top = height, bottom = -1;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (ink(x, y)) {
        left = Math.min(left, x); right = Math.max(right, x);
        top = Math.min(top, y); bottom = Math.max(bottom, y);
      }
  const result = new Float32Array(SIDE * SIDE);
  if (right < 0) return result;
  const side = Math.max(right - left, bottom - top) + 1;
  const x0 = Math.floor((left + right + 1 - side) / 2), y0 = Math.floor((top + bottom + 1 - side) / 2);
  const place = (i) => Math.floor((2 * i + 1) * side / (2 * BITMAP));
  for (let y = 0; y < BITMAP; y++)
    for (let x = 0; x < BITMAP; x++)
      if (ink(x0 + place(x), y0 + place(y)))
        result[SIDE * Math.floor(y / BLOCK) + Math.floor(x / BLOCK)] += 1 / (BLOCK * BLOCK);
  return result;
}
