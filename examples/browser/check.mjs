// Tries the page of a folder in headless Chromium: `CHROMIUM=PROGRAM node check.mjs FOLDER [SCREENSHOTS]`.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Chromium } from "./chromium.mjs";
import { CIRCUIT, LAYER, load } from "./page/networks.js";
import { serve } from "./serve.mjs";

const [folder, screenshots] = process.argv.slice(2);
const MOST_BYTES = 600_000;
const MOST_SECONDS = 10;
const module = readFileSync(join(folder, "networks.wasm"));

// Without a page

const size = gzipSync(module, { level: 9 }).length;
assert(size <= MOST_BYTES, `${size} bytes compressed, more than ${MOST_BYTES}`);

const networks = await load(module);
const [rules, competitions] = networks.choices();
assert.deepEqual([rules.length, competitions.length], [6, 7]);
assert.throws(() => networks.learn(LAYER, 1), /start comes first/);

function begin(seed, rule = 0, competition = 0) {
  networks.start(seed);
  networks.setRule(rule);
  networks.setCompetition(competition, 0.04, 2);
  networks.setRate(LAYER, 0.05);
  networks.setRate(CIRCUIT, 0.05);
}

// Of each of ten classes every fifth is held out, of 1,797 in all: 355.
begin(0);
assert.equal(networks.heldOut(), 355);
assert.throws(() => networks.setRule(6), /no rule 6/);
assert.throws(() => networks.learn(2, 1), /no network 2/);

for (const network of [LAYER, CIRCUIT]) {
  // The same seed gives the same weights, however the digits are counted out; another seed others.
  const after = (seed, ...counts) => {
    begin(seed);
    counts.forEach((count) => networks.learn(network, count));
    assert.equal(networks.learned(network), counts.reduce((a, b) => a + b));
    return networks.filters(network);
  };
  assert.deepEqual(after(1, 60), after(1, 20, 40));
  assert.notDeepEqual(after(1, 60), after(2, 60));
  // What is taught moves the answer to what was said.
  begin(0);
  networks.show(0);
  const before = networks.classify(network)[7];
  for (let time = 0; time < 5; time++) networks.teach(network, 7);
  assert(networks.classify(network)[7] > before);
}

// SoftHebb takes the units that win from norm 8 to norm 1: w·Δw = d (1 − ‖w‖²).
begin(0);
networks.learn(LAYER, 6000);
const weights = networks.filters(LAYER);
const norms = Array.from({ length: 100 }, (_, unit) => Math.hypot(...weights.slice(64 * unit, 64 * unit + 64)));
assert(norms.every((norm) => norm > 0.95) && norms.filter((norm) => norm < 2).length >= 60, `norms: ${norms}`);

// Units that do not learn keep their weights; the class layer learns all the same.
begin(0);
const start = networks.filters(LAYER);
networks.setPlastic(false);
networks.learn(LAYER, 200);
assert.deepEqual(networks.filters(LAYER), start);
assert(networks.accuracy(LAYER) > 0.4);

// Every rule with every competition learns, or says why it stopped.
for (let rule = 0; rule < rules.length; rule++) {
  for (let competition = 0; competition < competitions.length; competition++) {
    begin(0, rule, competition);
    networks.learn(LAYER, 300);
    try {
      networks.filters(LAYER);
      networks.accuracy(LAYER);
    } catch (error) {
      assert.match(error.message, /without bound/, `${rules[rule].name}, ${competitions[competition].name}`);
    }
  }
}

// In the browser

const { server, address } = await serve(folder, 0);
// What is no address, or is not in the folder, is not found; the server goes on.
for (const [path, status] of [["%zz", 404], ["/", 404], ["..%2Fserve.mjs", 404], ["", 200]]) {
  const answer = await fetch(address + path);
  await answer.text();
  assert.equal(answer.status, status, path);
}
const browser = await Chromium.start(process.env.CHROMIUM, 1100, 1500);
try {
  const wrong = [];
  browser.listen((method, params) => {
    if (method === "Runtime.exceptionThrown") wrong.push(params.exceptionDetails.exception?.description);
    if (method === "Log.entryAdded") wrong.push(params.entry.text);
    if (method === "Runtime.consoleAPICalled") wrong.push(`console.${params.type}`);
    if (method === "Network.requestWillBeSent" && !/^data:/.test(params.request.url)) {
      if (!params.request.url.startsWith(address)) wrong.push(`request: ${params.request.url}`);
    }
  });
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await browser.send(`${domain}.enable`);
  await browser.send("Page.navigate", { url: address });
  await browser.until(`document.querySelector("#learn")?.disabled === false`, 20);

  const accuracy = (name) => `parseFloat(document.querySelector("#${name} .accuracy").textContent)`;
  const learned = (name) => `Number(document.querySelector("#${name} .learned").textContent.replace(",", ""))`;
  const picture = (name) => browser.evaluate(`document.querySelector("#${name} .filters").toDataURL()`);
  const both = async (what) => [await browser.evaluate(what("layer")), await browser.evaluate(what("circuit"))];
  const pictures = async () => [await picture("layer"), await picture("circuit")];
  const screenshot = async (name) => {
    if (!screenshots) return;
    const { data } = await browser.send("Page.captureScreenshot", { captureBeyondViewport: true });
    writeFileSync(join(screenshots, `${name}.png`), Buffer.from(data, "base64"));
  };

  // Nothing is learned before the button is pressed.
  assert.deepEqual(await both(learned), [0, 0]);
  for (const share of await both(accuracy)) assert(share < 35, `${share} % before anything was learned`);
  const fresh = await pictures();
  await screenshot("before");

  await browser.click("#learn");
  const seconds = {};
  const clicked = performance.now();
  while (!("layer" in seconds && "circuit" in seconds)) {
    const now = (performance.now() - clicked) / 1000;
    const found = await both(accuracy);
    ["layer", "circuit"].forEach((name, at) => {
      if (found[at] >= 95) seconds[name] ??= now;
    });
    assert(now < MOST_SECONDS, `${found} % after ${now} s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const digits = await both(learned);
  for (const [at, name] of ["layer", "circuit"].entries()) assert.notEqual(await picture(name), fresh[at]);
  assert((await browser.evaluate(`document.querySelectorAll("#chart path.of-layer").length`)) === 1);

  // Paused, nothing moves; reset, all is as it was.
  await browser.click("#learn");
  const paused = await both(learned);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual(await both(learned), paused);
  await screenshot("light");
  // Pressed three times within a frame, it learns in one loop: it asks for one frame in each of five.
  const asked = await browser.evaluate(`new Promise((resolve) => {
    const learn = document.querySelector("#learn");
    for (let time = 0; time < 3; time++) learn.click();
    const request = requestAnimationFrame;
    let [asked, frames] = [0, 0];
    window.requestAnimationFrame = (act) => {
      asked++;
      return request(act);
    };
    request(function count() {
      if (++frames < 5) return request(count);
      window.requestAnimationFrame = request;
      learn.click();
      resolve(asked);
    });
  })`);
  assert.equal(asked, 5);
  await browser.click("#reset");
  assert.deepEqual(await both(learned), [0, 0]);
  assert.deepEqual(await pictures(), fresh);

  // With keys alone: another rule, learn, pause.
  await browser.evaluate(`document.querySelector("#rule").focus()`);
  await browser.key("ArrowDown");
  assert.equal(await browser.evaluate(`document.querySelector("#rule-equation").value`), rules[1].equation);
  await browser.evaluate(`document.querySelector("#learn").focus()`);
  await browser.key("Enter");
  await browser.until(`${learned("layer")} > 300`, 10);
  await browser.key("Enter");

  // A drawing: a stroke down is a one before long.
  const { x, y, side } = await browser.evaluate(`(() => {
    const pad = document.querySelector("#pad");
    pad.scrollIntoView({ block: "center" });
    const { left, top, width } = pad.getBoundingClientRect();
    return { x: left, y: top, side: width };
  })()`);
  await browser.drag([0.2, 0.4, 0.6, 0.8].map((share) => [x + side / 2, y + share * side]));
  const verdict = () => browser.evaluate(`document.querySelector("#verdict").textContent`);
  assert.match(await verdict(), /^the layer says \d, the circuit says \d\.$/);
  for (let time = 0; time < 5; time++) await browser.click("#teach button:nth-of-type(2)");
  assert.equal(await verdict(), "the layer says 1, the circuit says 1.");
  await browser.click("#clear");
  assert.equal(await verdict(), "The pad is blank.");
  await browser.evaluate(`document.querySelector("#pad").focus()`);
  await browser.key(" ");
  assert.match(await verdict(), /says/);
  await browser.click("#show");
  assert.match(await verdict(), /^A held-out \d: the layer says \d, the circuit says \d\.$/);

  // All text can be read, in both modes and on a phone: 4.5 to 1, nothing wider than the window.
  for (const mode of ["light", "dark"]) {
    for (const width of [1100, 380]) {
      const features = [{ name: "prefers-color-scheme", value: mode }];
      await browser.send("Emulation.setEmulatedMedia", { features });
      await browser.send("Emulation.setDeviceMetricsOverride", { width, height: 1500, deviceScaleFactor: 1, mobile: false });
      assert.deepEqual(await browser.evaluate(`(${unreadable})()`), []);
      assert(await browser.evaluate(`document.documentElement.scrollWidth <= innerWidth`), `wider than ${width}`);
      await screenshot(`${mode}-${width}`);
    }
  }
  assert.deepEqual(wrong, []);
  const report = Object.entries(seconds).map(([name, time]) => `${name} ${time.toFixed(1)} s`);
  console.log(`browser: ${size} bytes compressed; 95 % of the held-out digits: ${report.join(", ")} (${digits[0]} digits)`);
} finally {
  await browser.close();
  server.close();
}

// Texts of less contrast than 4.5 to 1 with what is behind them. Runs in the page.
function unreadable() {
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at);
      if ((channels(backgroundColor)[3] ?? 1) > 0) return backgroundColor;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = [...document.querySelectorAll("body *")].filter((element) =>
    [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()),
  );
  return texts.flatMap((element) => {
    const style = getComputedStyle(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [luminance(colour), luminance(behind(element))].sort((a, b) => b - a);
    const ratio = (a + 0.05) / (b + 0.05);
    return ratio >= 4.5 ? [] : [`${element.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`];
  });
}
