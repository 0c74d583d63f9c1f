// The page: controls, the loop in which both networks learn, and what is drawn of it.

import { Chart } from "./chart.js";
import { Filters } from "./filters.js";
import { CIRCUIT, CLASSES, LAYER, load } from "./networks.js";
import { Pad } from "./pad.js";

const NETWORKS = [LAYER, CIRCUIT];
const NAMES = ["layer", "circuit"];
// Digits a second, by the place of the slider.
const PACES = [1, 10, 50, 200, 1000, 3000, Infinity];
// Milliseconds of a frame in which networks learn, and from one measurement to the next.
const BUDGET = 11;
const MEASURE = 120;
// Digits that one network learns before the other goes on.
const TURN = 4;

const $ = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const power = (slider) => 10 ** Number(slider.value);

const chart = new Chart($("chart"));
const filters = NAMES.map((name) => new Filters($(name).querySelector(".filters")));
const pad = new Pad($("pad"), drawn);
let networks;
let running = false;
let next; // the frame that is asked for
let [due, before, measured] = [0, 0, 0];
// The label of the held-out digit on the pad, where it is one.
let label = null;

async function begin() {
  const response = await fetch("networks.wasm");
  if (!response.ok) throw new Error(`networks.wasm: ${response.status} ${response.statusText}`);
  networks = await load(response.arrayBuffer());
  const [rules, competitions] = networks.choices();
  offer($("rule"), rules);
  offer($("competition"), competitions);
  $("rule").addEventListener("change", attempt(rule));
  for (const id of ["competition", "temperature", "k"]) {
    $(id).addEventListener("input", attempt(competition));
  }
  NAMES.forEach((name, network) => $(`${name}-rate`).addEventListener("input", attempt(() => rate(network))));
  $("plastic").addEventListener("change", attempt(plastic));
  $("pace").addEventListener("input", pace);
  $("run").addEventListener("submit", (event) => event.preventDefault());
  $("seed").addEventListener("change", attempt(reset));
  $("reset").addEventListener("click", attempt(reset));
  $("learn").addEventListener("click", () => (running ? pause("Paused.") : go()));
  $("clear").addEventListener("click", () => pad.clear());
  $("show").addEventListener("click", attempt(show));
  for (let digit = 0; digit < CLASSES; digit++) {
    $("shares").insertAdjacentHTML("beforeend", `<li>${digit} <span><i></i><i></i></span></li>`);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = digit;
    button.setAttribute("aria-label", `Teach it as ${digit}`);
    button.addEventListener("click", attempt(() => teach(digit)));
    $("teach").append(button);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    filters.forEach((one) => one.recolour());
    paint();
    pad.draw();
  });
  pace();
  reset();
  pad.draw();
  for (const id of ["learn", "reset", "show"]) $(id).disabled = false;

  function offer(select, choices) {
    select.append(...choices.map(({ name }, at) => new Option(name, at)));
    select.choices = choices;
  }
}

// `f` as a listener: what it throws is shown, and ends learning.
function attempt(f) {
  return (...given) => {
    try {
      f(...given);
    } catch (error) {
      pause(`Stopped: ${error.message}`);
    }
  };
}

// The choice of a list, its equation written beside it.
function chosen(select) {
  const choice = select.choices[select.value];
  $(`${select.id}-equation`).value = choice.equation;
  return choice;
}

function rule() {
  chosen($("rule"));
  networks.setRule(Number($("rule").value));
}

function competition() {
  const { setting } = chosen($("competition"));
  for (const row of document.querySelectorAll("[data-setting]")) row.hidden = row.dataset.setting !== setting;
  const [temperature, k] = [power($("temperature")), Number($("k").value)];
  showValue("temperature", temperature.toPrecision(2));
  showValue("k", k);
  networks.setCompetition(Number($("competition").value), temperature, k);
}

function rate(network) {
  const slider = $(`${NAMES[network]}-rate`);
  showValue(slider.id, power(slider).toPrecision(2));
  networks.setRate(network, power(slider));
}

function plastic() {
  networks.setPlastic($("plastic").checked);
}

function pace() {
  const digits = PACES[$("pace").value];
  showValue("pace", digits === Infinity ? "as fast as it goes" : `${digits.toLocaleString("en")} a second`);
}

function showValue(id, text) {
  document.querySelector(`output[for=${id}]`).value = text;
}

// Fresh weights, with all settings as they are.
function reset() {
  const seed = Math.trunc(Math.min(2 ** 32 - 1, Math.max(0, Number($("seed").value) || 0)));
  $("seed").value = seed;
  networks.start(seed);
  rule();
  competition();
  plastic();
  NETWORKS.forEach(rate);
  chart.clear();
  due = 0;
  if (!running) $("status").textContent = "Ready.";
  networks.setPad(pad.pixels());
  measure();
  paint();
}

function go() {
  running = true;
  before = performance.now();
  $("learn").textContent = "Pause";
  $("status").textContent = "Learning …";
  next = requestAnimationFrame(attempt(frame));
}

function pause(why) {
  running = false;
  cancelAnimationFrame(next);
  $("learn").textContent = "Learn";
  $("status").textContent = why;
  if (networks) {
    try {
      measure();
      paint();
    } catch {
      // Why it stopped is on the page already.
    }
  }
}

function frame(now) {
  const pace = PACES[$("pace").value];
  // A tab that was hidden has nothing to catch up with, and what this machine is too slow for is not owed.
  const passed = Math.min(100, Math.max(1, now - before)) / 1000;
  before = now;
  due = Math.min(due + pace * passed, Math.max(1, pace / 10));
  const end = performance.now() + BUDGET;
  while (due >= 1 && performance.now() < end) {
    const count = Math.min(TURN, Math.floor(due));
    NETWORKS.forEach((network) => networks.learn(network, count));
    due -= count;
  }
  paint();
  if (now - measured >= MEASURE) {
    measured = now;
    measure();
  }
  next = requestAnimationFrame(attempt(frame));
}

function paint() {
  NETWORKS.forEach((network) => filters[network].draw(networks.filters(network)));
}

function measure() {
  const accuracies = NETWORKS.map((network) => networks.accuracy(network));
  NETWORKS.forEach((network) => {
    const card = $(NAMES[network]);
    card.querySelector(".accuracy").textContent = percent(accuracies[network]);
    card.querySelector(".learned").textContent = networks.learned(network).toLocaleString("en");
  });
  chart.add(networks.learned(LAYER), accuracies);
  judge();
}

// What the networks make of the pad.
function judge() {
  const blank = networks.pad().every((ink) => ink === 0);
  const shares = NETWORKS.map((network) => networks.classify(network));
  [...$("shares").children].forEach((row, digit) => {
    row.querySelectorAll("i").forEach((bar, network) => {
      bar.style.width = blank ? "0" : `${100 * shares[network][digit]}%`;
    });
  });
  const says = shares.map((found, network) => {
    const best = found.indexOf(Math.max(...found));
    return `the ${NAMES[network]} says ${best}`;
  });
  const truth = label === null ? "" : `A held-out ${label}: `;
  $("verdict").textContent = blank ? "The pad is blank." : `${truth}${says.join(", ")}.`;
}

function drawn(ink) {
  label = null;
  if (!networks) return;
  networks.setPad(ink);
  judge();
}

function show() {
  label = networks.show(Math.floor(Math.random() * networks.heldOut()));
  pad.show(networks.pad());
  judge();
}

function teach(digit) {
  NETWORKS.forEach((network) => networks.teach(network, digit));
  measure();
  paint();
}

begin().catch((error) => ($("status").textContent = `The networks could not be loaded: ${error.message}`));
