"""Writes tensors.pth, the state_dict that tests/it/pth.rs reads. With PyTorch: python tensors.py [PROTOCOL PATH]"""

import collections
import pathlib
import sys

import torch

steps = torch.arange(24, dtype=torch.float32)
shared = steps.reshape(2, 3, 2, 2)
state_dict = collections.OrderedDict({
    "module.rows": shared,
    "module.last": shared[1, 2],  # from number 20 on, in the same memory
    "module.columns": steps[:6].reshape(2, 3).t(),
    "module.channels_last": shared.clone().contiguous(memory_format=torch.channels_last),
    "module.every_other": torch.arange(10.0)[1::2],
    "module.parameter": torch.nn.Parameter(torch.tensor([0.5, -0.25])),
    "module.f64": torch.tensor([0.1], dtype=torch.float64),
    "module.f16": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "module.bf16": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "module.u8": torch.tensor([0, 255], dtype=torch.uint8),
    "module.i16": torch.tensor([-1, 300], dtype=torch.int16),
    "module.i32": torch.tensor([-1, 70000]),
    "module.num_batches_tracked": torch.tensor(5000),
    "module.mask": torch.tensor([True, False]),
    "module.empty": torch.zeros(0, 3),
    "module.repeated": torch.tensor([1.0]).expand(3),
    "module.complex": torch.tensor([1j]),
    "module.sparse": torch.eye(2).to_sparse(),
    "module.no_tensor": {"a": [1, 2.5, None, "text", (True, False)], "b": 2**70},
})
state_dict["module.i32"] = state_dict["module.i32"].to(torch.int32)
state_dict._metadata = collections.OrderedDict({"": {"version": 1}})
protocol, path = sys.argv[1:] or (2, pathlib.Path(__file__).with_suffix(".pth"))
saved = {"epoch": 3, "config": {"b1": {"layer": {"lr": 0.08, "num": 0}}}, "state_dict": state_dict}
torch.save(saved, path, pickle_protocol=int(protocol))
