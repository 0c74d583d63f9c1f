// Headless Chromium, driven over the pipe of its DevTools protocol.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run", "--disable-extensions", "--disable-component-update", "--disable-background-networking"];

export class Chromium {
  // One page of `width`×`height`.
  static async start(program, width, height) {
    const chromium = new Chromium();
    chromium.profile = mkdtempSync(join(tmpdir(), "chromium-"));
    const flags = [...FLAGS, `--user-data-dir=${chromium.profile}`, `--window-size=${width},${height}`];
    const stdio = ["ignore", "ignore", "ignore", "pipe", "pipe"];
    chromium.process = spawn(program, [...flags, "about:blank"], { stdio });
    chromium.ended = new Promise((resolve) => chromium.process.once("exit", resolve));
    chromium.waiting = new Map();
    chromium.listeners = [];
    chromium.last = 0;
    let rest = "";
    chromium.process.stdio[4].setEncoding("utf8").on("data", (chunk) => {
      const messages = (rest + chunk).split("\0");
      rest = messages.pop();
      messages.forEach((message) => chromium.#receive(JSON.parse(message)));
    });
    const { targetInfos } = await chromium.#ask("Target.getTargets");
    const { targetId } = targetInfos.find(({ type }) => type === "page");
    const { sessionId } = await chromium.#ask("Target.attachToTarget", { targetId, flatten: true });
    chromium.session = sessionId;
    return chromium;
  }

  #receive({ id, method, params, result, error }) {
    if (method) return this.listeners.forEach((listener) => listener(method, params));
    const { resolve, reject } = this.waiting.get(id);
    this.waiting.delete(id);
    error ? reject(new Error(error.message)) : resolve(result);
  }

  #ask(method, params = {}) {
    const message = { id: ++this.last, method, params, sessionId: this.session };
    this.process.stdio[3].write(`${JSON.stringify(message)}\0`);
    return new Promise((resolve, reject) => this.waiting.set(message.id, { resolve, reject }));
  }

  // A command of the protocol to the page.
  send(method, params) {
    return this.#ask(method, params);
  }

  // Tells `listener(method, params)` of every event.
  listen(listener) {
    this.listeners.push(listener);
  }

  // What an expression is in the page.
  async evaluate(expression) {
    const given = { expression, returnByValue: true, awaitPromise: true };
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", given);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  // A real click in the middle of an element.
  async click(selector) {
    const [x, y] = await this.evaluate(`(() => {
      const element = document.querySelector(${JSON.stringify(selector)});
      element.scrollIntoView({ block: "center" });
      const { left, top, width, height } = element.getBoundingClientRect();
      return [left + width / 2, top + height / 2];
    })()`);
    await this.drag([[x, y]]);
  }

  // Presses the mouse at the first of these places, moves over the others, lets it go at the last.
  async drag(places) {
    const at = ([x, y]) => ({ x, y, button: "left", buttons: 1, clickCount: 1 });
    const [first, ...others] = places;
    await this.send("Input.dispatchMouseEvent", { type: "mousePressed", ...at(first) });
    for (const place of others) await this.send("Input.dispatchMouseEvent", { type: "mouseMoved", ...at(place) });
    await this.send("Input.dispatchMouseEvent", { type: "mouseReleased", ...at(places.at(-1)), buttons: 0 });
  }

  // A real key, by its name in events.
  async key(key) {
    const text = key === "Enter" ? "\r" : key.length === 1 ? key : undefined;
    const codes = { Tab: 9, Enter: 13, " ": 32, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40 };
    const pressed = { key, text, windowsVirtualKeyCode: codes[key] };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...pressed });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...pressed });
  }

  // Waits until an expression is true in the page; the seconds it took.
  async until(expression, seconds) {
    const start = performance.now();
    const passed = () => (performance.now() - start) / 1000;
    while (!(await this.evaluate(expression))) {
      if (passed() > seconds) throw new Error(`not within ${seconds} s: ${expression}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return passed();
  }

  async close() {
    await this.send("Browser.close").catch(() => {});
    await this.ended;
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
