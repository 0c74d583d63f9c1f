"""A trained SoftHebb model in PyTorch: python pytorch.py FOLDER IMAGES OUT

FOLDER is that of a run; IMAGES, a safetensors file, has `images` (B, C, H, W) from 0 to 1; OUT gets `features` and `classes`."""
import json
import sys
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

def mean_off(u):
    return F.relu(u - u.mean(1, keepdim=True))

ACTIVATIONS = {
    "linear": lambda u: u, "relu": F.relu, "triangle": lambda u, power: mean_off(u) ** power,
    "repu": lambda u, power: F.relu(u) ** power, "softmax": lambda u, scale: (scale * u).softmax(1),
    "ramp": lambda u, slope: (slope * u).clamp(-1, 1),
}

def features(preset, tensors, x):
    if preset["head"].get("mirrored"):
        return (unmirrored(preset, tensors, x) + unmirrored(preset, tensors, x.flip(3))) / 2
    return unmirrored(preset, tensors, x)

def unmirrored(preset, tensors, x):
    maps = []
    for i, block in enumerate(preset["blocks"]):
        mine = {name.split(".")[2]: tensor for name, tensor in tensors.items() if name.startswith(f"layers.{i}.")}
        layer, pool, activation = block["layer"], block.get("pool"), dict(block["activation"])
        if block["batch_norm"]:
            x = F.batch_norm(x, mine["running_mean"], mine["running_var"])
        if layer["kind"] == "dense":
            u = x.flatten(1) @ mine["weight"].T
        else:
            mode = {"zeros": "constant"}.get(layer["padding_mode"], layer["padding_mode"])
            u = F.conv2d(F.pad(x, [layer["padding"]] * 4, mode), mine["weight"], groups=layer["groups"])
        if block["learning"].get("pre_triangle"):
            u = mean_off(u)
        x = ACTIVATIONS[activation.pop("kind")](u, **activation)
        if pool:
            pool2d = {"max": F.max_pool2d, "avg": F.avg_pool2d}[pool["kind"]]
            x = pool2d(x, pool["kernel"], pool["stride"], pool["padding"])
        maps.append(x.flatten(1))
    return torch.cat(maps, 1) if preset["head"].get("layers") == "all" else maps[-1]

if __name__ == "__main__":
    folder, images, out = sys.argv[1:]
    preset, tensors = json.load(open(f"{folder}/config.json"))["options"]["preset"], load_file(f"{folder}/model.safetensors")
    x = features(preset, tensors, load_file(images)["images"])
    scores = x @ tensors["head.weight"].T + tensors.get("head.bias", 0)
    save_file({"features": x, "classes": scores.argmax(1)}, out)
