#!/usr/bin/env python3
"""Converts a PyTorch state dict (.pth, the format before torch 1.6) to safetensors, with the standard library alone.

    convert_weights.py IN.pth OUT.safetensors

Only tensors and the containers around them are unpickled: anything else in the file is refused.
"""
import array
import collections
import json
import os
import pickle
import struct
import sys

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "DoubleStorage": ("F64", 8), "LongStorage": ("I64", 8)}


class Storage:
    def __init__(self, kind, key):
        self.dtype, self.item = DTYPES[kind]
        self.key = key


def rebuild_tensor(storage, offset, size, stride, *_):
    return storage, offset, list(size), list(stride)


def positions(offset, size, stride):
    """Where the elements lie in the storage, in row-major order."""
    if not size:
        return [offset]
    return [at for i in range(size[0]) for at in positions(offset + i * stride[0], size[1:], stride[1:])]


def row_major(data, item, offset, size, stride):
    elements = memoryview(data).cast({2: "H", 4: "I", 8: "Q"}[item])  # bits: the values themselves do not matter
    return array.array(elements.format, (elements[at] for at in positions(offset, size, stride))).tobytes()


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return rebuild_tensor
        if module == "torch" and name in DTYPES:
            return name
        raise ValueError(f"it holds a {module}.{name}, which is no tensor")

    def persistent_load(self, saved):
        _, kind, key, *_ = saved
        return Storage(kind, key)


def read_state_dict(path):
    with open(path, "rb") as file:
        if Unpickler(file).load() != MAGIC:
            raise ValueError("it is no state dict of PyTorch's first format")
        Unpickler(file).load()  # version of the format
        Unpickler(file).load()  # sizes of the writer's types
        tensors = Unpickler(file).load()
        items = {storage.key: storage.item for storage, *_ in tensors.values()}
        bytes_of = {}
        for key in Unpickler(file).load():
            (count,) = struct.unpack("<q", file.read(8))
            bytes_of[key] = file.read(count * items[key])
            if len(bytes_of[key]) != count * items[key]:
                raise ValueError("it is cut short")
    return tensors, bytes_of


def main():
    source, target = sys.argv[1:]
    try:
        tensors, bytes_of = read_state_dict(source)
    except (ValueError, KeyError, EOFError, pickle.UnpicklingError) as problem:
        sys.exit(f"cannot convert {source}: {problem}")
    header, parts, at = {}, [], 0
    for name, (storage, offset, size, stride) in sorted(tensors.items()):
        part = row_major(bytes_of[storage.key], storage.item, offset, size, stride)
        header[name] = {"dtype": storage.dtype, "shape": size, "data_offsets": [at, at + len(part)]}
        parts.append(part)
        at += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(target + ".part", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(parts)
    os.replace(target + ".part", target)


if __name__ == "__main__":
    main()
