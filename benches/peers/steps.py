"""Training steps and features of the networks of `hebbian bench` in PyTorch (one sample a step in NumPy too), for
`hebbian bench --against-torch PYTHON`. Prints "ready", then for each line it reads one round: a JSON object of
milliseconds by setting. `steps.py NAME --rounds 5` prints medians by itself. See README.md."""

import argparse
import json
import statistics
import sys
import time

SETTINGS = {"eager": ("contiguous_format", False), "channels last": ("channels_last", False),
            "compiled": ("channels_last", True)}
HIDDEN = {"golkar-mnist": 64, "golkar-mnist-256": 256}


def softhebb(widths, learns, batch, layout, compiled):
    """Reflected padding, batch norm, soft winner-take-all with anti-Hebbian losers, triangle, pool. Features are those
    of a trained network: batch norm by running statistics."""
    def layer(x, w, mean, variance, power, last):
        if learns:
            x = F.batch_norm(x, None, None, training=True)
        else:
            x = F.batch_norm(x, mean, variance)
        pad = w.shape[-1] // 2
        x = F.pad(x, [pad] * 4, mode="reflect")
        u = F.conv2d(x, w)
        if learns:
            y = torch.softmax(u, 1)
            winner = u.argmax(1, keepdim=True)
            y = (-y).scatter(1, winner, y.gather(1, winner))
            change = torch.nn.grad.conv2d_weight(x, w.shape, y) - (y * u).sum((0, 2, 3)).view(-1, 1, 1, 1) * w
            change = change / change.abs().max()
            radius = w.flatten(1).norm(dim=1)
            w = w + (0.01 * (radius - 1).abs().sqrt()).view(-1, 1, 1, 1) * change
        u = F.relu(u - u.mean(1, keepdim=True)) ** power
        return (F.avg_pool2d(u, 2) if last else F.max_pool2d(u, 4, 2, 1)), w

    def run(x, ws):
        powers, new = [0.7, 1.4, 1.0], []
        for i, w in enumerate(ws):
            x, w = layer(x, w, *running[i], powers[i], i == len(ws) - 1)
            new.append(w)
        return x, new

    sizes = zip([3, *widths], widths, [5, 3, 3])
    weights = [torch.randn(k, c, side, side) for c, k, side in sizes]
    weights = [w.to(memory_format=layout) for w in weights]
    running = [(torch.zeros(w.shape[1]), torch.ones(w.shape[1])) for w in weights]
    x = torch.rand(batch, 3, 32, 32).to(memory_format=layout)
    run = torch.compile(run) if compiled else run

    def step():
        with torch.no_grad():
            _, new = run(x, weights)
            if learns:
                for w, changed in zip(weights, new):
                    w.copy_(changed)
    return step


def miconi(learns, batch, layout, compiled):
    """Standardised images, one winner a position, thresholds, instar, filters of norm 1, triangle, pool."""
    def run(x, ws, thresholds):
        new = []
        for w, threshold in zip(ws, thresholds):
            x = (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 1e-10)
            u = F.conv2d(x, w)
            v = u - threshold
            y = (v >= v.max(1, keepdim=True).values).to(u.dtype)
            if learns:
                change = torch.nn.grad.conv2d_weight(x, w.shape, y) - y.sum((0, 2, 3)).view(-1, 1, 1, 1) * w
                w = w + 1e-4 * change
                w = w / w.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            threshold = threshold + 3.0 * (y.mean((0, 2, 3)).view(1, -1, 1, 1) - 1 / w.shape[0])
            new.append((w, threshold))
            x = F.avg_pool2d(F.relu(u - u.mean(1, keepdim=True)), 2)
        return x, new

    shapes = [(100, 3, 5), (196, 100, 3), (400, 196, 3)]
    weights = [torch.randn(k, c, side, side).to(memory_format=layout) for k, c, side in shapes]
    thresholds = [torch.zeros(1, k, 1, 1) for k, _, _ in shapes]
    x = torch.rand(batch, 3, 32, 32).to(memory_format=layout)
    run = torch.compile(run) if compiled else run

    def step():
        with torch.no_grad():
            _, new = run(x, weights, thresholds)
            for (w, t), (changed, moved) in zip(zip(weights, thresholds), new):
                w.copy_(changed)
                t.copy_(moved)
    return step


def amit(name, learns, batch, layout, compiled):
    """By back-propagation, which is all that PyTorch has."""
    class Ramp(nn.Module):
        def forward(self, x):
            return F.hardtanh(0.5 * x)

    def conv(inputs, outputs, kernel):
        """As many positions out as in; an even kernel has more padding at the bottom and right."""
        pad = [] if kernel % 2 else [nn.ZeroPad2d((0, 1, 0, 1))]
        layer = nn.Conv2d(inputs, outputs, kernel, padding=(kernel - 1) // 2, bias=False)
        return nn.Sequential(*pad, layer, Ramp())

    class Residual(nn.Module):
        def __init__(self, inputs, outputs, kernel):
            super().__init__()
            self.a, self.b = conv(inputs, outputs, kernel), conv(outputs, outputs, 3)

        def forward(self, x):
            a = self.a(x)
            return a + self.b(a)

    def pool():
        """3×3, stride 2; the zeros at the bottom and right take part in the maximum."""
        return [nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(3, 2)]

    net = {
        "amit-simpnet": lambda: nn.Sequential(
            conv(3, 32, 5), *pool(), nn.Dropout(0.8), nn.Flatten(),
            nn.Linear(32 * 16 * 16, 500, bias=False), Ramp(), nn.Dropout(0.3), nn.Linear(500, 10, bias=False)),
        "amit-deepernet": lambda: nn.Sequential(
            Residual(3, 16, 3), Residual(16, 32, 3), *pool(), nn.Dropout(0.5),
            Residual(32, 64, 3), *pool(), Residual(64, 128, 2), *pool(), nn.Dropout(0.8),
            nn.Flatten(), nn.Linear(128 * 4 * 4, 500, bias=False), Ramp(), nn.Linear(500, 10, bias=False)),
    }[name]().to(memory_format=layout)
    assert sum(w.numel() for w in net.parameters()) == {"amit-simpnet": 4_103_400, "amit-deepernet": 1_281_080}[name]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x = torch.rand(batch, 3, 32, 32).to(memory_format=layout)
    labels = torch.randint(10, (batch,))
    forward = torch.compile(net) if compiled else net
    net.train(learns)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(forward(x), labels).backward()
        optimizer.step()

    def predict():
        with torch.no_grad():
            forward(x)
    return step if learns else predict


def golkar(units, learns, batch, layout, compiled):
    """784 inputs, 10 classes; ReLU and a running mean."""
    def run(x, y, w1, w2, q, mean):
        rate = F.relu(x @ w1.T)
        z = rate - mean
        if not learns:
            return z @ w2.T
        nu = z @ q
        c = (y @ w2 - nu @ q.T) * (rate > 0)
        scale = 1 / len(x)
        return (w1 + 1e-4 * scale * c.T @ x, w2 + 2e-5 * (scale * y.T @ z - w2), q + 1e-4 * (scale * z.T @ nu - q),
                mean + 1e-4 * (rate.mean(0) - mean))

    x, y = torch.randn(batch, 784), torch.randn(batch, 10)
    w1, w2 = 0.01 * torch.randn(units, 784), 0.1 * torch.randn(10, units)
    state = [w1, w2, torch.eye(units) / 3, torch.zeros(units)]
    run = torch.compile(run) if compiled else run

    def step():
        with torch.no_grad():
            new = run(x, y, *state)
            if learns:
                for tensor, changed in zip(state, new):
                    tensor.copy_(changed)
    return step


def golkar_numpy(units):
    """One sample a step, as one would write it in NumPy."""
    import numpy as np
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
    w1, w2t = 0.01 * draw(units, 784), 0.1 * draw(units, 10)
    q, mean = np.eye(units, dtype=np.float32) / 3, np.zeros(units, np.float32)
    x, y = draw(784), draw(10)
    eta1, eta2, etaq, epsilon = (np.float32(rate) for rate in (1e-4, 2e-5, 1e-4, 1e-4))

    def step():
        nonlocal w1, w2t, q, mean
        h = w1 @ x
        rate = np.maximum(h, 0)
        z = rate - mean
        nu = q.T @ z
        c = w2t @ y - q @ nu
        w1 += np.outer(eta1 * (h > 0) * c, x)
        w2t += eta2 * (np.outer(z, y) - w2t)
        q += etaq * (np.outer(z, nu) - q)
        mean += epsilon * (rate - mean)
    return step


def work(name):
    """What makes a step of that name, by layout and whether it is compiled; none where there is nothing like it."""
    network, what, batch = name.split("/")
    batch, learns = int(batch), what.endswith("step")
    widths = {"softhebb-cnn3-cifar": 96, "softhebb-cnn3-cifar-half": 48, "softhebb-cnn3-cifar-quarter": 24}
    if network in widths:
        first = widths[network]
        return lambda *how: softhebb([first, 4 * first, 16 * first], learns, batch, *how)
    if network == "miconi-cifar":
        return lambda *how: miconi(learns, batch, *how)
    if network in ("amit-simpnet", "amit-deepernet"):
        return lambda *how: amit(network, learns, batch, *how)
    if network in HIDDEN:
        return lambda *how: golkar(HIDDEN[network], learns, batch, *how)
    return None


def milliseconds(step):
    """One step, or as many as take five milliseconds, after a tenth of a second of steps that are not timed."""
    start, warm = time.perf_counter(), 0
    while time.perf_counter() - start < 0.1:
        step()
        warm += 1
    once = (time.perf_counter() - start) / warm
    count = max(1, min(10_000, round(0.005 / once)))
    start = time.perf_counter()
    for _ in range(count):
        step()
    return 1000 * (time.perf_counter() - start) / count


def main():
    global torch, nn, F
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="as hebbian bench --list says")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, help="so many rounds, and their medians")
    args = parser.parse_args()
    make = work(args.name)
    if make is None:
        print("unknown", flush=True)
        return
    import torch
    from torch import nn
    from torch.nn import functional as F
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    steps = {}

    def attempt(setting, make_step):
        try:
            step = make_step()
            for _ in range(3):
                step()
            steps[setting] = step
        except Exception as error:  # no compiler here, say
            reason = str(error).strip() or type(error).__name__
            print(f"{args.name}, {setting}: {reason.splitlines()[0]}", file=sys.stderr)

    for setting, (layout, compiled) in SETTINGS.items():
        attempt(setting, lambda: make(getattr(torch, layout), compiled))
    network, rest = args.name.split("/", 1)
    if network in HIDDEN and rest == "step/1":
        attempt("NumPy", lambda: golkar_numpy(HIDDEN[network]))
    if args.rounds:
        rounds = [{setting: milliseconds(step) for setting, step in steps.items()} for _ in range(args.rounds)]
        print(json.dumps({setting: statistics.median(round[setting] for round in rounds) for setting in steps}))
        return
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps({setting: milliseconds(step) for setting, step in steps.items()}), flush=True)


if __name__ == "__main__":
    main()
