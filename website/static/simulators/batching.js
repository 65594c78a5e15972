// Static and continuous batching on a clock that counts steps and rows: the twin of week 7's engine with a StepClock.
// A test holds both equal on random cases. Prompts are read whole here; chunks are a subject of homework 3.
"use strict";

const batching = (() => {
  /**
   * Serve requests {arrival, prompt, output}: a step computes all rows of the prompts that enter, and one row of each
   * sequence that writes, and takes `step` + `row` for each of them.
   * admit: "any time" (continuous) or "when empty" (static; who is done leaves, nobody enters).
   * Returns sequences in the order of arrival, with `begin` and the time of each token, and the steps.
   */
  function serve(requests, {most, admit, step, row}) {
    const sequences = requests.map(request => ({request, begin: null, times: []}));
    sequences.sort((one, other) => one.request.arrival - other.request.arrival);
    const waiting = [...sequences], steps = [];
    let running = [], now = 0;
    while (waiting.length || running.length) {
      if (!running.length) now = Math.max(now, waiting[0].request.arrival);
      let rows = running.length;
      if (admit === "any time" || !running.length) {
        while (waiting.length && waiting[0].request.arrival <= now && running.length < most) {
          const entered = waiting.shift();
          entered.begin = now;
          rows += entered.request.prompt;
          running.push(entered);
        }
      }
      now += step + row * rows;
      for (const sequence of running) sequence.times.push(now);
      steps.push({time: now, rows, sequences: running.length});
      running = running.filter(({request, times}) => times.length < request.output);
    }
    return {sequences, steps};
  }

  /** TTFT: from arrival to the first token, of each sequence. */
  const firstToken = ({sequences}) => sequences.map(({request, times}) => times[0] - request.arrival);

  /** The longest time between two tokens of one sequence; 0 where each writes one only. */
  const longestGap = ({sequences}) => Math.max(0, ...sequences.flatMap(({times}) =>
    times.slice(1).map((time, at) => time - times[at])));

  /** How many tokens were written. */
  const tokens = ({sequences}) => sequences.reduce((sum, {times}) => sum + times.length, 0);

  return {serve, firstToken, longestGap, tokens};
})();

if (typeof module !== "undefined") module.exports = batching;
