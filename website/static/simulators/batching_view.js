// The page of batching: requests in the places of a batch over time, static above and continuous below.
"use strict";

(() => {
  const ROW = 22, LEFT = 64, NARROWEST = 560;
  const WAYS = [["when empty", "static"], ["any time", "continuous"]];
  const seconds = time => `${Number(time.toPrecision(3))} s`;
  const mean = numbers => numbers.reduce((a, b) => a + b, 0) / numbers.length;

  /** Poisson arrivals, prompts between half and one and a half of their mean, answers of one length or exponential. */
  function drawn({count, gap, prompt, output, lengths}) {
    const random = page.random(7), exponential = () => -Math.log(1 - random());
    let arrival = 0;
    return Array.from({length: count}, () => {
      const between = exponential(), share = random(), answer = exponential();
      arrival += gap * between;
      const tokens = lengths === "equal" ? output : Math.min(8 * output, Math.max(1, Math.round(output * answer)));
      return {arrival, prompt: Math.max(1, Math.round(prompt * (0.5 + share))), output: tokens};
    });
  }

  /** The lowest place that is free when a sequence begins. */
  function places(sequences) {
    const until = [];
    return sequences.map(({begin, times}) => {
      let place = until.findIndex(time => time <= begin);
      if (place < 0) place = until.length;
      until[place] = times.at(-1);
      return place;
    });
  }

  function draw({sequences}, most, end, words, wide) {
    const height = ROW * (most + 1) + 20, scale = (wide - LEFT - 10) / end, x = time => LEFT + time * scale;
    const shapes = [page.svg("text", {x: 0, y: 15}, "arrivals")];
    for (const [at, {request}] of sequences.entries())
      shapes.push(page.svg("path", {d: `M${x(request.arrival)} 4V18`, class: "arrival"},
        page.svg("title", {}, `request ${at + 1} arrives at ${seconds(request.arrival)}`)));
    for (let place = 0; place < most; place++) {
      const y = ROW * (place + 1) + 2;
      shapes.push(page.svg("text", {x: 0, y: y + 14}, `place ${place + 1}`));
      shapes.push(page.svg("rect", {x: LEFT, y, width: end * scale, height: ROW - 4, class: "idle"}));
    }
    for (const [at, place] of places(sequences).entries()) {
      const {request, begin, times} = sequences[at], y = ROW * (place + 1) + 2;
      const title = `request ${at + 1}: a prompt of ${request.prompt}, ${request.output} tokens written`;
      const box = (from, to, kind) => page.svg("rect", {
        x: x(from), y, width: Math.max(0.5, (to - from) * scale - 0.5), height: ROW - 4, class: kind,
      }, page.svg("title", {}, title));
      shapes.push(box(begin, times[0], "backward"), box(times[0], times.at(-1), "forward"));
      if ((times.at(-1) - times[0]) * scale > 18)
        shapes.push(page.svg("text", {x: x(times[0]) + 3, y: y + 14, class: "inside"}, String(at + 1)));
    }
    shapes.push(page.svg("text", {x: LEFT, y: height - 5}, "0"));
    shapes.push(page.svg("text", {x: wide - 10, y: height - 5, "text-anchor": "end"}, seconds(end)));
    return page.picture(wide, height, words, ...shapes);
  }

  page.simulator("batching", {
    count: {label: "requests", min: 1, max: 40, value: 20},
    most: {label: "places of the batch", min: 1, max: 8, value: 4},
    gap: {label: "mean time between arrivals", min: 0, max: 2, step: 0.05, value: 0.3, show: seconds},
    lengths: {label: "lengths of the answers", options: [["mixed", "exponential"], ["equal", "all equal"]]},
    output: {label: "mean answer, in tokens", min: 1, max: 100, value: 40},
    prompt: {label: "mean prompt, in tokens", min: 2, max: 500, step: 2, value: 60},
    step: {label: "time of a step, besides its rows", min: 1, max: 50, value: 20, show: time => `${time} ms`},
    row: {label: "time of each row", min: 0, max: 2, step: 0.05, value: 0.5, show: time => `${time} ms`},
  }, (values, place, numbers) => {
    const clock = {most: values.most, step: values.step / 1000, row: values.row / 1000};
    const requests = drawn(values);
    const found = WAYS.map(([admit, name]) => ({name, report: batching.serve(requests, {...clock, admit})}));
    const last = ({steps}) => steps.at(-1).time;
    const end = Math.max(...found.map(({report}) => last(report)));
    const wide = Math.max(NARROWEST, place.clientWidth);
    place.replaceChildren(...found.flatMap(({name, report}) => [
      page.element("p", {}, `${name[0].toUpperCase()}${name.slice(1)} batching`),
      draw(report, values.most, end, `${name}: the last token after ${seconds(last(report))}`, wide)]));
    const rows = found.map(({name, report}) => {
      const waits = batching.firstToken(report), gap = batching.longestGap(report);
      return [name, seconds(mean(waits)), seconds(Math.max(...waits)), gap ? seconds(gap) : "–",
        String(report.steps.length), String(Number((batching.tokens(report) / last(report)).toPrecision(3))),
        seconds(last(report))];
    });
    numbers.replaceChildren(page.table("Both with these sliders",
      ["batching", "mean TTFT", "longest TTFT", "longest gap", "steps",
        "tokens per second", "time to the last token"], rows));
  });
})();
