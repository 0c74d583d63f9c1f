"""The network of this example in PyTorch, with weights and images by formula: python pytorch.py

Prints the logits that examples/tests/it/residual_network.rs expects. The PyTorch modules, and the sum of a block, are
those of He et al. (2016) and BioTorch: no bias in a convolution, a shortcut without parameters."""
import torch
import torch.nn as nn
import torch.nn.functional as F

class Block(nn.Module):
    def __init__(self, ins, outs, stride):
        super().__init__()
        self.first, self.second = Conv(ins, outs, stride), Conv(outs, outs, 1)
        self.more = (outs - ins) // 2

    def forward(self, x):
        inner = self.second(F.relu(self.first(x)))
        if self.more:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more))
        return F.relu(inner + x)

class Conv(nn.Sequential):
    def __init__(self, ins, outs, stride):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(ins, outs, 3, stride, 1, bias=False), nn.BatchNorm2d(outs)

class ResNet20(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        sizes = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
        self.stem, self.blocks = Conv(channels, 16, 1), nn.Sequential(*(Block(*size) for size in sizes))
        self.classes = nn.Linear(64, classes)

    def forward(self, x):
        return self.classes(self.blocks(F.relu(self.stem(x))).mean((2, 3)))

def waves(shape, phase):
    """Numbers from -1 to 1 that look random: the fraction of 43758.5453 sin(12.9898 i + phase), doubled, minus 1."""
    count = torch.Size(shape).numel()
    return 2 * (43758.5453 * torch.sin(12.9898 * torch.arange(count, dtype=torch.float64) + phase) % 1).reshape(shape) - 1

network = ResNet20(3, 10).eval().double()
state = network.state_dict()
for name, value in state.items():
    wave = waves(value.shape, sum(name.encode()))
    if "running_mean" in name or name.endswith("bias"):
        value.copy_(0.1 * wave)
    elif "running_var" in name or "norm" in name:
        value.copy_(1 + 0.5 * wave)
    elif value.dim() > 1:
        value.copy_((6 / value[0].numel()) ** 0.5 * wave)
print(sum(value.numel() for value in network.parameters()), "parameters")
with torch.no_grad():
    print(network(waves((2, 3, 32, 32), 0)))
