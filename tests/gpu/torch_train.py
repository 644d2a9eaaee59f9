#!/usr/bin/env python3
"""An encoder of XLM-R base's size in PyTorch on the batches of a dataset: bf16, sdpa, torch.compile. One JSON line.

With transformers where it is installed (BertModel), else the same layers written out. Mean pooling, InfoNCE over the
batch, fused AdamW, no dropout, tokens ahead of the clock, padded to a multiple of 8. Useful tokens are counted.
"""
import argparse
import json
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

WIDTH, LAYERS, HEADS, INNER = 768, 12, 12, 3072


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])

    def forward(self, x, mask):
        n, length, _ = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = self.norms[0](x + self.out(mixed.transpose(1, 2).reshape(n, length, WIDTH)))
        return self.norms[1](x + self.down(F.gelu(self.up(x))))


class Plain(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.words, self.positions = nn.Embedding(vocab, WIDTH), nn.Embedding(512, WIDTH)
        self.norm, self.layers = nn.LayerNorm(WIDTH), nn.ModuleList([Layer() for _ in range(LAYERS)])

    def forward(self, ids, mask):
        x = self.norm(self.words(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device)))
        bias = mask[:, None, None, :].bool()
        for layer in self.layers:
            x = layer(x, bias)
        return x


def encoder(vocab):
    try:
        from transformers import BertConfig, BertModel
    except ImportError:
        return "torch", Plain(vocab)
    config = BertConfig(vocab_size=vocab, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                        intermediate_size=INNER, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = BertModel._from_config(config, add_pooling_layer=False, attn_implementation="sdpa")

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids, mask):
            return self.model(input_ids=ids, attention_mask=mask).last_hidden_state

    return "transformers", Hidden()


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--batches", required=True, help="of pack.sh: the vocabulary's size, and token ids by batch")
    args.add_argument("--steps", type=int, default=40)
    args = args.parse_args()
    with open(args.batches) as file:
        described = json.load(file)
    vocab, of_step = described["vocab"], described["batches"]
    size = len(of_step[0][0])

    def padded(texts):
        width = -(-max(map(len, texts)) // 8) * 8
        ids = torch.tensor([t + [0] * (width - len(t)) for t in texts])
        return ids, torch.tensor([[1] * len(t) + [0] * (width - len(t)) for t in texts])

    batches, tokens, cells = [], [], []
    for n in range(args.steps):
        sides = of_step[n]
        batches.append([tuple(x.cuda() for x in padded(side)) for side in sides])
        tokens.append(sum(len(t) for side in sides for t in side))
        cells.append(sum(ids.numel() for ids, _ in batches[-1]))

    torch.manual_seed(0)
    kind, model = encoder(vocab)
    model = model.cuda().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    forward, compiled = torch.compile(model, dynamic=True), "compile"
    try:
        with torch.autocast("cuda", torch.bfloat16):
            forward(*batches[0][0])
    except Exception as e:  # it wants a C compiler
        print(f"torch.compile does not work here: {type(e).__name__}", flush=True)
        forward, compiled = model, "eager"
    labels = torch.arange(size, device="cuda")

    def embed(ids, mask):
        hidden = forward(ids, mask)
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return F.normalize(((hidden * weight).sum(1) / weight.sum(1)).float(), dim=-1)

    warmup = args.steps // 4
    for n, (queries, passages) in enumerate(batches):
        if n == warmup:
            torch.cuda.synchronize()
            start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            scores = embed(*queries) @ embed(*passages).T / 0.05
        F.cross_entropy(scores.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    secs = time.perf_counter() - start
    print(json.dumps({"peer": f"{kind}, {compiled}, sdpa, bf16", "tokens_per_sec": sum(tokens[warmup:]) / secs,
                      "padded_tokens_per_sec": sum(cells[warmup:]) / secs, "batch": size, "vocab": vocab,
                      "peak_mib": torch.cuda.max_memory_allocated() / 2**20, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
