// A pad to draw a digit on, with a pen or with keys.

import { colour } from "./filters.js";

const SIDE = 32; // ink is kept in 32×32, as the digits once were
const CELL = 4; // of which 4×4 make a pixel
const PIXELS = SIDE / CELL;
const PEN = 1.7;
// How high and how wide a drawing becomes.
const [HIGH, WIDE] = [32, 26];

export class Pad {
  // `changed(ink)` is told the 64 pixels.
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.changed = changed;
    this.cursor = [3, 3];
    this.last = null;
    this.#fill(() => 0);
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.last = this.#place(event);
      this.#stroke(this.last);
    });
    canvas.addEventListener("pointermove", (event) => this.last && this.#stroke(this.#place(event)));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => (this.last = null));
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.draw());
  }

  clear() {
    this.#fill(() => 0);
    this.draw();
    this.changed(this.pixels());
  }

  // Shows a digit of 64 pixels as it is.
  show(ink) {
    this.#fill((row, column) => ink[Math.floor(row / CELL) * PIXELS + Math.floor(column / CELL)]);
    this.drawn = false;
    this.draw();
  }

  #fill(value) {
    this.ink = Float32Array.from({ length: SIDE * SIDE }, (_, at) => value(Math.floor(at / SIDE), at % SIDE));
    this.drawn = true;
  }

  #place(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [((event.clientX - left) / width) * SIDE, ((event.clientY - top) / height) * SIDE];
  }

  #stroke([x, y]) {
    const [fromX, fromY] = this.last;
    const steps = Math.max(1, Math.ceil(2 * Math.hypot(x - fromX, y - fromY)));
    for (let step = 1; step <= steps; step++) {
      this.#dot(fromX + ((x - fromX) * step) / steps, fromY + ((y - fromY) * step) / steps);
    }
    this.last = [x, y];
    this.#inked();
  }

  #dot(x, y) {
    for (let row = 0; row < SIDE; row++) {
      for (let column = 0; column < SIDE; column++) {
        if (Math.hypot(column + 0.5 - x, row + 0.5 - y) <= PEN) this.ink[row * SIDE + column] = 1;
      }
    }
  }

  #inked() {
    this.drawn = true;
    this.draw();
    this.changed(this.pixels());
  }

  #key(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const [row, column] = this.cursor;
    if (moves[event.key]) {
      const [down, right] = moves[event.key];
      const within = (at) => Math.min(PIXELS - 1, Math.max(0, at));
      this.cursor = [within(row + down), within(column + right)];
      this.draw();
    } else if (event.key === " ") {
      const value = this.ink[row * CELL * SIDE + column * CELL] > 0.5 ? 0 : 1;
      for (let at = 0; at < CELL * CELL; at++) {
        this.ink[(row * CELL + Math.floor(at / CELL)) * SIDE + column * CELL + (at % CELL)] = value;
      }
      this.#inked();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
  }

  // The 64 pixels: each the mean ink of its cell, of a drawing after it was scaled and centred.
  pixels() {
    const source = this.#frame();
    const pixels = new Float32Array(PIXELS * PIXELS);
    for (let row = 0; row < SIDE; row++) {
      for (let column = 0; column < SIDE; column++) {
        const from = source(row + 0.5, column + 0.5);
        pixels[Math.floor(row / CELL) * PIXELS + Math.floor(column / CELL)] += from / CELL ** 2;
      }
    }
    return pixels;
  }

  // The ink that comes to a place.
  #frame() {
    const at = (row, column) => {
      const [r, c] = [Math.floor(row), Math.floor(column)];
      return r >= 0 && r < SIDE && c >= 0 && c < SIDE ? this.ink[r * SIDE + c] : 0;
    };
    const inked = [...this.ink.keys()].filter((place) => this.ink[place] > 0);
    if (!this.drawn || inked.length === 0) return at;
    const rows = inked.map((place) => Math.floor(place / SIDE));
    const columns = inked.map((place) => place % SIDE);
    const [top, bottom] = [Math.min(...rows), Math.max(...rows) + 1];
    const [left, right] = [Math.min(...columns), Math.max(...columns) + 1];
    const scale = Math.min(HIGH / (bottom - top), WIDE / (right - left));
    const centre = (place, start, end) => (place - SIDE / 2) / scale + (start + end) / 2;
    return (row, column) => at(centre(row, top, bottom), centre(column, left, right));
  }

  draw() {
    const [paper, ink, cursor] = ["--zero", "--ink", "--layer"].map(colour);
    const size = this.canvas.width / SIDE;
    for (let at = 0; at < SIDE * SIDE; at++) {
      const mixed = paper.map((from, channel) => from + this.ink[at] * (ink[channel] - from));
      this.context.fillStyle = `rgb(${mixed})`;
      this.context.fillRect((at % SIDE) * size, Math.floor(at / SIDE) * size, size, size);
    }
    if (document.activeElement === this.canvas) {
      const [row, column] = this.cursor;
      this.context.strokeStyle = `rgb(${cursor})`;
      this.context.lineWidth = 2;
      const cell = size * CELL;
      this.context.strokeRect(column * cell + 1, row * cell + 1, cell - 2, cell - 2);
    }
  }
}
