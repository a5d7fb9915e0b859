"""HVQ-Trans and its objective, written twice for torch_step.py: `Authors` and `Batched`."""
import dataclasses
import itertools

import torch
import torch.nn as nn
import torch.nn.functional as F

EPSILON = 1e-5  # of the moving average


@dataclasses.dataclass(frozen=True)
class Setting:
    channels: int
    grid: int
    width: int
    layers: int
    heads: int
    hidden: int
    classes: int
    prototypes: int
    batch: int = 16
    dropout: float = 0.1
    decay: float = 0.99
    lr: float = 1e-4
    weight_decay: float = 1e-4
    clip: float = 0.1
    commitment: float = 0.5
    pot: float = 0.01
    classification: float = 1.0


class EncoderLayer(nn.Module):
    def __init__(self, attention, width, s):
        super().__init__()
        self.self_attn = attention(width, s.heads, s.dropout)
        self.linear1, self.linear2 = nn.Linear(width, s.hidden), nn.Linear(s.hidden, width)
        self.norm1, self.norm2, self.dropout = nn.LayerNorm(width), nn.LayerNorm(width), nn.Dropout(s.dropout)

    def feed_forward(self, x):
        return self.dropout(self.linear2(self.dropout(F.relu(self.linear1(x)))))

    def forward(self, x, position):
        placed = x + position
        x = self.norm1(x + self.dropout(self.self_attn(placed, placed, x)))
        return self.norm2(x + self.feed_forward(x))


class DecoderLayer(EncoderLayer):
    def __init__(self, attention, width, s):
        super().__init__(attention, width, s)
        self.multihead_attn, self.norm3 = attention(width, s.heads, s.dropout), nn.LayerNorm(width)

    def forward(self, x, memory, position):
        placed = x + position
        x = self.norm1(x + self.dropout(self.self_attn(placed, placed, x)))
        x = self.norm2(x + self.dropout(self.multihead_attn(x + position, memory + position, memory)))
        return self.norm3(x + self.feed_forward(x))


class HvqTrans(nn.Module):
    """What both share. Parameters are named as in checkpoints; tokens are [B, N, D] or [N, B, D]."""

    def __init__(self, s, attention):
        super().__init__()
        self.setting = s
        self.quantize_conv_t = nn.Conv2d(s.channels, s.width, 1)
        tables = {axis: nn.Embedding(s.grid, s.width // 2) for axis in ("row_embed", "col_embed")}
        self.pos_embed = nn.ModuleDict(tables)
        for table in tables.values():
            nn.init.uniform_(table.weight)
        layers = [nn.ModuleList(kind(attention, width, s) for _ in range(s.layers))
                  for kind, width in ((EncoderLayer, s.width), (DecoderLayer, 2 * s.width))]
        self.encoder = nn.ModuleDict({"layers": layers[0]})
        self.decoder = nn.ModuleDict({"layers": layers[1], "norm": nn.LayerNorm(2 * s.width)})
        self.classifier = nn.ModuleDict({"norm": nn.LayerNorm(s.channels), "linear1": nn.Linear(s.channels, s.width),
                                         "linear2": nn.Linear(s.width, s.classes)})

    def position(self):  # [N, D], column first
        shape = (self.setting.grid, self.setting.grid, -1)
        columns = self.pos_embed["col_embed"].weight.unsqueeze(0).expand(shape)
        return torch.cat([columns, self.pos_embed["row_embed"].weight.unsqueeze(1).expand(shape)], 2).flatten(0, 1)

    def encode(self, tokens, position):
        outputs = [tokens]
        for layer in self.encoder["layers"]:
            outputs.append(layer(outputs[-1], position))
        return outputs

    def decode(self, memory, position):
        wide, x = torch.cat([position, position], -1), memory[0]
        for layer, level in zip(self.decoder["layers"], memory):
            x = layer(x, level, wide)
        return self.decoder["norm"](x)

    def classify(self, pooled):  # to logits [B, classes]
        c = self.classifier
        return c["linear2"](F.relu(c["linear1"](c["norm"](pooled))))

    def losses(self, reconstruction, h0, pooled, classes, commitment, pot):
        """Eq. 1 and its terms. pooled [B, C]: h0's mean over tokens."""
        s, logits = self.setting, self.classify(pooled)
        terms = {"reconstruction": F.mse_loss(reconstruction, h0), "commitment": commitment, "pot": pot,
                 "classification": F.cross_entropy(logits, classes)}
        return terms | {"total": terms["reconstruction"] + s.commitment * commitment + s.pot * pot +
                        s.classification * terms["classification"]}


# ---- authors


class WeightedAttention(nn.MultiheadAttention):
    def forward(self, queries, keys, values):
        return super().forward(queries, keys, values)[0]


class Codebook(nn.Module):
    """Of one class at one level; embed [D, K]."""

    def __init__(self, width, prototypes):
        super().__init__()
        self.register_buffer("embed", torch.randn(width, prototypes))
        self.register_buffer("cluster_size", torch.zeros(prototypes))
        self.register_buffer("embed_avg", self.embed.clone())

    def forward(self, h):
        """Of one image's tokens [N, D]: the prototypes, the commitment loss, the transport loss, counts and sums."""
        prototypes = self.embed.shape[1]
        distance = h.square().sum(1, keepdim=True) - 2 * h @ self.embed + self.embed.square().sum(0, keepdim=True)
        code = distance.argmin(1)
        onehot = F.one_hot(code, prototypes).to(h.dtype)
        nearest = F.embedding(code, self.embed.t())
        cost = 1 - F.normalize(h, dim=1) @ F.normalize(self.embed, dim=0)
        weight = torch.exp(h @ self.embed / prototypes)
        pot = ((cost * weight / weight.sum(1, keepdim=True)).sum(1).mean() +
               (cost * weight / weight.sum(0, keepdim=True)).sum(0).mean())
        seen = onehot.sum(0), h.detach().t() @ onehot
        return h + (nearest - h).detach(), F.mse_loss(h, nearest), pot, seen

    @torch.no_grad()
    def update(self, count, total, decay):
        self.cluster_size.mul_(decay).add_(count, alpha=1 - decay)
        self.embed_avg.mul_(decay).add_(total, alpha=1 - decay)
        n = self.cluster_size.sum()
        self.embed.copy_(self.embed_avg / ((self.cluster_size + EPSILON) / (n + len(count) * EPSILON) * n))


class Authors(HvqTrans):
    def __init__(self, s):
        super().__init__(s, WeightedAttention)
        self.output_proj_list = nn.ModuleList(nn.Linear(2 * s.width, s.channels) for _ in range(s.classes))
        for level in range(s.layers + 1):
            width = s.width if level == 0 else 2 * s.width
            books = nn.ModuleList(Codebook(width, s.prototypes) for _ in range(s.classes))
            setattr(self, f"quantize_list_{s.layers + 1 - level}", books)
        for parameter in self.parameters():
            parameter.grad = torch.zeros_like(parameter)

    def zero_grad(self):
        super().zero_grad(set_to_none=False)  # the head of an absent class has a gradient, of zero

    def make_optimizer(self):
        return torch.optim.AdamW(self.parameters(), self.setting.lr, weight_decay=self.setting.weight_decay)

    def quantize(self, level, h, classes, seen):
        books = getattr(self, f"quantize_list_{self.setting.layers + 1 - level}")
        output, commitment, pot = torch.zeros_like(h), 0, 0
        for b in range(len(h)):
            book = books[classes[b].item()]
            output[b], one_commitment, one_pot, one_seen = book(h[b])
            commitment, pot = commitment + one_commitment / len(h), pot + one_pot / len(h)
            seen.append((book, *one_seen))
        return output, commitment, pot

    def objective(self, features, classes):  # [B, C, G, G], [B]
        layers, batch, seen = self.setting.layers, len(features), []
        position = torch.cat([self.position().unsqueeze(1)] * batch, 1)
        enc = self.encode(self.quantize_conv_t(features).flatten(2).permute(2, 0, 1), position)
        enc = [output.transpose(0, 1) for output in enc]
        top, commitment, pot = self.quantize(0, enc[-1], classes, seen)
        memory = []
        for level in range(1, layers + 1):
            h = torch.cat([enc[layers - level], top], 2)
            finer, more_commitment, more_pot = self.quantize(level, h, classes, seen)
            memory.append(finer.transpose(0, 1))
            commitment, pot = commitment + more_commitment, pot + more_pot
        dec = self.decode(memory, position)
        reconstruction = dec.new_zeros(len(dec), batch, self.setting.channels)
        for b in range(batch):
            reconstruction[:, b] = self.output_proj_list[classes[b].item()](dec[:, b])
        image = reconstruction.permute(1, 2, 0).reshape(features.shape)
        losses = self.losses(image, features, features.mean((2, 3)), classes, commitment, pot)
        self.logged = losses["total"].item()  # before the way back, as the authors log it
        return losses, seen

    def update_codebooks(self, seen, _classes):
        sums = {}
        for book, count, total in seen:
            before = sums.get(book, (0, 0))
            sums[book] = before[0] + count, before[1] + total
        for book, (count, total) in sums.items():
            book.update(count, total, self.setting.decay)

    def entries(self):
        """Each checkpoint's name, the tensor that holds it, and its view of that tensor."""
        named = itertools.chain(self.named_parameters(), self.named_buffers())
        return [(name, tensor, lambda t: t) for name, tensor in named]

    def refresh(self):
        pass


# ---- batched


class FusedAttention(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def project(self, x, first, count):  # to `count` tensors [B, heads, N, d]
        rows = slice(first * x.shape[2], (first + count) * x.shape[2])
        projected = F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])
        return projected.unflatten(2, (count, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, queries, keys, values):
        if queries is keys:
            q, k = self.project(queries, 0, 2)
        else:
            (q,), (k,) = self.project(queries, 0, 1), self.project(keys, 1, 1)
        (v,) = self.project(values, 2, 1)
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class Codebooks(nn.Module):
    """Of all classes at one level; embed [classes, K, D]."""

    def __init__(self, s, width):
        super().__init__()
        self.decay = s.decay
        self.register_buffer("embed", torch.randn(s.classes, s.prototypes, width))
        self.register_buffer("cluster_size", torch.zeros(s.classes, s.prototypes))
        self.register_buffer("embed_avg", self.embed.clone())
        self.register_buffer("squared_norm", self.embed.square().sum(2))

    def forward(self, h, classes):
        """Of tokens [B, N, D]: their prototypes, the commitment loss, the transport loss, the codes."""
        own, squared = self.embed.index_select(0, classes), self.squared_norm.index_select(0, classes).unsqueeze(1)
        dot = torch.bmm(h, own.transpose(1, 2))  # [B, N, K]
        code = (squared - 2 * dot.detach()).argmin(2)
        nearest = own.gather(1, code.unsqueeze(2).expand_as(h))
        cost = 1 - dot * torch.linalg.vector_norm(h, dim=2, keepdim=True).reciprocal() * squared.rsqrt()
        logit = dot / own.shape[1]
        pot = (cost * logit.softmax(2)).sum() / h.shape[1] + (cost * logit.softmax(1)).sum() / own.shape[1]
        return h + (nearest - h).detach(), F.mse_loss(h, nearest), pot / len(h), code

    @torch.no_grad()
    def update(self, h, code, present, row):
        """present [R]: the classes of the batch; row [B]: each image's among them."""
        prototypes, width = self.embed.shape[1:]
        index = (code + row.unsqueeze(1) * prototypes).flatten()
        counts = h.new_zeros(len(present) * prototypes).index_add_(0, index, h.new_ones(len(index)))
        sums = h.new_zeros(len(present) * prototypes, width).index_add_(0, index, h.flatten(0, 1))
        n = self.cluster_size[present].mul_(self.decay).add_(counts.view(-1, prototypes), alpha=1 - self.decay)
        m = self.embed_avg[present].mul_(self.decay).add_(sums.view(-1, prototypes, width), alpha=1 - self.decay)
        total = n.sum(1, keepdim=True)
        e = m / ((n + EPSILON) / (total + prototypes * EPSILON) * total).unsqueeze(2)
        self.cluster_size.index_copy_(0, present, n)
        self.embed_avg.index_copy_(0, present, m)
        self.embed.index_copy_(0, present, e)
        self.squared_norm.index_copy_(0, present, e.square().sum(2))


class Batched(HvqTrans):
    def __init__(self, s):
        super().__init__(s, FusedAttention)
        heads = [nn.Linear(2 * s.width, s.channels) for _ in range(s.classes)]
        self.output_weight = nn.Parameter(torch.stack([head.weight.detach() for head in heads]))
        self.output_bias = nn.Parameter(torch.stack([head.bias.detach() for head in heads]))
        widths = [s.width] + s.layers * [2 * s.width]
        self.codebooks = nn.ModuleList(Codebooks(s, width) for width in widths)

    def make_optimizer(self):
        return torch.optim.AdamW(self.parameters(), self.setting.lr, weight_decay=self.setting.weight_decay, fused=True)

    def reconstruct(self, h0, classes):
        """Of features [B, N, C] with the codebooks and heads of `classes` [B]: the features again, the commitment and the
        transport loss, and each level's tokens with their codes."""
        position = self.position()
        enc = self.encode(F.linear(h0, self.quantize_conv_t.weight.flatten(1), self.quantize_conv_t.bias), position)
        outputs, seen, commitment, pot = [], [], 0, 0
        for level, codebooks in enumerate(self.codebooks):
            with torch.autocast(h0.device.type, enabled=False):  # prototypes and distances stay in full precision
                h = (enc[-1] if level == 0 else torch.cat([enc[-1 - level], outputs[0]], 2)).to(codebooks.embed.dtype)
                output, more_commitment, more_pot, code = codebooks(h, classes)
            outputs.append(output)
            seen.append((h.detach(), code))
            commitment, pot = commitment + more_commitment, pot + more_pot
        weight, bias = self.output_weight.index_select(0, classes), self.output_bias.index_select(0, classes)
        dec = self.decode(outputs[1:], position)
        return torch.baddbmm(bias.unsqueeze(1), dec, weight.transpose(1, 2)), commitment, pot, seen

    def objective(self, h0, classes):  # [B, N, C], [B]
        reconstruction, commitment, pot, seen = self.reconstruct(h0, classes)
        return self.losses(reconstruction, h0, h0.mean(1), classes, commitment, pot), seen

    def update_codebooks(self, seen, classes):
        present, row = (t.to(seen[0][0].device) for t in classes.unique(return_inverse=True))
        for codebooks, (h, code) in zip(self.codebooks, seen):
            codebooks.update(h, code, present, row)

    def entries(self):
        own = ("output_weight", "output_bias", "codebooks.")
        entries = [(name, p, lambda t: t) for name, p in self.named_parameters() if not name.startswith(own)]
        for c in range(self.setting.classes):
            one = lambda t, c=c: t[c]
            entries += [(f"output_proj_list.{c}.weight", self.output_weight, one),
                        (f"output_proj_list.{c}.bias", self.output_bias, one)]
            for level, books in enumerate(self.codebooks):
                prefix = f"quantize_list_{self.setting.layers + 1 - level}.{c}."
                entries += [(prefix + "embed", books.embed, lambda t, c=c: t[c].t()),
                            (prefix + "embed_avg", books.embed_avg, lambda t, c=c: t[c].t()),
                            (prefix + "cluster_size", books.cluster_size, one)]
        return entries

    def refresh(self):
        for codebooks in self.codebooks:
            codebooks.squared_norm.copy_(codebooks.embed.square().sum(2))
