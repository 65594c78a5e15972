// The page of all-reduce schedules: who sends to whom in a round, and what each algorithm costs.
"use strict";

(() => {
  const SIZE = 300, RADIUS = 125, BAR = 140;
  const NAMES = ["ring", "butterfly", "tree", "driver", "naive"];

  /** Hosts of the largest size up to `perHost` that divides the ranks. */
  function hosts(ranks, perHost) {
    let size = Math.min(perHost, ranks);
    while (ranks % size) size -= 1;
    return size;
  }

  function schedules(ranks, perHost) {
    const flat = NAMES.map(name => allreduce[name](ranks));
    return [...flat, allreduce.hierarchical(ranks, hosts(ranks, perHost))];
  }

  function draw(schedule, round) {
    const at = rank => {
      const angle = 2 * Math.PI * rank / schedule.ranks - Math.PI / 2;
      return [SIZE / 2 + RADIUS * Math.cos(angle), SIZE / 2 + RADIUS * Math.sin(angle)];
    };
    const messages = schedule.rounds[round] ?? [];
    const head = page.svg("marker", {
      id: "head", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto",
    }, page.svg("path", {d: "M0 0L8 4L0 8Z", fill: "currentColor"}));
    const shapes = [page.svg("defs", {}, head)];
    for (const m of messages) {
      const [x1, y1] = at(m.source), [x2, y2] = at(m.target);
      const length = Math.hypot(x2 - x1, y2 - y1), cut = 16 / length;
      // Bent, so that two messages between the same ranks do not hide each other.
      const bend = [(x1 + x2) / 2 + (y2 - y1) * 0.12, (y1 + y2) / 2 - (x2 - x1) * 0.12];
      const from = [x1 + (bend[0] - x1) * 2 * cut, y1 + (bend[1] - y1) * 2 * cut];
      const to = [x2 + (bend[0] - x2) * 2 * cut, y2 + (bend[1] - y2) * 2 * cut];
      const path = `M${from.join(" ")}Q${bend.join(" ")} ${to.join(" ")}`;
      const what = m.add ? "adds" : "replaces";
      shapes.push(page.svg("path", {d: path, class: m.add ? "arrow" : "arrow replaces", "marker-end": "url(#head)"},
        page.svg("title", {}, `rank ${m.source} to rank ${m.target}: chunks ${m.start} to ${m.stop - 1}, ${what}`)));
    }
    for (let rank = 0; rank < schedule.ranks; rank++) {
      const [x, y] = at(rank);
      shapes.push(page.svg("circle", {cx: x, cy: y, r: 12, class: "reserved"}));
      shapes.push(page.svg("text", {x, y: y + 4, "text-anchor": "middle"}, String(rank)));
    }
    const words = messages.map(m => `${m.source} to ${m.target}`).join(", ");
    return page.picture(SIZE, SIZE, `Round ${round + 1} of ${schedule.rounds.length}: ${words || "nothing"}`, ...shapes);
  }

  const bar = (share, time) => page.picture(BAR, 14, page.seconds(time),
    page.svg("rect", {x: 0, y: 2, width: Math.max(1, share * BAR), height: 10, class: "forward"}));

  page.simulator("allreduce", {
    algorithm: {label: "algorithm to draw", options: [...NAMES, "hierarchical"].map(name => [name, name])},
    round: {label: "round to draw", min: 1, max: 30, value: 1},
    ranks: {label: "ranks", min: 2, max: 16, value: 8},
    host: {label: "ranks of a host (hierarchical)", min: 1, max: 8, value: 4},
    size: {label: "tensor", min: 10, max: 30, value: 24, show: power => page.bytes(2 ** power)},
    alpha: {label: "latency of a message", min: -7, max: -3, step: 0.1, value: -5,
      show: power => page.seconds(10 ** power)},
    speed: {label: "bandwidth", min: 8, max: 12, step: 0.1, value: 10,
      show: power => `${Number((10 ** power / 1e9).toPrecision(2))} GB/s`},
  }, (values, place, numbers) => {
    const all = schedules(values.ranks, values.host);
    const chosen = all.find(one => one.name === values.algorithm);
    const round = Math.min(values.round, chosen.rounds.length) - 1;
    place.replaceChildren(
      page.element("p", {}, `Round ${round + 1} of ${chosen.rounds.length}. Full arrows add, broken ones replace.`),
      draw(chosen, round));
    const nbytes = 2 ** values.size, beta = 1 / 10 ** values.speed;
    const times = all.map(one => allreduce.cost(one, nbytes, 10 ** values.alpha, beta));
    const slowest = Math.max(...times), least = Math.min(...times);
    const rows = all.map((one, at) => {
      const sent = allreduce.bytesSent(one, nbytes);
      return [one.name + (times[at] === least ? " (fastest)" : ""), String(one.rounds.length),
        page.bytes(sent.reduce((a, b) => a + b, 0)), page.bytes(Math.max(...sent)), page.seconds(times[at]),
        bar(times[at] / slowest, times[at])];
    });
    numbers.replaceChildren(page.table("In the alpha-beta model, with these sliders",
      ["algorithm", "rounds", "sent by all", "most sent by one rank", "time", "beside the slowest"], rows));
  });
})();
