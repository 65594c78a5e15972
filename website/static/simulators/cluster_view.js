// The page of cluster schedulers: who holds which GPU when, under each policy.
"use strict";

(() => {
  const ROW = 24, LEFT = 60, NARROWEST = 560, COLOURS = 3;
  const MACHINES = [["1x4", "one server of 4"], ["2x4", "two servers of 4"], ["1x8", "one server of 8"],
    ["4x2", "four servers of 2"]];
  const ASKED = "This is asked every 30 seconds, and whenever a job comes or goes.";
  const KNOWS = "It knows how long jobs take on one server.";
  const SAYS = {
    "one worker at a time": "No gangs: a free GPU goes to the next worker that waits, of whichever job. In a " +
      "deadlock all give back, and the first job is served whole.",
    "first in, first out": "Whole gangs; nobody passes the first who waits.",
    "backfilling": "Who does not fit lets whoever fits pass.",
    "backfilling, EASY": `Others pass the first who waits only if it starts no later for it. ${KNOWS}`,
    "shortest first": `Of those who wait and fit, the one that needs least time starts. ${KNOWS}`,
    "by deadline": "Of those who wait and fit, the one with the earliest deadline starts.",
    "by deadline, interrupting": "By deadline, and an earlier one interrupts the others.",
    "time slices": `Who has trained least comes first. ${ASKED}`,
    "time slices, migration": "Time slices, and a gang that spans more servers than it must is brought together.",
    "two queues": `Who has used less than 240 GPU-seconds comes first, and interrupts the others. ${ASKED}`,
  };
  const seconds = time => `${Math.round(time)} s`;
  const mean = numbers => numbers.reduce((a, b) => a + b, 0) / numbers.length;

  /** Most jobs are short and small, a few long and large; as random_jobs in the module, with other random numbers. */
  function drawn(count, load, gpus) {
    const random = page.random(7);
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    let arrival = 0, asked = 0;
    const jobs = Array.from({length: count}, (_, name) => {
      arrival -= Math.log(1 - random());
      const place = random(), size = Math.min(gpus, place < 0.5 ? 1 : place < 0.7 ? 2 : place < 0.9 ? 4 : 8);
      const duration = 120 * Math.exp(1.2 * normal()), cost = 0.02 + 0.13 * random(), slack = 1.5 + 4.5 * random();
      asked += duration * size;
      return {name, arrival, gpus: size, work: duration * size / (1 + cost * (size - 1)), cost, duration, slack};
    });
    const scale = asked / (load * gpus * arrival);
    return jobs.map(({duration, slack, ...job}) =>
      ({...job, arrival: job.arrival * scale, deadline: job.arrival * scale + duration * slack}));
  }

  /** Pieces that follow each other without a change are drawn as one. */
  function pieces(intervals) {
    const open = new Map(), found = [];
    for (const {job, gpus, start, end, speed} of intervals) {
      for (const gpu of gpus) {
        const last = open.get(gpu), moves = speed > 0;
        if (last && last.job === job && last.moves === moves && last.end === start) {
          last.end = end;
          continue;
        }
        const piece = {job, gpu, start, end, moves};
        open.set(gpu, piece);
        found.push(piece);
      }
    }
    return found;
  }

  function draw(result, machines, end, words, wide) {
    const height = ROW * (result.gpus + 1) + 20, scale = (wide - LEFT - 10) / end, x = time => LEFT + time * scale;
    const shapes = [page.svg("text", {x: 0, y: 16}, "arrivals")];
    for (const job of result.jobs)
      shapes.push(page.svg("path", {d: `M${x(job.arrival)} 4V18`, class: "arrival"},
        page.svg("title", {}, `job ${job.name} arrives at ${seconds(job.arrival)}, and asks for ${job.gpus} GPUs`)));
    const y = gpu => ROW * (gpu + 1) + 2 + (gpu % machines.perServer ? 0 : 2); // a little room between servers
    const tall = gpu => ROW - (gpu % machines.perServer ? 3 : 5);
    for (let gpu = 0; gpu < result.gpus; gpu++) {
      shapes.push(page.svg("text", {x: 0, y: y(gpu) + 14}, `GPU ${gpu}`));
      shapes.push(page.svg("rect", {x: LEFT, y: y(gpu), width: end * scale, height: tall(gpu), class: "idle"}));
    }
    for (const {job, gpu, start, end: until, moves} of pieces(result.intervals)) {
      const width = Math.max(0.5, (until - start) * scale - 0.7);
      shapes.push(page.svg("rect", {
        x: x(start), y: y(gpu), width, height: tall(gpu), class: moves ? `job job-${job % COLOURS}` : "reserved",
      }, page.svg("title", {}, `job ${job}, ${seconds(start)} to ${seconds(until)}${moves ? "" : ", does not train"}`)));
      if (width > 7 * String(job).length + 4)
        shapes.push(page.svg("text", {x: x(start) + 3, y: y(gpu) + 14, class: moves ? "inside" : ""}, String(job)));
    }
    shapes.push(page.svg("text", {x: LEFT, y: height - 3}, "0"));
    shapes.push(page.svg("text", {x: wide - 10, y: height - 3, "text-anchor": "end"}, seconds(end)));
    return page.picture(wide, height, words, ...shapes);
  }

  const names = Object.keys(cluster.RIGID);

  page.simulator("cluster", {
    policy: {label: "policy to draw", options: [...names.slice(1), names[0]].map(name => [name, name])},
    trace: {label: "jobs", options: [["six", "six jobs of the lecture"], ["made", "made-up jobs"]]},
    machines: {label: "cluster", options: MACHINES},
    count: {label: "made-up jobs", min: 2, max: 24, value: 16},
    load: {label: "load of the made-up jobs", min: 0.2, max: 2, step: 0.1, value: 0.9},
  }, (values, place, numbers) => {
    const [servers, perServer] = values.machines.split("x").map(Number);
    const machines = {servers, perServer};
    const jobs = values.trace === "six" ? cluster.SIX_JOBS : drawn(values.count, values.load, servers * perServer);
    const found = names.map(name => ({name, result: cluster.simulate(jobs, machines, ...cluster.RIGID[name])}));
    const chosen = found.find(({name}) => name === values.policy);
    const end = Math.max(...found.map(({result}) => cluster.makespan(result)));
    const words = `${chosen.name}: ${jobs.length} jobs, the last one ends after ${seconds(cluster.makespan(chosen.result))}`;
    for (const name of ["count", "load"]) document.getElementById(`cluster-${name}`).disabled = values.trace === "six";
    const {switching} = cluster.RIGID[chosen.name][1];
    const loses = switching ? ` A job that is resumed or moved loses ${switching} seconds.` : "";
    place.replaceChildren(page.element("p", {}, SAYS[chosen.name] + loses),
      draw(chosen.result, machines, end, words, Math.max(NARROWEST, place.clientWidth)));
    const rows = found.map(({name, result}) => {
      const times = cluster.completion(result);
      return [name, seconds(mean(times)), seconds(Math.max(...times)), `${(100 * cluster.missed(result)).toFixed(0)} %`,
        `${(100 * cluster.utilisation(result)).toFixed(0)} %`, seconds(cluster.makespan(result))];
    });
    numbers.replaceChildren(page.table("All policies",
      ["policy", "mean completion time", "longest", "deadlines missed", "utilisation", "all done after"], rows));
  });
})();
