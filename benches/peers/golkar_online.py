"""Online learning (one sample a step) of the circuit of Golkar et al. (2020), arXiv 2011.15031, as a plain
NumPy loop, alternating with another program's in the same run. See README.md."""

import argparse
import json
import statistics
import subprocess
import time

import numpy as np


def numpy_speed(inputs, units, outputs, samples):
    """Samples per second of the rules with ReLU and a running mean, written as one would, in f32."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
    w1, w2t = 0.01 * draw(units, inputs), 0.1 * draw(units, outputs)
    q, mean = np.eye(units, dtype=np.float32) / 3, np.zeros(units, np.float32)
    xs, ys = draw(1000, inputs), draw(1000, outputs)
    eta1, eta2, etaq, epsilon = (np.float32(rate) for rate in (1e-4, 2e-5, 1e-4, 1e-4))
    start = time.perf_counter()
    for sample in range(samples):
        x, y = xs[sample % 1000], ys[sample % 1000]
        h = w1 @ x
        rate = np.maximum(h, 0)
        z = rate - mean
        nu = q.T @ z
        c = w2t @ y - q @ nu
        w1 += np.outer(eta1 * (h > 0) * c, x)
        w2t += eta2 * (np.outer(z, y) - w2t)
        q += etaq * (np.outer(z, nu) - q)
        mean += epsilon * (rate - mean)
    return samples / (time.perf_counter() - start)


def our_speed(program, inputs, units, outputs, samples):
    """The same, as the program says."""
    sizes = {"inputs": inputs, "units": units, "outputs": outputs, "samples": samples}
    flags = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    out = subprocess.run([program, *flags], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(out.stdout)["samples_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", metavar="PATH", help="the program to compare with")
    parser.add_argument("--inputs", type=int, default=784)
    parser.add_argument("--outputs", type=int, default=10)
    parser.add_argument("--units", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"numpy {np.__version__}, {args.inputs} inputs, {args.outputs} outputs, samples per second")
    row = "{:>5} {:>12} {:>12} {:>12}".format
    print(row("units", "numpy", "ours", "ours/numpy"))
    for units in args.units:
        sizes = (args.inputs, units, args.outputs, args.samples)
        peers, ours = [], []
        for _ in range(args.rounds):
            peers.append(numpy_speed(*sizes))
            if args.ours:
                ours.append(our_speed(args.ours, *sizes))
        # Neighbours in time are compared, so that a slow minute of the machine falls on both.
        ratios = [a / b for a, b in zip(ours, peers)]
        shown = [f"{statistics.median(peers):.0f}"]
        shown += [f"{statistics.median(ours):.0f}", f"{statistics.median(ratios):.1f}"] if ours else ["-", "-"]
        print(row(units, *shown))


if __name__ == "__main__":
    main()
