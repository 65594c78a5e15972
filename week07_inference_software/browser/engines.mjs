// Two engines behind one function: (numbers of a batch, its size) to (scores of the batch).

const loaded = {};

async function onnx() {
  const ort = await import("./runtime/ort.mjs");
  ort.env.wasm.wasmPaths = new URL("runtime/", import.meta.url).href;
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create("models/model.onnx", { executionProviders: ["wasm"] });
  return async (numbers, size) => {
    const found = await session.run({ image: new ort.Tensor("float32", numbers, [size, 1, 8, 8]) }, ["scores"]);
    return found.scores.data;
  };
}

function script(path) {
  return new Promise((done, failed) => {
    const element = document.createElement("script");
    Object.assign(element, { src: path, onload: done, onerror: () => failed(new Error(path)) });
    document.head.append(element);
  });
}

async function tfjs() {
  for (const part of ["core", "cpu", "layers"]) await script(`runtime/tf-${part}.js`);
  const tf = globalThis.tf;
  await tf.setBackend("cpu");
  const model = await tf.loadLayersModel("models/tfjs/model.json");
  return (numbers, size) => tf.tidy(() => model.predict(tf.tensor(numbers, [size, 8, 8, 1])).dataSync());
}

/** The engine "onnx" or "tfjs"; its files are fetched when it is asked for the first time. */
export function engine(name) {
  loaded[name] ??= { onnx, tfjs }[name]();
  return loaded[name];
}
