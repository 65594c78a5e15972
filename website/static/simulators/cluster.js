// A cluster that jobs share, and its schedulers: the twin of week02_distributed/cluster.py and of the policies for jobs
// of fixed size in policies.py. A test holds both equal on random cases.
"use strict";

const cluster = (() => {
  const EPSILON = 1e-9; // seconds: two events closer than this are one
  const QUEUE = 4 * 60; // GPU-seconds after which a job falls into the second of two queues
  const total = counts => [...counts.values()].reduce((a, b) => a + b, 0);
  const compare = (one, other) => one < other ? -1 : Number(one > other);
  const by = (...keys) => (one, other) => keys.reduce((order, key) => order || compare(key(one), key(other)), 0);

  class Deadlock extends Error {}

  /** Progress per second, with one GPU as the unit; nothing until a job {gpus, cost} has all that it asks for. */
  function speed(job, gpus, servers = 1) {
    if (gpus === 0 || gpus < job.gpus) return 0;
    const dear = job.cost * (servers > 1 ? 3 : 1);
    return gpus / (1 + dear * (gpus - 1));
  }

  const spans = ({perServer}, gpus) => new Set(gpus.map(gpu => Math.floor(gpu / perServer))).size;

  /** Which GPUs for the counts: who keeps its count stays, unless a move brings a gang together. */
  function place(machines, active, counts, migrate) {
    let stay = active.filter(a => a.gpus.length && counts.get(a.job.name) === a.gpus.length);
    if (migrate && stay.some(a => spans(machines, a.gpus) > Math.ceil(a.gpus.length / machines.perServer))) stay = [];
    const placed = new Map(stay.map(a => [a.job.name, a.gpus]));
    let free = Array.from({length: machines.servers * machines.perServer}, (_, gpu) => gpu)
      .filter(gpu => !stay.some(a => a.gpus.includes(gpu)));
    const missing = active.filter(a => counts.get(a.job.name) && !placed.has(a.job.name));
    for (const a of missing.sort(by(a => -counts.get(a.job.name)))) {
      const chosen = choose(machines, free, counts.get(a.job.name), a.gpus);
      placed.set(a.job.name, chosen);
      free = free.filter(gpu => !chosen.includes(gpu));
    }
    return placed;
  }

  /** The fullest server that has room for all; of equals, where the job is already. Else the emptiest ones. */
  function choose({servers, perServer}, free, count, held) {
    const room = Array.from({length: servers}, (_, server) =>
      free.filter(gpu => Math.floor(gpu / perServer) === server));
    const fitting = room.filter(gpus => gpus.length >= count);
    const overlap = gpus => gpus.filter(gpu => held.includes(gpu)).length;
    const ordered = fitting.length
      ? fitting.sort(by(gpus => gpus.length, gpus => -overlap(gpus)))
      : room.sort(by(gpus => -gpus.length));
    const first = ordered.flatMap(gpus => gpus.sort(by(gpu => !held.includes(gpu)))).slice(0, count);
    return first.sort(by(gpu => gpu));
  }

  /**
   * Run jobs {name, arrival, gpus, work, cost, deadline} on {servers, perServer} to their ends.
   * slice: seconds after which the policy is asked again; switching: seconds that a resumed or moved job loses.
   * Returns intervals {job, gpus, start, end, speed}, and the end of each job.
   */
  function simulate(jobs, machines, policy, {slice = Infinity, switching = 0, migrate = false} = {}) {
    const gpus = machines.servers * machines.perServer;
    const result = {jobs: [...jobs].sort(by(job => job.arrival, job => job.name)), gpus, intervals: [], ends: new Map()};
    const coming = [...result.jobs];
    if (coming.some(job => job.gpus > gpus)) throw new RangeError(`a job asks for more than ${gpus} GPUs`);
    let active = [], now = 0;
    while (coming.length || active.length) {
      while (coming.length && coming[0].arrival <= now + EPSILON) {
        const job = coming.shift();
        active.push({job, left: job.work, gpus: [], received: 0, ready: 0});
      }
      apply(machines, policy(now, active, gpus), active, now, switching, migrate);
      const then = Math.min(...events(machines, coming, active, now, slice));
      if (!Number.isFinite(then)) throw new Deadlock(`at ${now} s nothing runs and nothing will come`);
      for (const a of active) advance(machines, a, now, then, result);
      for (const a of active) if (a.left <= EPSILON * a.job.work) result.ends.set(a.job.name, then);
      active = active.filter(a => a.left > EPSILON * a.job.work);
      now = then;
    }
    return result;
  }

  function apply(machines, counts, active, now, switching, migrate) {
    const placed = place(machines, active, counts, migrate);
    for (const a of active) {
      const gpus = placed.get(a.job.name) ?? [];
      if (gpus.join() === a.gpus.join()) continue;
      if (gpus.length && a.received) a.ready = now + switching;
      a.gpus = gpus;
    }
  }

  /** When something may happen next. */
  function events(machines, coming, active, now, slice) {
    const found = coming.length ? [coming[0].arrival] : [];
    let running = false;
    for (const a of active) {
      const pace = speed(a.job, a.gpus.length, spans(machines, a.gpus));
      if (!pace) continue;
      running = true;
      found.push(a.ready > now + EPSILON ? a.ready : now + a.left / pace);
    }
    if (running && Number.isFinite(slice)) found.push((Math.floor(now / slice + EPSILON) + 1) * slice);
    return found;
  }

  function advance(machines, a, now, then, {intervals}) {
    if (!a.gpus.length) return;
    const moving = a.ready > now + EPSILON;
    const pace = moving ? 0 : speed(a.job, a.gpus.length, spans(machines, a.gpus));
    if (pace) {
      a.left -= pace * (then - now);
      a.received += then - now;
    }
    intervals.push({job: a.job.name, gpus: a.gpus, start: now, end: then, speed: pace});
  }

  // Policies: (now, active jobs by arrival, GPUs) -> how many GPUs each job gets, a Map by name.

  const held = active => new Map(active.filter(a => a.gpus.length).map(a => [a.job.name, a.job.gpus]));
  const end = (now, a) => now + a.left / speed(a.job, a.job.gpus);

  function fifo(now, active, gpus) {
    const counts = held(active);
    for (const a of active) {
      if (counts.has(a.job.name)) continue;
      if (total(counts) + a.job.gpus > gpus) break;
      counts.set(a.job.name, a.job.gpus);
    }
    return counts;
  }

  function piecemeal(now, active, gpus) {
    const counts = new Map(active.filter(a => a.gpus.length).map(a => [a.job.name, a.gpus.length]));
    const has = a => counts.get(a.job.name) ?? 0;
    while (total(counts) < gpus) {
      const waiting = active.filter(a => has(a) < a.job.gpus);
      if (!waiting.length) break;
      for (const a of waiting.slice(0, gpus - total(counts))) counts.set(a.job.name, has(a) + 1);
    }
    return counts;
  }

  function piecemealWithEviction(now, active, gpus) {
    const counts = piecemeal(now, active, gpus);
    if (!active.length || active.some(a => counts.get(a.job.name) === a.job.gpus)) return counts;
    return new Map([[active[0].job.name, active[0].job.gpus]]);
  }

  /** All that each asks for, in this order; one that does not fit lets smaller ones pass. */
  function wholeGangs(order, gpus) {
    const counts = new Map();
    for (const a of order) if (total(counts) + a.job.gpus <= gpus) counts.set(a.job.name, a.job.gpus);
    return counts;
  }

  const ordered = (...keys) => (now, active, gpus) =>
    wholeGangs([...active].sort(by(...keys.map(key => a => key(a, now)))), gpus);

  /** Who passes the first that waits must not delay it: it ends in time, or uses GPUs that are spare then. */
  function easy(now, active, gpus) {
    const counts = held(active), waiting = active.filter(a => !a.gpus.length);
    while (waiting.length && total(counts) + waiting[0].job.gpus <= gpus) {
      const first = waiting.shift();
      counts.set(first.job.name, first.job.gpus);
    }
    if (!waiting.length) return counts;
    const running = active.filter(a => counts.has(a.job.name)).map(a => [end(now, a), a.job.gpus]);
    let free = gpus - total(counts), start = now;
    for (const [until, released] of running.sort(by(pair => pair[0], pair => pair[1]))) {
      start = until;
      free += released;
      if (free >= waiting[0].job.gpus) break;
    }
    let spare = free - waiting[0].job.gpus;
    for (const a of waiting.slice(1)) {
      const inTime = end(now, a) <= start;
      if (total(counts) + a.job.gpus > gpus || !(inTime || a.job.gpus <= spare)) continue;
      counts.set(a.job.name, a.job.gpus);
      if (!inTime) spare -= a.job.gpus;
    }
    return counts;
  }

  const waits = a => !a.gpus.length;
  const timeSlices = ordered(a => a.received);
  /** The policies of the lecture for jobs of fixed size, each with the options of its simulation. */
  const RIGID = {
    "one worker at a time": [piecemealWithEviction, {switching: 2}],
    "first in, first out": [fifo, {}],
    "backfilling": [ordered(waits), {}],
    "backfilling, EASY": [easy, {}],
    "shortest first": [ordered(waits, (a, now) => end(now, a)), {}],
    "by deadline": [ordered(waits, a => a.job.deadline), {}],
    "by deadline, interrupting": [ordered(a => a.job.deadline), {switching: 2}],
    "time slices": [timeSlices, {slice: 30, switching: 2}],
    "time slices, migration": [timeSlices, {slice: 30, switching: 2, migrate: true}],
    "two queues": [ordered(a => a.received * a.job.gpus >= QUEUE, a => a.job.arrival), {slice: 30, switching: 2}],
  };

  const SIX_JOBS = [[0, 2, 60, 300], [0, 1, 130, 400], [5, 4, 30, 90], [8, 1, 20, 60], [10, 2, 40, 200], [12, 1, 25, 70]]
    .map(([arrival, gpus, seconds, deadline], name) =>
      ({name, arrival, gpus, work: seconds * gpus, cost: 0, deadline}));

  const mean = numbers => numbers.reduce((a, b) => a + b, 0) / numbers.length;
  /** Seconds from arrival to end, by job. */
  const completion = ({jobs, ends}) => jobs.map(job => ends.get(job.name) - job.arrival);
  const makespan = ({ends}) => Math.max(...ends.values());
  /** Share of the jobs that ended after their deadline. */
  const missed = ({jobs, ends}) => mean(jobs.map(job => Number(ends.get(job.name) > job.deadline + EPSILON)));

  /** Share of the GPU-seconds up to the makespan in which a GPU trained. */
  function utilisation(result) {
    const used = result.intervals.filter(piece => piece.speed > 0)
      .reduce((sum, piece) => sum + piece.gpus.length * (piece.end - piece.start), 0);
    return used / (result.gpus * makespan(result));
  }

  return {simulate, piecemeal, RIGID, SIX_JOBS, Deadlock, completion, makespan, missed, utilisation};
})();

if (typeof module !== "undefined") module.exports = cluster;
