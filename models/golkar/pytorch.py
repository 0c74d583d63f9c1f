"""A trained circuit of Golkar et al. 2020, or its twin by back-propagation, in PyTorch: python pytorch.py FOLDER IMAGES OUT

FOLDER is that of a run; IMAGES, a safetensors file, has `images` (B, C, H, W) from 0 to 1; OUT gets `features` and `classes`."""
import json
import sys
from safetensors.torch import load_file, save_file

def features(preset, tensors, images):
    x = (images.flatten(1) - tensors["input.mean"].item()) / tensors["input.deviation"].item()
    h = x @ tensors["w1"].T
    return h.relu() - tensors["mean"] if preset["circuit"]["nonlinearity"] == "relu" else h

if __name__ == "__main__":
    folder, images, out = sys.argv[1:]
    preset, tensors = json.load(open(f"{folder}/config.json"))["options"]["preset"], load_file(f"{folder}/model.safetensors")
    z = features(preset, tensors, load_file(images)["images"])
    read_out = tensors.get("head.weight", tensors["w2"])
    save_file({"features": z, "classes": (z @ read_out.T).argmax(1)}, out)
