"""A trained network of Krotov & Hopfield 2019 in PyTorch: python pytorch.py FOLDER IMAGES OUT

FOLDER is that of a run; IMAGES, a safetensors file, has `images` (B, C, H, W) from 0 to 1; OUT gets `features` and `classes`."""
import json
import sys
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

def features(preset, tensors, images):
    x = F.normalize(images.flatten(1), eps=torch.finfo(torch.float32).tiny)
    return (x @ tensors["weight"].T).relu() ** preset["power"]

if __name__ == "__main__":
    folder, images, out = sys.argv[1:]
    preset, tensors = json.load(open(f"{folder}/config.json"))["options"]["preset"], load_file(f"{folder}/model.safetensors")
    x = features(preset, tensors, load_file(images)["images"])
    save_file({"features": x, "classes": (x @ tensors["head.weight"].T + tensors["head.bias"]).argmax(1)}, out)
