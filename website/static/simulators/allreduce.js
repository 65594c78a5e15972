// All-reduce schedules: the twin of week03_data_parallel/schedules.py. A test holds both equal on random cases.
"use strict";

const allreduce = (() => {
  /** Chunks `start` to `stop` (exclusive) go from `source` to `target`, which adds or replaces its own. */
  const message = (source, target, start, stop, add) => ({source, target, start, stop, add});
  const range = (start, stop, step = 1) => {
    const found = [];
    for (let at = start; at < stop; at += step) found.push(at);
    return found;
  };
  const made = (name, ranks, chunks, rounds) =>
    ({name, ranks, chunks, rounds: rounds.filter(messages => messages.length)});
  const back = rounds => [...rounds].reverse();

  const naive = ranks => made("naive", ranks, 1, [
    range(0, ranks).flatMap(a => range(0, ranks).filter(b => a !== b).map(b => message(a, b, 0, 1, true)))]);

  const driver = ranks => made("driver", ranks, 1, [
    range(1, ranks).map(rank => message(rank, 0, 0, 1, true)),
    range(1, ranks).map(rank => message(0, rank, 0, 1, false))]);

  function tree(ranks) {
    const up = [];
    for (let distance = 1; distance < ranks; distance *= 2)
      up.push(range(distance, ranks, 2 * distance).map(rank => message(rank, rank - distance, 0, 1, true)));
    const down = back(up).map(messages => messages.map(m => message(m.target, m.source, 0, 1, false)));
    return made("tree", ranks, 1, [...up, ...down]);
  }

  function ring(ranks) {
    const rounds = range(0, 2 * (ranks - 1)).map(step => range(0, ranks).map(rank => {
      const chunk = (rank - step % ranks + ranks) % ranks;
      return message(rank, (rank + 1) % ranks, chunk, chunk + 1, step < ranks - 1);
    }));
    return made("ring", ranks, ranks, rounds);
  }

  function butterfly(ranks) {
    let power = 1;
    while (2 * power <= ranks) power *= 2;
    const extra = range(power, ranks);
    const held = new Map(range(0, power).map(rank => [rank, [0, power]]));
    const rounds = [];
    for (let distance = Math.floor(power / 2); distance; distance = Math.floor(distance / 2)) {
      const messages = [];
      for (const [rank, [start, stop]] of held) {
        const middle = Math.floor((start + stop) / 2);
        const lower = !(rank & distance);
        const give = lower ? [middle, stop] : [start, middle];
        held.set(rank, lower ? [start, middle] : [middle, stop]);
        messages.push(message(rank, rank ^ distance, ...give, true));
      }
      rounds.push(messages);
    }
    const doubling = back(rounds).map(messages => messages.map(m => message(m.target, m.source, m.start, m.stop, false)));
    const fold = [extra.map(rank => message(rank, rank - power, 0, power, true))];
    const unfold = [extra.map(rank => message(rank - power, rank, 0, power, false))];
    return made("butterfly", ranks, power, [...fold, ...rounds, ...doubling, ...unfold]);
  }

  function hierarchical(ranks, perHost) {
    if (ranks % perHost) throw new Error(`${ranks} ranks do not fill hosts of ${perHost}`);
    const leaders = range(0, ranks, perHost);
    const between = ring(leaders.length);
    const others = leaders.flatMap(leader => range(1, perHost).map(k => [leader, leader + k]));
    return made("hierarchical", ranks, between.chunks, [
      others.map(([leader, rank]) => message(rank, leader, 0, between.chunks, true)),
      ...between.rounds.map(messages =>
        messages.map(m => message(m.source * perHost, m.target * perHost, m.start, m.stop, m.add))),
      others.map(([leader, rank]) => message(leader, rank, 0, between.chunks, false))]);
  }

  /** Bytes that each rank sends for a tensor of `nbytes`. */
  function bytesSent(schedule, nbytes) {
    const sent = new Array(schedule.ranks).fill(0);
    for (const m of schedule.rounds.flat()) sent[m.source] += (m.stop - m.start) / schedule.chunks * nbytes;
    return sent;
  }

  /** Seconds in the alpha-beta model: a message of m bytes takes alpha + beta m; one out and one in at a time. */
  function cost(schedule, nbytes, alpha, beta, lanes = Infinity) {
    let total = 0;
    for (const messages of schedule.rounds) {
      const sending = new Array(schedule.ranks).fill(0), receiving = new Array(schedule.ranks).fill(0);
      for (const m of messages) {
        const seconds = alpha + beta * (m.stop - m.start) / schedule.chunks * nbytes;
        sending[m.source] += seconds;
        receiving[m.target] += seconds;
      }
      const all = sending.reduce((a, b) => a + b, 0);
      total += Math.max(...sending, ...receiving, all / lanes);
    }
    return total;
  }

  return {naive, driver, tree, ring, butterfly, hierarchical, bytesSent, cost};
})();

if (typeof module !== "undefined") module.exports = allreduce;
