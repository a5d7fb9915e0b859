#!/usr/bin/env python3
"""Writes model.safetensors: what a plain PyTorch HVQ-Trans gives in float64, for model_test.cpp and step_test.cpp.

Needs, from PyPI: torch, numpy, safetensors. Run it in this folder. Nothing here is shared with the C++ code: layers are
torch.nn's, every class switch is a loop over images, sums over tokens are loops too.

For each case the file holds
  <case>.h0 [B, N, C], <case>.classes [B]          the batch
  <case>.before.<name>                             parameters and codebooks, names as in checkpoints
  <case>.level<l>.tokens, .code                    what each level quantises, and the codes (level 0 is the top)
  <case>.reconstruction, <case>.logits
  <case>.loss.<term>                               total, reconstruction, commitment, pot, classification
  <case>.grad.<name>                               before the clip
  <case>.grad_norm
  <case>.after.<name>                              after the clip, one step of AdamW and one EMA update
  <case>.pot_score [B, N]                          of the finest level
  <case>.map [B, 16G, 16G], .score_max, .score_mean, .score_std   of the reconstruction before the step
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)
C, G, D, HEADS, HIDDEN, LAYERS, K, CLASSES = 5, 2, 4, 2, 6, 2, 4, 3
N = G * G
BETA, ALPHA, CLASSIFICATION, GAMMA, EPSILON = 0.5, 0.01, 0.7, 0.9, 1e-5
LR, WEIGHT_DECAY, CLIP = 1e-3, 1e-2, 0.1


class EncoderLayer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x, pos):
        x = self.norm1(x + self.self_attn(x + pos, x + pos, x)[0])
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class DecoderLayer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, width)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x, memory, pos):
        x = self.norm1(x + self.self_attn(x + pos, x + pos, x)[0])
        x = self.norm2(x + self.multihead_attn(x + pos, memory + pos, memory)[0])
        return self.norm3(x + self.linear2(F.relu(self.linear1(x))))


class Codebook(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("embed", torch.randn(width, K))
        self.register_buffer("cluster_size", torch.rand(K) * 3)
        self.register_buffer("embed_avg", self.embed * self.cluster_size)


class Stack(nn.Module):
    def __init__(self, layers, norm=None):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        if norm is not None:
            self.norm = norm


class Position(nn.Module):
    def __init__(self):
        super().__init__()
        self.row_embed, self.col_embed = nn.Embedding(G, D // 2), nn.Embedding(G, D // 2)

    def forward(self):
        return torch.stack([torch.cat([self.col_embed.weight[j], self.row_embed.weight[i]]) for i in range(G) for j in range(G)])


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.linear1, self.linear2 = nn.LayerNorm(C), nn.Linear(C, D), nn.Linear(D, CLASSES)

    def forward(self, h0):
        return self.linear2(F.relu(self.linear1(self.norm(h0.mean(1)))))


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h, e):
        return e.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class HvqTrans(nn.Module):
    def __init__(self, hierarchical, codebook_switching, expert_switching):
        super().__init__()
        self.hierarchical, self.codebook_switching, self.expert_switching = hierarchical, codebook_switching, expert_switching
        self.quantize_conv_t = nn.Conv2d(C, D, 1)
        self.pos_embed = Position()
        self.encoder = Stack([EncoderLayer(D) for _ in range(LAYERS)])
        self.decoder = Stack([DecoderLayer(2 * D) for _ in range(LAYERS)], nn.LayerNorm(2 * D))
        self.output_proj_list = nn.ModuleList([nn.Linear(2 * D, C) for _ in range(CLASSES if expert_switching else 1)])
        self.classifier = Classifier()
        codebooks = CLASSES if codebook_switching else 1
        for level in range(LAYERS + 1 if hierarchical else 1):
            books = nn.ModuleList([Codebook(D if level == 0 else 2 * D) for _ in range(codebooks)])
            setattr(self, f"quantize_list_{LAYERS + 1 - level}", books)

    def book(self, level, image_class):
        return getattr(self, f"quantize_list_{LAYERS + 1 - level}")[image_class if self.codebook_switching else 0]

    def quantize(self, level, h, classes):
        code = torch.zeros(h.shape[:2], dtype=torch.long)
        e = torch.zeros_like(h)
        for b in range(h.shape[0]):
            prototypes = self.book(level, classes[b]).embed.t()
            for i in range(N):
                code[b, i] = ((prototypes - h[b, i].detach()) ** 2).sum(1).argmin()
                e[b, i] = prototypes[code[b, i]]
        e = e.detach()
        self.levels.append((h, e, code))
        return StraightThrough.apply(h, e)

    def forward(self, h0, classes):
        self.levels = []
        pos = self.pos_embed()
        image = h0.transpose(1, 2).reshape(-1, C, G, G)
        enc = [self.quantize_conv_t(image).flatten(2).transpose(1, 2)]
        for layer in self.encoder.layers:
            enc.append(layer(enc[-1], pos))
        top = self.quantize(0, enc[LAYERS], classes)
        if self.hierarchical:
            memory = [self.quantize(LAYERS - i, torch.cat([enc[i], top], 2), classes) for i in reversed(range(LAYERS))]
        else:
            memory = [torch.cat([top, top], 2)] * LAYERS
        wide = torch.cat([pos, pos], 1)
        x = memory[0]
        for layer, m in zip(self.decoder.layers, memory):
            x = layer(x, m, wide)
        x = self.decoder.norm(x)
        head = [self.output_proj_list[c if self.expert_switching else 0] for c in classes]
        return torch.stack([head[b](x[b]) for b in range(x.shape[0])])


def cosine(a, b):
    return (a @ b) / a.norm() / b.norm()


def pot_loss(h, prototypes):
    cost = torch.stack([torch.stack([1 - cosine(token, e) for e in prototypes]) for token in h])
    weight = torch.exp(h @ prototypes.t() / K)
    to_prototypes = (cost * weight / weight.sum(1, keepdim=True)).sum(1).mean()
    to_tokens = (cost * weight / weight.sum(0, keepdim=True)).sum(0).mean()
    return to_prototypes + to_tokens


def ema_update(model, classes):
    books = sorted(set(classes)) if model.codebook_switching else [None]
    for level, (h, _, code) in enumerate(model.levels):
        for book_class in books:
            book = model.book(level, book_class)
            count, total = torch.zeros(K), torch.zeros(K, h.shape[2])
            for b, image_class in enumerate(classes):
                if book_class is not None and image_class != book_class:
                    continue
                for i in range(N):
                    count[code[b, i]] += 1
                    total[code[b, i]] += h[b, i].detach()
            book.cluster_size.mul_(GAMMA).add_((1 - GAMMA) * count)
            book.embed_avg.mul_(GAMMA).add_((1 - GAMMA) * total.t())
            n = book.cluster_size.sum()
            size = (book.cluster_size + EPSILON) / (n + K * EPSILON) * n
            book.embed.copy_(book.embed_avg / size)


def record(golden, case, hierarchical, switching, pot, classes):
    torch.manual_seed(7)
    model = HvqTrans(hierarchical, switching, switching)
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # no bias or norm at a value that hides a mistake
            parameter.add_(0.1 * torch.randn_like(parameter))
    h0 = 2 * torch.randn(len(classes), N, C)

    def store(prefix, tensors):
        for name, tensor in tensors:
            golden[f"{case}.{prefix}{name}"] = tensor.detach().clone().contiguous()

    store("", [("h0", h0), ("classes", torch.tensor(classes))])
    store("before.", model.state_dict().items())
    reconstruction, logits = model(h0, classes), model.classifier(h0)
    losses = {
        "reconstruction": F.mse_loss(reconstruction, h0),
        "commitment": sum(F.mse_loss(h, e) for h, e, _ in model.levels),
        "classification": F.cross_entropy(logits, torch.tensor(classes)),
        "pot": sum(
            pot_loss(h[b], model.book(level, c).embed.t()) / len(classes)
            for level, (h, _, _) in enumerate(model.levels) for b, c in enumerate(classes)),
    }
    total = losses["reconstruction"] + BETA * losses["commitment"] + CLASSIFICATION * losses["classification"]
    if pot:
        total = total + ALPHA * losses["pot"]
    else:
        del losses["pot"]
    losses["total"] = total
    total.backward()
    store("", [("reconstruction", reconstruction), ("logits", logits)])
    store("loss.", losses.items())
    for level, (h, _, code) in enumerate(model.levels):
        store(f"level{level}.", [("tokens", h), ("code", code)])
    # A head or position without a gradient here has a gradient of zero there.
    store("grad.", [(n, torch.zeros_like(p) if p.grad is None else p.grad) for n, p in model.named_parameters()])

    h, _, _ = model.levels[-1]
    last = len(model.levels) - 1
    score = torch.zeros(len(classes), N)
    with torch.no_grad():
        for b, c in enumerate(classes):
            prototypes = model.book(last, c).embed.t()
            for i in range(N):
                plan = torch.softmax(prototypes @ h[b, i] / K, 0)
                score[b, i] = sum(plan[k] * (1 - cosine(h[b, i], prototypes[k])) for k in range(K))
        distance = ((reconstruction - h0) ** 2).sum(2).sqrt().view(-1, 1, G, G)
        large = F.interpolate(distance, scale_factor=16, mode="bilinear", align_corners=True)
        pooled = F.avg_pool2d(large, 16, stride=1)
    store("", [("pot_score", score), ("map", large[:, 0]), ("score_max", pooled.flatten(1).max(1).values),
               ("score_mean", large.flatten(1).mean(1)), ("score_std", large.flatten(1).std(1, correction=0))])

    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    golden[f"{case}.grad_norm"] = norm.detach().clone()
    optimiser.step()
    with torch.no_grad():
        ema_update(model, classes)
    store("after.", model.state_dict().items())


golden = {}
record(golden, "full", hierarchical=True, switching=True, pot=True, classes=[2, 0, 2, 2, 0])  # class 1 is absent
record(golden, "single", hierarchical=False, switching=False, pot=False, classes=[1, 2, 1, 0])
save_file(golden, "model.safetensors")
