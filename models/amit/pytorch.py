"""A trained network of Amit 2019 in PyTorch: python pytorch.py FOLDER IMAGES OUT

FOLDER is that of a run; IMAGES, a safetensors file, has `images` (B, C, H, W) from 0 to 1; OUT gets `features`, what the class
layer sees, and `classes`."""
import json
import sys
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

def untied(x, weight):
    """A convolution whose weights (OH, OW, K, C, k, k) differ from place to place."""
    height, width, units, _, kernel, _ = weight.shape
    patches = F.unfold(x, kernel).unflatten(2, (height, width))
    return torch.einsum("bfyx,yxkf->bkyx", patches, weight.flatten(3))

def features(preset, tensors, x):
    weights = (tensors[f"layers.{i}.weight"] * tensors.get(f"layers.{i}.weight_mask", 1) for i in range(10**6))
    for layer in preset["layers"]:
        kernel, kind = layer.get("kernel", 1), layer["kind"]
        before, behind = (kernel - 1) // 2, kernel // 2  # zeros around, so that the size stays
        if kind == "conv":
            weight, padded = next(weights), F.pad(x, [before, behind] * 2)
            u = untied(padded, weight) if weight.dim() == 6 else F.conv2d(padded, weight)
        elif kind in ("dense", "classes"):
            x = x.flatten(1)
            u = x @ next(weights).T
        elif kind == "max_pool":  # ⌈size / stride⌉ windows, of which the last reach over the edge
            over = [max(0, (-(-size // layer["stride"]) - 1) * layer["stride"] + kernel - size) for size in x.shape[:1:-1]]
            beyond = 0.0 if layer["edge"] == "zeros" else -torch.inf
            x = F.max_pool2d(F.pad(x, [0, over[0], 0, over[1]], value=beyond), kernel, layer["stride"])
        elif kind == "avg_pool":
            x = F.avg_pool2d(x, kernel, layer["stride"], layer["padding"])
        if kind in ("conv", "dense"):
            u = (preset["training"]["ramp_slope"] * u).clamp(-1, 1)
            x = x + u if layer.get("residual") else u
    return x, u

if __name__ == "__main__":
    folder, images, out = sys.argv[1:]
    preset, tensors = json.load(open(f"{folder}/config.json"))["options"]["preset"], load_file(f"{folder}/model.safetensors")
    x, fields = features(preset, tensors, load_file(images)["images"])
    save_file({"features": x, "classes": fields.argmax(1)}, out)
