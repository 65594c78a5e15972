// Runs the simulators of the site on the cases of a file, and prints what they find: node twins.js CASES.json
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const twin = name => require(path.join(__dirname, "..", "static", "simulators", `${name}.js`));
const [allocator, allreduce, pipeline] = ["allocator", "allreduce", "pipeline"].map(twin);

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

const cases = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const run = {allocator: replay, allreduce: reduce, pipeline: pipe};
const found = Object.fromEntries(Object.entries(cases).map(([name, list]) => [name, list.map(run[name])]));
process.stdout.write(JSON.stringify(found));
