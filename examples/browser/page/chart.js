// Accuracy over digits learned, a curve for each network.

const [LEFT, RIGHT, TOP, BOTTOM] = [56, 528, 12, 258];
const GOAL = 0.95;
// Every second point is left out when there are more.
const MOST = 600;
const NAMES = ["layer", "circuit"];

const percent = (share) => `${(100 * share).toFixed(1)} %`;

export class Chart {
  constructor(svg) {
    this.svg = svg;
    this.clear();
  }

  clear() {
    this.points = []; // [digits, accuracy of the layer, of the circuit]
    this.draw();
  }

  add(digits, accuracies) {
    if (this.points.at(-1)?.[0] === digits) this.points.pop();
    this.points.push([digits, ...accuracies]);
    if (this.points.length > MOST) {
      this.points = this.points.filter((_, at) => at % 2 === 0 || at === this.points.length - 1);
    }
    this.draw();
  }

  draw() {
    const last = this.points.at(-1);
    const most = roundUp(Math.max(200, last?.[0] ?? 0));
    const x = (digits) => LEFT + (digits / most) * (RIGHT - LEFT);
    const y = (share) => BOTTOM - share * (BOTTOM - TOP);
    const parts = [];
    for (const share of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
      parts.push(`<path class="grid" d="M${LEFT} ${y(share)}H${RIGHT}"/>`);
      parts.push(`<text x="${LEFT - 8}" y="${y(share) + 4}" text-anchor="end">${100 * share} %</text>`);
    }
    parts.push(`<path class="goal" d="M${LEFT} ${y(GOAL)}H${RIGHT}"/>`);
    parts.push(`<text x="${RIGHT - 4}" y="${y(GOAL) + 16}" text-anchor="end">95 %</text>`);
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const label = (share * most).toLocaleString("en");
      parts.push(`<text x="${x(share * most)}" y="${BOTTOM + 18}" text-anchor="middle">${label}</text>`);
    }
    parts.push(`<text x="${(LEFT + RIGHT) / 2}" y="${BOTTOM + 35}" text-anchor="middle">digits learned</text>`);
    NAMES.forEach((name, at) => {
      const path = this.points.map((point) => `${x(point[0]).toFixed(1)} ${y(point[at + 1]).toFixed(1)}`);
      if (path.length) parts.push(`<path class="of-${name}" d="M${path.join("L")}"/>`);
    });
    this.svg.innerHTML = parts.join("");
    const label = last
      ? `After ${last[0]} digits: layer ${percent(last[1])}, circuit ${percent(last[2])}.`
      : "No digit was learned yet.";
    this.svg.setAttribute("aria-label", label);
  }
}

// The next of 200, 400, 1000, 2000, 4000, …: each quarter of it is a round number.
function roundUp(count) {
  const power = 10 ** Math.floor(Math.log10(count));
  return [1, 2, 4, 10].map((factor) => factor * power).find((end) => end >= count);
}
