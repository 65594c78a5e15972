// Runs the simulators of the site on the cases of a file, and prints what they find: node twins.js CASES.json
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const twin = name => require(path.join(__dirname, "..", "static", "simulators", `${name}.js`));
const [allocator, allreduce, batching, cluster, paged, pipeline] =
  ["allocator", "allreduce", "batching", "cluster", "paged", "pipeline"].map(twin);

function replay({capacity, trace}) {
  const device = new allocator.CachingAllocator(capacity ?? Infinity);
  const live = new Map(), seen = [];
  for (const [kind, name, nbytes, stream] of trace) {
    let answer = null;
    if (kind === "malloc") {
      try {
        answer = device.malloc(nbytes, stream);
        live.set(name, answer);
      } catch (error) {
        if (!(error instanceof allocator.OutOfMemory)) throw error;
        answer = "out of memory";
      }
    } else if (kind === "free" && live.has(name)) {
      device.free(live.get(name));
      live.delete(name);
    } else if (kind === "empty_cache") {
      answer = device.emptyCache();
    }
    seen.push([answer, device.stats()]);
  }
  return seen;
}

function reduce({name, ranks, perHost, nbytes, alpha, beta, lanes}) {
  const schedule = name === "hierarchical" ? allreduce.hierarchical(ranks, perHost) : allreduce[name](ranks);
  const rounds = schedule.rounds.map(messages => messages.map(m => [m.source, m.target, m.start, m.stop, m.add]));
  return {
    chunks: schedule.chunks,
    rounds,
    sent: allreduce.bytesSent(schedule, nbytes),
    cost: allreduce.cost(schedule, nbytes, alpha, beta, lanes ?? Infinity),
  };
}

function pipe({name, ranks, chunks, microBatches, forward, backward, transfer}) {
  const schedule = name === "interleaved"
    ? pipeline.interleaved(ranks, chunks, microBatches)
    : {gpipe: pipeline.gpipe, one_f_one_b: pipeline.oneFOneB}[name](ranks, microBatches);
  const timeline = pipeline.simulate(schedule, forward, backward, transfer);
  return {
    timeline: timeline.map(done => done.map(([a, start, stop]) => [a.kind, a.stage, a.microBatch, start, stop])),
    bubble: pipeline.bubble(timeline),
    inFlight: pipeline.inFlight(schedule),
  };
}

function serve({requests, options}) {
  const report = batching.serve(requests, options);
  return {
    times: report.sequences.map(({times}) => times),
    steps: report.steps.map(({time, rows, sequences}) => [time, rows, sequences]),
    firstToken: batching.firstToken(report),
    longestGap: batching.longestGap(report),
    tokens: batching.tokens(report),
  };
}

function lend({blocks, size, trace}) {
  const pool = new paged.BlockPool(blocks, size);
  const tables = new Map(), stored = new Map(), seen = [];
  for (const [kind, name, number] of trace) {
    let answer = null;
    try {
      if (kind === "begin") {
        tables.set(name, []);
        stored.set(name, 0);
        pool.grow(tables.get(name), number);
        stored.set(name, number);
      } else if (kind === "write") {
        const table = tables.get(name), at = stored.get(name);
        if (pool.shared(table, at)) answer = pool.own(table, at);
        pool.grow(table, at + 1);
        stored.set(name, at + 1);
      } else if (kind === "fork") {
        tables.set(number, pool.fork(tables.get(name)));
        stored.set(number, stored.get(name));
      } else if (kind === "shrink") {
        stored.set(name, Math.min(number, stored.get(name)));
        pool.shrink(tables.get(name), stored.get(name));
      } else {
        pool.release(tables.get(name));
        stored.set(name, 0);
      }
    } catch (error) {
      if (!(error instanceof paged.OutOfBlocks)) throw error;
      answer = "out of blocks";
    }
    const holders = [...pool.holders].sort(([one], [other]) => one - other);
    seen.push([answer, [...tables.values()].map(table => [...table]), [...pool.free], holders]);
  }
  const held = [...stored.values()].filter(tokens => tokens);
  return {seen, waste: held.length ? paged.waste(held, Math.max(...held), size) : null};
}

function share({jobs, servers, perServer, policy}) {
  const [does, options] = policy === "piecemeal" ? [cluster.piecemeal, {}] : cluster.RIGID[policy];
  try {
    const result = cluster.simulate(jobs ?? cluster.SIX_JOBS, {servers, perServer}, does, options);
    return {
      intervals: result.intervals.map(({job, gpus, start, end, speed}) => [job, gpus, start, end, speed]),
      ends: [...result.ends],
      completion: cluster.completion(result),
      makespan: cluster.makespan(result),
      missed: cluster.missed(result),
      busy: cluster.utilisation(result),
    };
  } catch (error) {
    if (!(error instanceof cluster.Deadlock)) throw error;
    return "deadlock";
  }
}

const cases = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const run = {allocator: replay, allreduce: reduce, batching: serve, cluster: share, paged: lend, pipeline: pipe};
const found = Object.fromEntries(Object.entries(cases).map(([name, list]) => [name, list.map(run[name])]));
process.stdout.write(JSON.stringify(found));
