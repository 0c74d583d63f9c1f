// Runs the WebAssembly of .ci/outside and compares its weights with those of the native program, one
// a line on standard input.
import { readFileSync } from "node:fs";

// An f32 sum of 256 rows in another order can differ by 256 roundings; no weight is larger than 0.15.
const tolerance = 256 * 2 ** -24 * 0.15;
const expected = readFileSync(0, "utf8").trim().split("\n").map(Number);

const module = new WebAssembly.Module(readFileSync(process.argv[2]));
// What JavaScript would have to supply, random bytes for instance, is not asked for.
const missing = ({ module, name }) => () => {
    throw new Error(`${module}.${name} was called`);
};
const imports = {};
for (const each of WebAssembly.Module.imports(module)) {
    (imports[each.module] ??= {})[each.name] = missing(each);
}
const { exports } = new WebAssembly.Instance(module, imports);

const at = exports.trained();
if (at === 0) throw new Error("training failed");
const found = new Float32Array(exports.memory.buffer, at, exports.count());
if (found.length !== expected.length) {
    throw new Error(`${found.length} weights, and ${expected.length} from the native program`);
}
const largest = Math.max(...expected.map((value, i) => Math.abs(value - found[i])));
if (!(largest <= tolerance)) throw new Error(`off by ${largest}, which is more than ${tolerance}`);
console.log(`WebAssembly: ${found.length} weights after 20 steps, off by at most ${largest}`);
