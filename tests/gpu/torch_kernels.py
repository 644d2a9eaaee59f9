#!/usr/bin/env python3
"""What PyTorch takes for the jobs of jobs.json that name it as a peer, a JSON line each.

Median of many calls, with the device synchronised at both ends; bf16 unless the name says otherwise. `eager` and
`compile` are what a user writes; `gradcache` is the loss as GradCache computes it, in parts of the queries, so that
the scores of one part have a graph at a time.
"""
import json
import statistics
import time
from pathlib import Path

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
    """`held` are the inputs that get gradients, which are not counted as memory."""
    try:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        for x in held:
            x.grad = None
        before = torch.cuda.memory_allocated()
        ms = median_ms(call, calls)
        gradients = sum(x.grad.nbytes for x in held if x.grad is not None)
        peak = (torch.cuda.max_memory_allocated() - before - gradients) / 2**20
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


def info_nce(name, rows, _, width):
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

    return call, inputs


def report_backward(name, peer, f, *inputs):
    call, held = backward_of(f, *inputs)
    report(name, peer, call, held=held)


def bf16(*shape):
    return torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16)


def row_ops(op, name, rows, width):
    gain, shift, bias = bf16(width), bf16(width), bf16(width)
    x = lambda: bf16(rows, width)
    f, *inputs = {
        "add_norm": lambda: (lambda x, r, g, s: F.layer_norm(x + r, (width,), g, s), x(), x(), gain, shift),
        "rms_norm": lambda: (lambda x, g: F.rms_norm(x, (width,), g), x(), gain),
        "add_rms_norm": lambda: (lambda x, r, g: F.rms_norm(x + r, (width,), g), x(), x(), gain),
        "bias_activation": lambda: (lambda x, b: F.gelu(x + b), x(), bias),
        "gated_gelu": lambda: (lambda x: F.gelu(x[:, :width], approximate="tanh") * x[:, width:], bf16(rows, 2 * width)),
    }[op]()
    report_backward(name, "eager", f, *inputs)
    report_backward(name, "compile", torch.compile(f), *inputs)


def embedding(name, tokens, words, width):
    """A word is the more frequent the lower its number, as in tests/bench/gpu.rs."""
    ranks = (torch.arange(tokens, device=DEVICE, dtype=torch.float64) + 0.5) / tokens
    ids = (words**ranks - 1).long()
    report_backward(name, "eager", lambda table: F.embedding(ids, table), bf16(words, width))


def pool_norm(name, n, length, width):
    """Sequences of one length, so that nothing is padded."""
    f = lambda x: F.normalize(x.mean(1), dim=-1)
    report_backward(name, "compile", torch.compile(f), bf16(n, length, width))


def attention(name, n, length, heads, size):
    """Padded to one length, as a batch of texts of that length is: no padding is wasted here."""
    qkv = [bf16(n, heads, length, size) for _ in range(3)]
    report_backward(name, "sdpa", lambda q, k, v: F.scaled_dot_product_attention(q, k, v), *qkv)


def adamw(name, n):
    w = torch.randn(n, device=DEVICE).requires_grad_()
    w.grad = torch.randn_like(w)
    optimizer = torch.optim.AdamW([w], fused=True)
    report(name, "fused", optimizer.step)


def rank_count(name, queries, passages, width):
    q, p = (F.normalize(torch.randn(n, width, device=DEVICE), dim=-1) for n in (queries, passages))
    relevant = torch.randint(passages, (queries, 11), device=DEVICE)

    def call():
        scores = q @ p.T
        thresholds = scores.gather(1, relevant)
        ordered = scores.sort(1).values
        return passages - torch.searchsorted(ordered, thresholds, right=True)

    report(name, "sort f32", call)


def main():
    limits()
    whole = {"info_nce": info_nce, "embedding": embedding, "pool_norm": pool_norm, "attention": attention, "adamw": adamw,
             "rank_count": rank_count}
    for job in json.loads((Path(__file__).parent / "jobs.json").read_text()):
        op, sizes = job["op"], job["sizes"]
        name = f"{op} {' x '.join(map(str, sizes))}"
        if not job["peers"]:
            continue
        if op in whole:
            whole[op](name, *sizes)
        else:
            row_ops(op, name, *sizes)


if __name__ == "__main__":
    main()
