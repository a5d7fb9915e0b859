#!/usr/bin/env python3
"""Writes torch_zip.pth, torch_legacy.pth and torch_checkpoint.pth.tar: files of torch.save, for torch_file_test.cpp.

Needs, from PyPI: torch and numpy. Run it in this folder.

torch_zip.pth, torch_legacy.pth   one state dict, in the format since PyTorch 1.6 and in the one before
torch_checkpoint.pth.tar          as HVQ-Trans's training saves: the state dict of a DistributedDataParallel model under
                                  `state_dict`, beside an optimiser's state and a metric that is a numpy scalar
"""
import collections

import numpy
import torch


def state_dict():
    values = torch.arange(24, dtype=torch.float32) / 4
    state = collections.OrderedDict()
    state["plain"] = values.view(2, 3, 4).clone()
    state["transposed"] = values.view(4, 6).clone().t()
    state["slice"] = values.view(4, 6)[1:3, 2:5]
    state["same_storage"] = values[5:9]
    state["parameter"] = torch.nn.Parameter(values[:4].clone())
    state["scalar"] = torch.tensor(7)
    state["empty"] = torch.zeros(0, 3)
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool):
        state[str(dtype).removeprefix("torch.")] = torch.arange(3).to(dtype)
    state._metadata = collections.OrderedDict({"": {"version": 1}})  # as Module.state_dict() leaves it
    return state


def checkpoint():
    layer = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-4)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.5, -2.0]]))
        layer.bias.copy_(torch.tensor([0.25]))
    state = collections.OrderedDict((f"module.{name}", tensor) for name, tensor in layer.state_dict().items())
    return {"epoch": 1000, "arch": {"name": "HVQ"}, "state_dict": state, "best_metric": numpy.float64(0.98),
            "optimizer": optimizer.state_dict()}


torch.save(state_dict(), "torch_zip.pth")
torch.save(state_dict(), "torch_legacy.pth", _use_new_zipfile_serialization=False)
torch.save(checkpoint(), "torch_checkpoint.pth.tar")
