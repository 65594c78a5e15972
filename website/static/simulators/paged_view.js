// The page of the paged KV cache: the blocks of each sequence, beside the room that a reservation would take.
"use strict";

(() => {
  const ROW = 20, LEFT = 84, NARROWEST = 560;
  const sum = numbers => numbers.reduce((a, b) => a + b, 0);

  /** Read the prompts, fork, and let all write `written` tokens, or to their ends. */
  function run({power, prompts, answers, prompt, longest, written}) {
    const size = 2 ** power, random = page.random(3), count = prompts * answers;
    const pool = new paged.BlockPool(2 + count * Math.ceil((prompt + longest) / size), size);
    const sequences = [];
    for (let number = 0; number < prompts; number++) {
      const first = [];
      pool.grow(first, prompt);
      for (let answer = 0; answer < answers; answer++) {
        // Answers end at random: exponential lengths, as in the lecture.
        const length = Math.min(longest, Math.max(1, Math.round(-Math.log(1 - random()) * longest / 3)));
        const table = answer ? pool.fork(first) : first;
        sequences.push({name: `${number + 1}${answers > 1 ? `, answer ${answer + 1}` : ""}`, table, length, stored: prompt});
      }
    }
    let copies = 0;
    for (let token = 1; token <= written; token++) {
      for (const one of sequences) {
        if (one.length < token) continue;
        if (pool.shared(one.table, one.stored)) {
          pool.own(one.table, one.stored);
          copies += 1;
        }
        pool.grow(one.table, one.stored + 1);
        one.stored += 1;
      }
      for (const one of sequences) if (one.length === token) pool.release(one.table);
    }
    return {pool, size, copies, sequences, live: sequences.filter(one => one.table.length)};
  }

  const filled = (one, place, size) => Math.min(size, one.stored - place * size);

  function draw({pool, size, sequences, live}, reserved, wide) {
    const scale = (wide - LEFT - 4) / (Math.ceil(reserved / size) * size), height = ROW * sequences.length + 4;
    const shapes = [];
    for (const [at, one] of sequences.entries()) {
      const y = at * ROW + 2;
      shapes.push(page.svg("text", {x: 0, y: y + 13}, one.name));
      if (!one.table.length) {
        shapes.push(page.svg("text", {x: LEFT + 3, y: y + 13}, "done: holds no block"));
        continue;
      }
      shapes.push(page.svg("rect", {x: LEFT, y, width: reserved * scale, height: ROW - 4, class: "reservation"}));
      for (const [place, block] of one.table.entries()) {
        const x = LEFT + place * size * scale, width = size * scale, tokens = filled(one, place, size);
        const holders = pool.holders.get(block);
        const title = `block ${block}: ${tokens} of ${size} tokens, held by ${holders}`;
        shapes.push(page.svg("rect", {x, y, width, height: ROW - 4, class: "reserved"}, page.svg("title", {}, title)));
        shapes.push(page.svg("rect", {
          x: x + 0.5, y: y + 1, width: Math.max(0.5, tokens * scale - 1), height: ROW - 6,
          class: holders > 1 ? "backward" : "forward",
        }, page.svg("title", {}, title)));
        if (tokens * scale > 22) shapes.push(page.svg("text", {x: x + 3, y: y + 13, class: "inside"}, String(block)));
      }
    }
    const words = `blocks in use: ${pool.holders.size}; sequences that hold them: ${live.length}`;
    return page.picture(wide, height, words, ...shapes);
  }

  const line = (name, room, empty, live) => [name, String(room), String(empty),
    room ? `${(100 * empty / room).toFixed(1)} %` : "–", live ? (empty / live).toFixed(1) : "–"];

  page.simulator("paged", {
    power: {label: "tokens of a block", min: 0, max: 7, value: 4, show: power => String(2 ** power)},
    prompts: {label: "prompts", min: 1, max: 6, value: 3},
    answers: {label: "answers to each prompt", min: 1, max: 4, value: 2},
    prompt: {label: "tokens of a prompt", min: 1, max: 200, value: 40},
    longest: {label: "longest answer, in tokens", min: 16, max: 256, step: 8, value: 128},
    written: {label: "tokens that each answer has by now", min: 0, max: 256, value: 20},
  }, (values, place, numbers) => {
    const now = run(values), {pool, size, live} = now, reserved = values.prompt + values.longest;
    place.replaceChildren(
      page.element("p", {}, `${pool.holders.size} ${pool.holders.size === 1 ? "block" : "blocks"} in use, ` +
        `${now.copies} copied before a write.`),
      draw(now, reserved, Math.max(NARROWEST, place.clientWidth)));
    const stored = live.map(one => one.stored), tokens = sum(stored);
    const apart = sum(stored.map(count => Math.ceil(count / size) * size));
    // A block that several hold is there once: it holds what the one that has written most of it has stored.
    const inBlock = new Map();
    for (const one of live) for (const [at, block] of one.table.entries())
      inBlock.set(block, Math.max(inBlock.get(block) ?? 0, filled(one, at, size)));
    const shared = pool.holders.size * size;
    numbers.replaceChildren(page.table("Room in the cache, in tokens",
      ["way", "taken", "empty", "share empty", "empty per sequence"], [
        line("reserved for the longest answer", reserved * live.length, reserved * live.length - tokens, live.length),
        line("blocks, nothing shared", apart, apart - tokens, live.length),
        line("blocks, a prompt is shared", shared, shared - sum([...inBlock.values()]), live.length),
      ]));
  });
})();
