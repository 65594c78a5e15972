// The page of pipeline schedules: sliders, a timeline, and what a schedule costs in time and in memory.
"use strict";

(() => {
  const ROW = 26, LEFT = 60, NARROWEST = 560;
  const SCHEDULES = [["gpipe", "GPipe"], ["oneFOneB", "1F1B"], ["interleaved", "interleaved 1F1B"]];

  const digits = value => String(Number(value.toPrecision(4)));

  function made(name, ranks, chunks, microBatches) {
    return name === "interleaved"
      ? pipeline.interleaved(ranks, chunks, microBatches)
      : pipeline[name](ranks, microBatches);
  }

  /** A stage of v chunks is a v-th as thick: its passes take a v-th of the time. */
  function timed(name, {ranks, chunks, micro, backward, transfer}) {
    const thin = name === "interleaved" ? chunks : 1;
    const whole = name === "interleaved" ? Math.ceil(micro / ranks) * ranks : micro;
    const schedule = made(name, ranks, thin, whole);
    const timeline = pipeline.simulate(schedule, 1 / thin, backward / thin, transfer);
    const waiting = Math.max(...pipeline.inFlight(schedule).flat()) / thin;
    return {schedule, timeline, waiting, whole, end: pipeline.end(timeline), bubble: pipeline.bubble(timeline)};
  }

  function draw(timeline, words, room) {
    const wide = Math.max(NARROWEST, room);
    const end = pipeline.end(timeline), height = ROW * timeline.length + 22;
    const scale = (wide - LEFT - 10) / end;
    const shapes = [];
    timeline.forEach((done, rank) => {
      const y = rank * ROW + 2;
      shapes.push(page.svg("text", {x: 0, y: y + 16}, `rank ${rank}`));
      shapes.push(page.svg("rect", {x: LEFT, y, width: end * scale, height: ROW - 4, class: "idle"}));
      for (const [{kind, stage, microBatch}, start, stop] of done) {
        const width = (stop - start) * scale;
        const box = page.svg("rect", {
          x: LEFT + start * scale, y, width: Math.max(0.5, width - 0.5), height: ROW - 4,
          class: kind === "F" ? "forward" : "backward",
        }, page.svg("title", {}, `${kind}${microBatch} of stage ${stage}`));
        shapes.push(box);
        if (width > 15)
          shapes.push(page.svg("text", {x: LEFT + start * scale + 3, y: y + 15, class: "inside"}, String(microBatch)));
      }
    });
    shapes.push(page.svg("text", {x: LEFT, y: height - 5}, "0"));
    shapes.push(page.svg("text", {x: wide - 50, y: height - 5}, digits(end)));
    return page.picture(wide, height, words, ...shapes);
  }

  page.simulator("pipeline", {
    schedule: {label: "schedule", options: SCHEDULES},
    ranks: {label: "ranks", min: 1, max: 8, value: 4},
    micro: {label: "micro-batches", min: 1, max: 32, value: 8},
    chunks: {label: "stages on a rank (interleaved)", min: 1, max: 4, value: 2},
    backward: {label: "time of a backward, in forwards", min: 0.5, max: 3, step: 0.25, value: 2},
    transfer: {label: "time of a message, in forwards", min: 0, max: 1, step: 0.05, value: 0},
  }, (values, place, numbers) => {
    const chosen = timed(values.schedule, values);
    const label = SCHEDULES.find(([name]) => name === values.schedule)[1];
    const words = `${label}: ${values.ranks} ranks, ${chosen.whole} micro-batches, ` +
      `idle ${(100 * chosen.bubble).toFixed(1)} % of the time`;
    place.replaceChildren(draw(chosen.timeline, words, place.clientWidth));
    const rows = SCHEDULES.map(([name, shown]) => {
      const one = timed(name, values);
      return [shown, String(one.whole), digits(one.end), `${(100 * one.bubble).toFixed(1)} %`,
        digits(one.waiting)];
    });
    numbers.replaceChildren(page.table("All three with these sliders",
      ["schedule", "micro-batches", "time, in forwards", "idle", "most activations kept, in stages"], rows));
  });
})();
