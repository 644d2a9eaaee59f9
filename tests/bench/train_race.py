#!/usr/bin/env python3
"""`prep train` against PyTorch on the same batches, model, tokens and machine, in one run.

    tests/bench/train_race.py --prep target/release/prep --dataset DIR --tokenizer FILE --python PYTHON
    tests/bench/train_race.py ... --init DIRECTORY --hidden 384 --layers 6 --heads 12

DIR is a dataset directory without hard negatives; PYTHON has torch, transformers, sentence-transformers, datasets and
pyarrow. The second form trains a pretrained BERT of those sizes; PyTorch's has random weights, which take as long.
`loop` is transformers' BertModel with sdpa, mean pooling, InfoNCE over the batch and AdamW in a plain loop, tokenised
ahead of the clock; `st` the trainer of sentence-transformers with MultipleNegativesRankingLoss, which tokenises as it
goes, as prep does. No dropout. Tokens are useful ones: padding is not counted. prep's clock is that of its report, all
steps but set-up; PyTorch's starts after the third step. Sides take turns; the ratio of medians counts. The limit is
what PyTorch's product of the feed-forward layer reaches; the share of it is that of the products of the linear layers,
6 floating-point operations a weight and token, in the whole step.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PEER = r'''
import json, os, resource, sys, tempfile, time
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="true", WANDB_DISABLED="true")
args = json.loads(sys.argv[1])
import glob, pyarrow.parquet as pq, torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

torch.set_num_threads(args["threads"])
torch.manual_seed(0)
SKIP, STEPS = 3, args["steps"]
rows = pq.read_table(sorted(glob.glob(args["dataset"] + "/train/batches-*.parquet"))[0],
                     columns=["step", "query", "positive"]).to_pylist()
size = sum(row["step"] == rows[0]["step"] for row in rows)
rows = rows[:STEPS * size]
texts = {name: [row[name] for row in rows] for name in ("query", "positive")}
tokenizer = Tokenizer.from_file(args["tokenizer"])
tokenizer.no_padding()
tokenizer.enable_truncation(args["max_tokens"])
ids = {name: [e.ids for e in tokenizer.encode_batch(column)] for name, column in texts.items()}
n_tokens = sum(len(i) for column in ids.values() for i in column[SKIP * size:])
config = BertConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=args["hidden"], num_hidden_layers=args["layers"],
                    num_attention_heads=args["heads"], intermediate_size=4 * args["hidden"], hidden_dropout_prob=0.0,
                    attention_probs_dropout_prob=0.0)


def loop():
    model = BertModel._from_config(config, add_pooling_layer=False, attn_implementation="sdpa").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)

    def padded(rows):
        width = -(-max(map(len, rows)) // 8) * 8
        mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows])
        return torch.tensor([r + [0] * (width - len(r)) for r in rows]), mask

    batches = [[padded(ids[name][n * size:(n + 1) * size]) for name in ("query", "positive")] for n in range(STEPS)]

    def embed(tokens, mask):
        hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)

    for n, (queries, passages) in enumerate(batches):
        if n == SKIP:
            start = time.perf_counter()
        scores = embed(*queries) @ embed(*passages).T / 0.05
        F.cross_entropy(scores, torch.arange(size)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def st():
    import datasets
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from torch.utils.data import BatchSampler
    from transformers import TrainerCallback
    datasets.disable_progress_bars()

    class InOrder(BatchSampler):
        def __init__(self, dataset, batch_size, drop_last=True, **_):
            super().__init__(range(len(dataset)), batch_size, drop_last)

        def __iter__(self):
            return (list(range(n * size, (n + 1) * size)) for n in range(STEPS))

    class Watch(TrainerCallback):
        def on_step_begin(self, _, state, control, **kwargs):
            if state.global_step == SKIP:
                self.start = time.perf_counter()

        def on_step_end(self, _, state, control, **kwargs):
            self.end = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
        pad = next(t for t in ("[PAD]", "<pad>") if tokenizer.token_to_id(t) is not None)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=args["max_tokens"], pad_token=pad).save_pretrained(folder)
        model = SentenceTransformer(folder, device="cpu")
        model.max_seq_length = args["max_tokens"]
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder + "/run", max_steps=STEPS, per_device_train_batch_size=size, learning_rate=3e-5, use_cpu=True,
            lr_scheduler_type="constant", max_grad_norm=0.0, save_strategy="no", logging_strategy="no", report_to=[],
            disable_tqdm=True, batch_sampler=InOrder)
        watch = Watch()
        data = datasets.Dataset.from_dict({"anchor": texts["query"], "positive": texts["positive"]})
        SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, callbacks=[watch],
                                   loss=MultipleNegativesRankingLoss(model)).train()
    return watch.end - watch.start


def product_limit():
    x, w = torch.randn(5000, args["hidden"]), torch.randn(args["hidden"], 4 * args["hidden"])
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        x @ w
        best = min(best, time.perf_counter() - start)
    return 2 * x.numel() * w.shape[1] / best


if args["side"] == "limit":
    print(json.dumps({"flops": product_limit()}))
else:
    secs = {"loop": loop, "st": st}[args["side"]]()
    print(json.dumps({"tokens_per_sec": n_tokens / secs, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
'''


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--prep", type=Path, required=True)
    args.add_argument("--dataset", type=Path, required=True)
    args.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    args.add_argument("--python", type=Path, default=sys.executable)
    args.add_argument("--init", default="small", help="what prep starts from, of the sizes below")
    args.add_argument("--hidden", type=int, default=256)
    args.add_argument("--layers", type=int, default=4)
    args.add_argument("--heads", type=int, default=4)
    args.add_argument("--max-tokens", type=int, default=128)
    args.add_argument("--steps", type=int, default=15)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--threads", type=int, default=os.cpu_count())
    args = args.parse_args()

    def peer(side):
        settings = {"side": side, "dataset": str(args.dataset), "tokenizer": str(args.tokenizer)}
        settings |= {name: getattr(args, name) for name in ("hidden", "layers", "heads", "max_tokens", "steps", "threads")}
        done = subprocess.run([args.python, "-c", PEER, json.dumps(settings)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def prep():
        with tempfile.TemporaryDirectory() as folder:
            command = [args.prep, "train", args.dataset, "--init", args.init, "--out", f"{folder}/run", "--json", "--quiet"]
            command += ["--steps", str(args.steps), "--threads", str(args.threads), "--set", f"model.max_tokens={args.max_tokens}"]
            command += ["--set", "model.dropout=0", "--set", "checkpoint.every=1000000"]
            command += ["--tokenizer", args.tokenizer] if args.init == "small" else []
            child = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE)
            report = json.loads(child.stdout.read())
            _, status, usage = os.wait4(child.pid, 0)
            assert status == 0
        report["mib"] = usage.ru_maxrss / 1024
        return report

    sides = {"prep": prep, "loop": lambda: peer("loop"), "st": lambda: peer("st"), "limit": lambda: peer("limit")}
    runs = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, side in sides.items():
            runs[name].append(side())
            print(name, json.dumps(runs[name][-1]), file=sys.stderr)

    def median(name, key):
        return statistics.median(run[key] for run in runs[name])

    ours = median("prep", "tokens_per_sec")
    print("| | useful tokens/s | prep is faster by | peak MiB |\n| --- | --- | --- | --- |")
    for name in ("prep", "loop", "st"):
        speed = median(name, "tokens_per_sec")
        print(f"| {name} | {speed:,.0f} | {ours / speed:.2f} | {median(name, 'mib'):,.0f} |")
    flops = 6 * args.layers * 12 * args.hidden**2 * ours
    limit = median("limit", "flops")
    print(f"\nprep: {flops / 1e9:.0f} GFLOP/s in linear layers, {100 * flops / limit:.0f} % of the product's {limit / 1e9:.0f}; time:")
    report = runs["prep"][-1]
    by_op = sorted(report["seconds_by_op"].items(), key=lambda item: -sum(item[1]))
    print(", ".join(f"{name} {100 * sum(secs) / report['secs']:.0f} %" for name, secs in by_op), end=", ")
    print(f"waiting for batches {100 * report['wait_fraction']:.1f} %")


if __name__ == "__main__":
    main()
