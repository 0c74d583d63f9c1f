"""K-means features of Coates et al. 2011 with their read-out in PyTorch: python pytorch.py FOLDER IMAGES OUT

FOLDER is that of a run; IMAGES, a safetensors file, has `images` (B, C, H, W) from 0 to 1; OUT gets `features` and `classes`."""
import json
import sys
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

def features(preset, tensors, images):
    centroids = tensors["centroids.weight"]
    side = [size - centroids.shape[-1] + 1 for size in images.shape[-2:]]
    p = F.unfold(images * 255, centroids.shape[-1]).transpose(1, 2)
    p = (p - p.mean(2, keepdim=True)) / (p.var(2, keepdim=True) + preset["contrast"]).sqrt()
    z = torch.cdist((p - tensors["input.mean"]) @ tensors["input.whitening"], centroids.flatten(1))
    f = (z.mean(2, keepdim=True) - z).relu().transpose(1, 2).unflatten(2, side)
    half = (side[0] + 1) // 2
    return F.avg_pool2d(f, half, half, ceil_mode=True).permute(0, 2, 3, 1).flatten(1)

if __name__ == "__main__":
    folder, images, out = sys.argv[1:]
    preset, tensors = json.load(open(f"{folder}/config.json"))["options"]["preset"], load_file(f"{folder}/model.safetensors")
    x = features(preset, tensors, load_file(images)["images"])
    save_file({"features": x, "classes": (x @ tensors["head.weight"].T + tensors["head.bias"]).argmax(1)}, out)
