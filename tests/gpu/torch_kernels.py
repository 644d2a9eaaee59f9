#!/usr/bin/env python3
"""What PyTorch takes for the jobs of our kernels, with the names and sizes of tests/bench/gpu.rs, a JSON line each.

Median of many calls, with the device synchronised at both ends; bf16 unless the name says otherwise. `eager` and
`compile` are what a user writes; `gradcache` is the loss as GradCache computes it, in parts of the queries, so that
the scores of one part have a graph at a time.
"""
import json
import statistics
import time

import torch
import torch.nn.functional as F

DEVICE = "cuda"
torch.manual_seed(0)


def median_ms(call, calls=20):
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def report(name, peer, call, calls=20, held=()):
    try:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        for x in held:
            x.grad = None
        before = torch.cuda.memory_allocated()
        ms = median_ms(call, calls)
        peak = (torch.cuda.max_memory_allocated() - before) / 2**20
        print(json.dumps({"name": name, "peer": peer, "ms": ms, "peak_mib": peak}), flush=True)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        print(json.dumps({"name": name, "peer": peer, "out_of_memory": True}), flush=True)
    except Exception as e:  # torch.compile wants a C compiler: what cannot run takes nothing else with it
        print(json.dumps({"name": name, "peer": peer, "error": f"{type(e).__name__}: {e}"[:300]}), flush=True)


def limits():
    a, b = (torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    ms = median_ms(lambda: a @ b)
    print(json.dumps({"name": "limit", "peer": "bf16 product 8192", "tflops": 2 * 8192**3 / ms / 1e9}), flush=True)
    x = torch.empty(2**30, device=DEVICE, dtype=torch.uint8)
    y = torch.empty_like(x)
    ms = median_ms(lambda: y.copy_(x))
    print(json.dumps({"name": "limit", "peer": "copy", "gb_per_s": 2 * 2**30 / ms / 1e6}), flush=True)


def unit(rows, width):
    return F.normalize(torch.randn(rows, width, device=DEVICE), dim=-1).bfloat16()


def info_nce(rows, width):
    queries, passages = unit(rows, width).requires_grad_(), unit(rows, width).requires_grad_()
    labels = torch.arange(rows, device=DEVICE)

    def loss(q, p, first=0):
        scores = q @ p.T / 0.05
        return F.cross_entropy(scores.float(), labels[first:first + len(q)], reduction="sum") / rows

    def eager():
        queries.grad = passages.grad = None
        loss(queries, passages).backward()

    compiled = torch.compile(loss)

    def with_compile():
        queries.grad = passages.grad = None
        compiled(queries, passages).backward()

    def gradcache(part=4096):
        queries.grad = passages.grad = None
        for first in range(0, rows, part):
            loss(queries[first:first + part], passages, first).backward()

    name = f"info_nce {rows} x {rows} x {width}"
    calls = 20 if rows < 40_000 else 5
    for peer, call in (("eager", eager), ("compile", with_compile), ("gradcache", gradcache)):
        report(name, peer, call, calls, held=(queries, passages))


def backward_of(f, *inputs):
    inputs = [x.requires_grad_() for x in inputs]
    dy = torch.randn_like(f(*inputs))

    def call():
        for x in inputs:
            x.grad = None
        f(*inputs).backward(dy)

    return call


def bf16(*shape):
    return torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16)


def row_ops(rows=30_000, width=768, inner=3072):
    gain, shift, bias = bf16(width), bf16(width), bf16(inner)
    ops = {
        f"add_norm {rows} x {width}": (lambda x, r, g, s: F.layer_norm(x + r, (width,), g, s), (bf16(rows, width), bf16(rows, width), gain, shift)),
        f"rms_norm {rows} x {width}": (lambda x, g: F.rms_norm(x, (width,), g), (bf16(rows, width), gain)),
        f"bias_activation {rows} x {inner}": (lambda x, b: F.gelu(x + b), (bf16(rows, inner), bias)),
    }
    for name, (f, inputs) in ops.items():
        report(name, "eager", backward_of(f, *inputs))
        report(name, "compile", backward_of(torch.compile(f), *inputs))


def attention(n, length, heads=12, size=64):
    """Padded to one length, as a batch of texts of that length is: no padding is wasted here."""
    qkv = [bf16(n, heads, length, size) for _ in range(3)]
    name = f"attention {n} x {length} x {heads} x {size}"
    report(name, "sdpa", backward_of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v), *qkv))


def adamw(n=200_000_000):
    w = torch.randn(n, device=DEVICE).requires_grad_()
    w.grad = torch.randn_like(w)
    optimizer = torch.optim.AdamW([w], fused=True)
    report(f"adamw {n}", "fused", optimizer.step)


def rank(queries=13_090, passages=13_014, width=384):
    q, p = (F.normalize(torch.randn(n, width, device=DEVICE), dim=-1) for n in (queries, passages))
    relevant = torch.randint(passages, (queries, 11), device=DEVICE)

    def call():
        scores = q @ p.T
        thresholds = scores.gather(1, relevant)
        ordered = scores.sort(1).values
        return passages - torch.searchsorted(ordered, thresholds, right=True)

    report(f"rank_count {queries} x {passages} x {width}", "sort f32", call)


if __name__ == "__main__":
    limits()
    for rows in (8192, 32_768, 65_536):
        info_nce(rows, 768)
    row_ops()
    attention(1024, 32)
    attention(64, 512)
    adamw()
    rank()
