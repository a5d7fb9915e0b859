#!/usr/bin/env python3
"""Writes official.safetensors: one evaluation pass of the authors' model in float64, for import_test.cpp.

Needs, from PyPI: torch, numpy, safetensors. Run it in this folder. Written from MODEL.md and the paper in plain torch.nn,
token by token; nothing is shared with the C++ code. A model of the authors' structure at a small size (D = 16, K = 12,
C = 10, 14 x 14 tokens, 3 classes), with every name that their checkpoints have: the unused input_proj and a piece of the
backbone too, `module.` before each.

  state.<name>        the state dict
  features [B, C, 14, 14], labels [B]
  recon, map (every seventh pixel), score_max, index_4, index_43, index_42, index_41, index_40
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)
torch.manual_seed(11)
C, G, D, HEADS, HIDDEN, LAYERS, K, CLASSES, B = 10, 14, 16, 8, 24, 4, 12, 3, 3
N = G * G


class Quantize(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("embed", torch.randn(width, K))
        self.register_buffer("cluster_size", torch.rand(K))
        self.register_buffer("embed_avg", torch.randn(width, K))


class EncoderLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(D, HEADS)
        self.linear1, self.linear2 = nn.Linear(D, HIDDEN), nn.Linear(HIDDEN, D)
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)


class DecoderLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn, self.multihead_attn = nn.MultiheadAttention(2 * D, HEADS), nn.MultiheadAttention(2 * D, HEADS)
        self.linear1, self.linear2 = nn.Linear(2 * D, HIDDEN), nn.Linear(HIDDEN, 2 * D)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(2 * D), nn.LayerNorm(2 * D), nn.LayerNorm(2 * D)


class Layers(nn.Module):
    def __init__(self, make, norm=None):
        super().__init__()
        self.layers = nn.ModuleList(make() for _ in range(LAYERS))
        if norm:
            self.norm = norm


class Position(nn.Module):
    def __init__(self):
        super().__init__()
        self.row_embed, self.col_embed = nn.Embedding(G, D // 2), nn.Embedding(G, D // 2)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Module()
        self.enc._conv_stem = nn.Conv2d(3, 2, 3)
        self.enc._bn0 = nn.BatchNorm2d(2)
        self.quantize_conv_t = nn.Conv2d(C, D, 1)
        for level in (1, 2, 3, 4, 5):
            width = D if level == 5 else 2 * D
            setattr(self, f"quantize_list_{level}", nn.ModuleList(Quantize(width) for _ in range(CLASSES)))
        self.encoder = Layers(EncoderLayer)
        self.pos_embed = Position()
        self.decoder = Layers(DecoderLayer, nn.LayerNorm(2 * D))
        self.input_proj = nn.Linear(C, D)
        self.output_proj_list = nn.ModuleList(nn.Linear(2 * D, C) for _ in range(CLASSES))


def nearest(tokens, book):
    """tokens [B, N, d], the codebook of each image's class → vectors and indices."""
    index = torch.stack([((t[:, None] - b.embed.t()[None]) ** 2).sum(2).argmin(1) for t, b in zip(tokens, book)])
    return torch.stack([b.embed.t()[i] for i, b in zip(index, book)]), index


@torch.no_grad()
def main():
    model = Model().eval()
    for parameter in model.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    features, labels = 2 * torch.randn(B, C, G, G), torch.tensor([2, 0, 1])
    position = torch.stack([
        torch.cat([model.pos_embed.col_embed.weight[j], model.pos_embed.row_embed.weight[i]])
        for i in range(G) for j in range(G)])[:, None]  # [N, 1, D]

    x = model.quantize_conv_t(features).flatten(2).permute(2, 0, 1)  # [N, B, D]
    enc = [x]
    for layer in model.encoder.layers:
        x = layer.norm1(x + layer.self_attn(x + position, x + position, x, need_weights=False)[0])
        x = layer.norm2(x + layer.linear2(F.relu(layer.linear1(x))))
        enc.append(x)
    enc = [e.transpose(0, 1) for e in enc]  # [B, N, D]

    golden = {"features": features, "labels": labels}
    top, golden["index_4"] = nearest(enc[4], [model.quantize_list_5[c] for c in labels])
    memory = []
    for level in (3, 2, 1, 0):
        books = [getattr(model, f"quantize_list_{level + 1}")[c] for c in labels]
        tokens = torch.cat([enc[level], top], 2)
        quantised, golden[f"index_4{level}"] = nearest(tokens, books)
        memory.append(quantised.transpose(0, 1))

    wide = torch.cat([position, position], 2)
    x = memory[0]
    for layer, m in zip(model.decoder.layers, memory):
        x = layer.norm1(x + layer.self_attn(x + wide, x + wide, x, need_weights=False)[0])
        x = layer.norm2(x + layer.multihead_attn(x + wide, m + wide, m, need_weights=False)[0])
        x = layer.norm3(x + layer.linear2(F.relu(layer.linear1(x))))
    x = model.decoder.norm(x).transpose(0, 1)  # [B, N, 2D]
    recon = torch.stack([model.output_proj_list[c](x[b]) for b, c in enumerate(labels)]).transpose(1, 2).view(B, C, G, G)

    score = torch.zeros(B, N)  # of the finest level, the last `tokens`
    for b in range(B):
        prototypes = books[b].embed.t()
        for i in range(N):
            h = tokens[b, i]
            plan = torch.softmax(prototypes @ h / K, 0)
            score[b, i] = (plan * (1 - F.cosine_similarity(h[None], prototypes, dim=1))).sum()
    distance = ((recon - features) ** 2).sum(1, keepdim=True).sqrt() + 80 * score.view(B, 1, G, G)
    golden["recon"] = recon
    golden["map"] = F.interpolate(distance, scale_factor=16, mode="bilinear", align_corners=True)
    golden["score_max"] = F.avg_pool2d(golden["map"], 16, stride=1).flatten(1).max(1).values
    for name, tensor in model.state_dict().items():
        golden[f"state.module.{name}"] = tensor
    golden["map"] = golden["map"][:, :, ::7, ::7]  # a sample of its pixels
    save_file({name: tensor.contiguous() for name, tensor in golden.items()}, "official.safetensors")


main()
