// Pipeline schedules: the twin of week04_large_models/schedules.py. A test holds both equal on random cases.
"use strict";

const pipeline = (() => {
  /** Actions are {kind: "F" or "B", stage, microBatch}; a schedule is a list of them for each rank. */
  const action = (kind, stage, microBatch) => ({kind, stage, microBatch});
  const name = a => `${a.kind}${a.stage}/${a.microBatch}`;

  /** Forwards and backwards of each rank, in groups of `ranks` micro-batches (one group where chunks is 1). */
  function passes(ranks, chunks, microBatches) {
    const size = chunks === 1 ? microBatches : ranks;
    const order = [];
    for (let first = 0; first < microBatches; first += size)
      for (let chunk = 0; chunk < chunks; chunk++)
        for (let at = 0; at < size; at++) order.push([chunk, first + at]);
    return Array.from({length: ranks}, (_, rank) => [
      order.map(([chunk, number]) => action("F", chunk * ranks + rank, number)),
      // The loss is behind the last stage, so backwards visit a rank's stages from the last to the first.
      order.map(([chunk, number]) => action("B", (chunks - 1 - chunk) * ranks + rank, number)),
    ]);
  }

  /** `ahead` forwards first, then forward and backward in turn, then the backwards that are left. */
  function inTurn(forwards, backwards, ahead) {
    ahead = Math.min(ahead, forwards.length);
    const steady = forwards.slice(ahead).flatMap((forward, at) => [forward, backwards[at]]);
    return [...forwards.slice(0, ahead), ...steady, ...backwards.slice(forwards.length - ahead)];
  }

  const gpipe = (stages, microBatches) => passes(stages, 1, microBatches).map(both => both.flat());

  const oneFOneB = (stages, microBatches) =>
    passes(stages, 1, microBatches).map((both, rank) => inTurn(...both, stages - 1 - rank));

  function interleaved(ranks, chunks, microBatches) {
    if (microBatches % ranks) throw new Error(`${microBatches} micro-batches do not make whole groups of ${ranks}`);
    if (chunks === 1) return oneFOneB(ranks, microBatches);
    return passes(ranks, chunks, microBatches).map((both, rank) =>
      inTurn(...both, 2 * (ranks - 1 - rank) + (chunks - 1) * ranks));
  }

  /** What must have run before: the neighbour's same pass, and a backward's own forward. */
  function inputs({kind, stage, microBatch}, last) {
    if (kind === "F") return stage ? [action("F", stage - 1, microBatch)] : [];
    return [action("F", stage, microBatch), ...(stage < last ? [action("B", stage + 1, microBatch)] : [])];
  }

  /** For each rank a list of [action, start, end]: every action starts as soon as rank and input are there. */
  function simulate(schedule, forward, backward, transfer) {
    const place = new Map(schedule.flatMap((actions, rank) => actions.map(a => [a.stage, rank])));
    const last = Math.max(...place.keys());
    const ended = new Map();
    const timeline = schedule.map(() => []);
    while (timeline.some((done, rank) => done.length < schedule[rank].length)) {
      const before = ended.size;
      schedule.forEach((actions, rank) => {
        const done = timeline[rank];
        while (done.length < actions.length) {
          const next = actions[done.length];
          const needed = inputs(next, last);
          if (needed.some(one => !ended.has(name(one)))) break;
          const late = needed.map(one => ended.get(name(one)) + transfer * (place.get(one.stage) !== rank));
          const start = Math.max(done.length ? done.at(-1)[2] : 0, ...late);
          ended.set(name(next), start + (next.kind === "F" ? forward : backward));
          done.push([next, start, ended.get(name(next))]);
        }
      });
      if (ended.size === before) throw new Error("the schedule never ends");
    }
    return timeline;
  }

  const end = timeline => Math.max(...timeline.flat().map(([, , at]) => at));

  /** Share of all ranks' time in which they run nothing. */
  function bubble(timeline) {
    let busy = 0;
    for (const [, start, stop] of timeline.flat()) busy += stop - start;
    return 1 - busy / (end(timeline) * timeline.length);
  }

  /** For each rank and after each of its actions: how many forwards still wait for their backward. */
  const inFlight = schedule => schedule.map(actions => {
    let waiting = 0;
    return actions.map(({kind}) => waiting += kind === "F" ? 1 : -1);
  });

  return {gpipe, oneFOneB, interleaved, simulate, end, bubble, inFlight};
})();

if (typeof module !== "undefined") module.exports = pipeline;
