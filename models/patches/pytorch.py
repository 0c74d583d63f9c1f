"""Patches of Thiry et al. 2021 with their read-out in PyTorch: python pytorch.py FOLDER IMAGES OUT

FOLDER is that of a run; IMAGES, a safetensors file, has `images` (B, C, H, W) from 0 to 1; OUT gets `features` and `classes`."""
import json
import sys
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

def half(preset, distance):
    """Which patches are nearest at each place: those below the first that is not."""
    winners = int(preset["active"] * preset["units"])
    below = distance.kthvalue(winners + 1, dim=1, keepdim=True).values - distance
    return (below / preset["temperature"]).sigmoid() if preset.get("temperature") else (below > 0).float()

def features(preset, tensors, images):
    z = (images - tensors["input.mean"]) / tensors["input.deviation"]
    score, bias = F.conv2d(z, tensors["patches.weight"]), tensors["patches.bias"][:, None, None]
    code = torch.cat([half(preset, bias - score), half(preset, bias + score)], 1)
    side, step = preset.get("windows") or [(code.shape[2] + 1) // 2] * 2
    averages = F.avg_pool2d(code, side, step, ceil_mode=True)
    averages = F.adaptive_avg_pool2d(averages, preset["grid"]) if preset.get("grid") else averages
    return averages.permute(0, 2, 3, 1).flatten(1)

if __name__ == "__main__":
    folder, images, out = sys.argv[1:]
    preset, tensors = json.load(open(f"{folder}/config.json"))["options"]["preset"], load_file(f"{folder}/model.safetensors")
    x = features(preset, tensors, load_file(images)["images"])
    save_file({"features": x, "classes": (x @ tensors["head.weight"].T + tensors["head.bias"]).argmax(1)}, out)
