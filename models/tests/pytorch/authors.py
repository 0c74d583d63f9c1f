"""Writes the checkpoints that tests/it/pytorch.rs reads, of one small SoftHebb network with random weights under the
names of the authors' programs, and what PyTorch makes of images with it. With PyTorch: python authors.py [FOLDER]

The modules have the names of the release and of its demo.py, and nothing else of them."""

import pathlib
import sys

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F


class Conv(nn.Module):
    """A convolution of an image that is mirrored at its edges, with weights that are no parameters."""

    def __init__(self, channels, units, kernel):
        super().__init__()
        self.register_buffer("weight", torch.randn(units, channels, kernel, kernel))

    def forward(self, x):
        margin = self.weight.shape[-1] // 2
        return F.conv2d(F.pad(x, (margin,) * 4, "reflect"), self.weight)


class Block(nn.Module):
    def __init__(self, operations, layer, then=nn.Identity()):
        super().__init__()
        self.operations, self.layer, self.then = nn.Sequential(*operations), layer, then

    def forward(self, x):
        return self.then(self.layer(self.operations(x)))


class Triangle(nn.Module):
    def __init__(self, power):
        super().__init__()
        self.power = power

    def forward(self, x):
        return F.relu(x - x.mean(1, keepdim=True)) ** self.power


def norm(channels):
    norm = nn.BatchNorm2d(channels, affine=False)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    return norm


torch.manual_seed(0)
folder = pathlib.Path(*sys.argv[1:] or [pathlib.Path(__file__).parent])
release = nn.Module()
release.blocks = nn.Sequential(
    Block([norm(1)], Conv(1, 4, 5), nn.Sequential(Triangle(0.7), nn.MaxPool2d(2))),
    Block([norm(4)], Conv(4, 6, 3), nn.Sequential(Triangle(1.0), nn.AvgPool2d(2))),
    Block([nn.Flatten()], nn.Linear(24, 10)),
).eval()
state_dict = release.state_dict()
config = {"b0": {"num": 0, "preset": "softkrotov-c4-k5-p2-s1-d1-b0-t1", "activation": {"function": "triangle", "param": 0.7}}}
torch.save({"state_dict": state_dict, "config": config, "epoch": 1}, folder / "release.pth.tar")

demo = {}
for name, tensor in state_dict.items():
    block, part, tensor_name = name.split(".")[1], name.split(".")[2], name.split(".")[-1]
    module = "classifier" if block == "2" else f"{'conv' if part == 'layer' else 'bn'}{int(block) + 1}"
    demo[f"module.{module}.{tensor_name}"] = tensor
torch.save(demo, folder / "demo.pth")
save_file({name.replace("module.", "_orig_mod."): tensor for name, tensor in demo.items()}, folder / "demo.safetensors")

with torch.no_grad():
    images = torch.rand(5, 1, 8, 8)
    features = release.blocks[:2](images).flatten(1)
    classes = release.blocks(images).argmax(1).to(torch.uint32)
save_file({"images": images, "features": features, "classes": classes}, folder / "expected.safetensors")
