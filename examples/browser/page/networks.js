// The WebAssembly module as an object: what fails throws what the library says.

export const PIXELS = 64;
export const UNITS = 100;
export const CLASSES = 10;
export const LAYER = 0;
export const CIRCUIT = 1;

// `bytes` of the module, or a promise of them.
export async function load(bytes) {
  const module = await WebAssembly.compile(await bytes);
  // candle links functions of JavaScript for random bytes. None is asked for: generators are seeded.
  const imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (imports[from] ??= {})[name] = () => {
      throw new Error(`${from}.${name} was called`);
    };
  }
  return new Networks((await WebAssembly.instantiate(module, imports)).exports);
}

class Networks {
  constructor(wasm) {
    this.wasm = wasm;
  }

  #text(at) {
    return new TextDecoder().decode(new Uint8Array(this.wasm.memory.buffer, at, this.wasm.text_length()));
  }

  #check(done) {
    if (!done) throw new Error(this.#text(this.wasm.message()));
    return done;
  }

  #values(at, count) {
    return new Float32Array(this.wasm.memory.buffer, this.#check(at), count).slice();
  }

  // Rules and competitions: [{name, equation, setting}], twice.
  choices() {
    const lists = this.#text(this.wasm.choices()).split("\n\n");
    return lists.map((list) =>
      list.trim().split("\n").map((line) => {
        const [name, equation, setting] = line.split("\t");
        return { name, equation, setting };
      }),
    );
  }

  start(seed) {
    this.#check(this.wasm.start(seed));
  }

  setRule(rule) {
    this.#check(this.wasm.set_rule(rule));
  }

  setCompetition(competition, temperature, k) {
    this.#check(this.wasm.set_competition(competition, temperature, k));
  }

  setPlastic(plastic) {
    this.#check(this.wasm.set_plastic(plastic));
  }

  setRate(network, rate) {
    this.#check(this.wasm.set_rate(network, rate));
  }

  learn(network, count) {
    this.#check(this.wasm.learn(network, count));
  }

  learned(network) {
    return this.wasm.learned(network);
  }

  accuracy(network) {
    const accuracy = this.wasm.accuracy(network);
    this.#check(!Number.isNaN(accuracy));
    return accuracy;
  }

  filters(network) {
    return this.#values(this.wasm.filters(network), UNITS * PIXELS);
  }

  heldOut() {
    return this.wasm.held_out();
  }

  // Ink of what is on the pad, 0 to 1.
  pad() {
    return this.#values(this.wasm.pad(), PIXELS);
  }

  setPad(ink) {
    new Float32Array(this.wasm.memory.buffer, this.#check(this.wasm.pad()), PIXELS).set(ink);
  }

  // Puts a held-out digit on the pad; its label.
  show(at) {
    return this.wasm.show(at);
  }

  classify(network) {
    return this.#values(this.wasm.classify(network), CLASSES);
  }

  teach(network, label) {
    this.#check(this.wasm.teach(network, label));
  }
}
