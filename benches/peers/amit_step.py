"""Training steps of two networks of Amit 2019 (Frontiers in Computational Neuroscience 13:18) by
back-propagation in PyTorch, alternating with another program's in the same run. See README.md."""

import argparse
import json
import os
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F
from torch import nn


class Ramp(nn.Module):
    def forward(self, x):
        return F.hardtanh(0.5 * x)


def conv(inputs, outputs, kernel):
    """As many positions out as in; an even kernel has more padding at the bottom and right."""
    pad = [] if kernel % 2 else [nn.ZeroPad2d((0, 1, 0, 1))]
    layer = nn.Conv2d(inputs, outputs, kernel, padding=(kernel - 1) // 2, bias=False)
    return nn.Sequential(*pad, layer, Ramp())


class Residual(nn.Module):
    """`a + b` with `a` of the input and `b` of `a`."""

    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.a, self.b = conv(inputs, outputs, kernel), conv(outputs, outputs, 3)

    def forward(self, x):
        a = self.a(x)
        return a + self.b(a)


def pool():
    """3×3, stride 2; the zeros at the bottom and right take part in the maximum."""
    return [nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(3, 2)]


def simpnet():
    return nn.Sequential(
        conv(3, 32, 5), *pool(), nn.Dropout(0.8), nn.Flatten(),
        nn.Linear(32 * 16 * 16, 500, bias=False), Ramp(), nn.Dropout(0.3), nn.Linear(500, 10, bias=False),
    )


def deepernet():
    return nn.Sequential(
        Residual(3, 16, 3), Residual(16, 32, 3), *pool(), nn.Dropout(0.5),
        Residual(32, 64, 3), *pool(), Residual(64, 128, 2), *pool(), nn.Dropout(0.8),
        nn.Flatten(), nn.Linear(128 * 4 * 4, 500, bias=False), Ramp(), nn.Linear(500, 10, bias=False),
    )


NETWORKS = {"simpnet": (simpnet, 4_103_400), "deepernet": (deepernet, 1_281_080)}


def torch_median(network, batch, steps, layout):
    """The median of `steps` training steps, in ms, after three that do not count."""
    build, weights = NETWORKS[network]
    net = build().to(memory_format=layout)
    assert sum(w.numel() for w in net.parameters()) == weights
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    images = torch.rand(batch, 3, 32, 32).to(memory_format=layout)
    labels = torch.randint(10, (batch,))
    times = []
    for _ in range(3 + steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[3:])


def our_medians(program, network, batch, steps, threads):
    """Each protocol's median, in ms, as the program says."""
    command = [program, "--network", network, "--batch", str(batch), "--steps", str(steps)]
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    lines = [json.loads(line) for line in out.stdout.splitlines() if line.startswith("{")]
    return {line["protocol"]: line["median_ms"] for line in lines}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", metavar="PATH", help="the program to compare with")
    parser.add_argument("--network", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    for flag, default in [("batch", 100), ("steps", 10), ("rounds", 3), ("threads", 2)]:
        parser.add_argument(f"--{flag}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    layouts = {"default": torch.contiguous_format, "channels_last": torch.channels_last}
    print(f"torch {torch.__version__}, batch {args.batch}, {args.threads} threads, medians in ms")
    row = "{:<10} {:<14} {:>9} {:>14} {:>20} {:>14} {:>20}".format
    torch_columns = [f"torch {name}" for name in layouts] + [f"ours/{name}" for name in layouts]
    print(row("network", "protocol", "ours", *torch_columns))
    for network in args.network:
        ours, peers = {}, {name: [] for name in layouts}
        for _ in range(args.rounds):
            if args.ours:
                medians = our_medians(args.ours, network, args.batch, args.steps, args.threads)
                for protocol, ms in medians.items():
                    ours.setdefault(protocol, []).append(ms)
            for name, layout in layouts.items():
                peers[name].append(torch_median(network, args.batch, args.steps, layout))
        torch_ms = [f"{statistics.median(ms):.1f}" for ms in peers.values()]
        for protocol, ms in (ours or {"-": []}).items():
            # Neighbours in time are compared, so that a slow minute of the machine falls on both.
            pairs = [[a / b for a, b in zip(ms, other)] for other in peers.values()]
            ratios = [f"{statistics.median(pair):.2f}" if pair else "-" for pair in pairs]
            mine = f"{statistics.median(ms):.1f}" if ms else "-"
            print(row(network, protocol, mine, *torch_ms, *ratios))


if __name__ == "__main__":
    main()
