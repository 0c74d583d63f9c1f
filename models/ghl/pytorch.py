"""A trained network of GHL (Hua et al. 2026) in PyTorch: python pytorch.py FOLDER IMAGES OUT

FOLDER is that of a run; IMAGES, a safetensors file, has `images` (B, C, H, W) from 0 to 1; OUT gets `features`, what the class
layer sees, and `classes`."""
import json
import sys
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

def norm(x, tensors, name):
    return F.batch_norm(x, tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"], eps=1e-5)

def features(preset, tensors, images):
    x = 2 * images - 1
    for i, block in enumerate(preset["blocks"]):
        if block["batch_norm"]:
            x = norm(x, tensors, f"layers.{i}")
        x = F.conv2d(x, tensors[f"layers.{i}.weight"], padding=block.get("padding", 0)).relu()
        if pool := block.get("pool"):
            sizes = pool["kernel"], pool["stride"], pool["padding"]
            x = F.max_pool2d(x, *sizes) if pool["kind"] == "max" else F.avg_pool2d(x, *sizes)
    if preset.get("output_norm"):
        x = norm(x, tensors, f"layers.{len(preset['blocks'])}")
    x = x.flatten(1)
    if preset.get("hidden"):
        x = norm(F.linear(x, tensors["hidden.weight"], tensors["hidden.bias"]).relu(), tensors, "hidden")
        x = x * tensors["hidden.scale"] + tensors["hidden.shift"]
    return x

if __name__ == "__main__":
    folder, images, out = sys.argv[1:]
    preset, tensors = json.load(open(f"{folder}/config.json"))["options"]["preset"], load_file(f"{folder}/model.safetensors")
    x = features(preset, tensors, load_file(images)["images"])
    save_file({"features": x, "classes": (x @ tensors["head.weight"].T + tensors["head.bias"]).argmax(1)}, out)
