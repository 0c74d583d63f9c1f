// Weights as pictures: one square a unit, scaled to the unit's own largest weight.

import { UNITS } from "./networks.js";

const SIDE = 8;
const ACROSS = Math.sqrt(UNITS);
const STEP = SIDE + 1; // with a gap of a pixel
const WIDTH = ACROSS * STEP - 1;

export const colour = (name) => {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
};

export class Filters {
  constructor(canvas) {
    canvas.width = canvas.height = WIDTH;
    this.context = canvas.getContext("2d");
    this.image = this.context.createImageData(WIDTH, WIDTH);
    this.recolour();
  }

  // Reads the colours of the page, which differ in dark and light.
  recolour() {
    const [negative, zero, positive, gap] = ["--negative", "--zero", "--positive", "--line"].map(colour);
    this.negative = negative;
    this.zero = zero;
    this.positive = positive;
    for (let at = 0; at < WIDTH * WIDTH; at++) this.image.data.set([...gap, 255], 4 * at);
  }

  draw(weights) {
    const { data } = this.image;
    const pixels = SIDE * SIDE;
    for (let unit = 0; unit < UNITS; unit++) {
      let largest = 1e-12;
      for (let at = 0; at < pixels; at++) {
        largest = Math.max(largest, Math.abs(weights[unit * pixels + at]));
      }
      const [left, top] = [(unit % ACROSS) * STEP, Math.floor(unit / ACROSS) * STEP];
      for (let at = 0; at < pixels; at++) {
        const weight = weights[unit * pixels + at] / largest;
        const end = weight < 0 ? this.negative : this.positive;
        const share = Math.abs(weight);
        const to = 4 * ((top + Math.floor(at / SIDE)) * WIDTH + left + (at % SIDE));
        for (let channel = 0; channel < 3; channel++) {
          data[to + channel] = this.zero[channel] + share * (end[channel] - this.zero[channel]);
        }
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }
}
