"""A trained network of Miconi 2021 in PyTorch: python pytorch.py FOLDER IMAGES OUT

FOLDER is that of a run; IMAGES, a safetensors file, has `images` (B, C, H, W) from 0 to 1; OUT gets `features` and, where the
model keeps a read-out, `classes`."""
import json
import sys
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

def standardise(x, dims):
    return (x - x.mean(dims, keepdim=True)) / (x.std(dims, keepdim=True) + 1e-10)

def blur(deviation):
    row = torch.exp(-0.5 * ((torch.arange(12) - 6) / deviation) ** 2) * ((torch.arange(12) - 6).abs() <= 4 * deviation)
    return torch.outer(row, row) / row.sum() ** 2

def seen(transforms, tensors, x):
    """What the first layer sees of images."""
    for at, kind in enumerate(transform["kind"] for transform in transforms):
        if kind == "grey":
            levels = torch.tensor([19595.0, 38470, 7471])[:, None, None] * (x * 255).round()
            x = ((levels.sum(1, keepdim=True) + 32768) / 65536).floor() / 255 if x.shape[1] == 3 else x
        elif kind == "standardise_image":
            x = standardise(x, (1, 2, 3))
        elif kind == "difference_of_gaussians":
            filters = (blur(0.5) - blur(1.0)).expand(x.shape[1], 1, 12, 12)
            x = F.conv2d(x, filters, padding=6, groups=x.shape[1])
        elif kind == "zca":
            x = (standardise(x, (1, 2, 3)).flatten(1) @ tensors[f"transforms.{at}.zca"]).view_as(x)
        else:
            sys.exit(f"the transform {kind} is not one of this program's")
    return x

def features(preset, tensors, images):
    x, training, quirks = seen(preset.get("input", {}).get("transforms", []), tensors, images), preset["training"], preset.get("quirks", {})
    for i, layer in enumerate(preset["layers"]):
        weight, x = tensors[f"layers.{i}.weight"], standardise(x, (1, 2, 3))
        if layer.get("patches", {}).get("kind", "whole") == "whole":
            u = F.conv2d(x, weight, stride=layer.get("stride", 1))
        else:  # each patch by itself
            size = [(size - layer["kernel"]) // layer.get("stride", 1) + 1 for size in x.shape[2:]]
            patches = standardise(F.unfold(x, layer["kernel"], stride=layer.get("stride", 1)), 1).transpose(1, 2)
            if layer["patches"]["kind"] == "whiten":
                patches = standardise(patches @ tensors["layers.0.patch_whitening"], 2)
            u = (patches @ weight.flatten(1).T).transpose(1, 2).unflatten(2, size)
        u = u - tensors[f"layers.{i}.threshold"].view(-1, 1, 1)
        if training["triangle"] == "never":
            wins = u >= u.topk(layer["k"], 1).values[:, -1:]
            signed = training["plasticity"] == "graded" and quirks.get("negative_winners")
            x = wins * u.clamp(max=50) if signed else (wins & (u > 0)) * (1 if training["plasticity"] == "binary" else u)
        else:
            x = (u - u.mean(1, keepdim=True)).relu()
        x = F.avg_pool2d(x.float(), layer["pool"])
    return x.flatten(1)

if __name__ == "__main__":
    folder, images, out = sys.argv[1:]
    preset, tensors = json.load(open(f"{folder}/config.json"))["options"]["preset"], load_file(f"{folder}/model.safetensors")
    x = features(preset, tensors, load_file(images)["images"])
    found = {"features": x}
    if "head.weight" in tensors:
        found["classes"] = (x @ tensors["head.weight"].T + tensors["head.bias"]).argmax(1)
    save_file(found, out)
