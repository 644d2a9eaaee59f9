#!/usr/bin/env python3
"""`prep export` against the writers that MosaicML Streaming and WebDataset bring, on one machine in one run.

    tests/bench/export_race.py --prep target/release/prep --dataset DIR --peers PEERS --python PYTHON

DIR is a dataset directory, of 200,000 rows or more (XQuAD-R: `prep build-shards pipelines/xquad-r.toml --set
batches.steps=2000 --set batches.negatives=2 --tokenizer FILE`); PEERS holds build_mds.py and build_webdataset.py, each of which prints
one JSON line; PYTHON has their packages. For prep the whole process is counted: reading the Parquet, holding each batch
against its digest, encoding, compressing, hashing, writing, flushing to the disk. For a peer both are printed: the
seconds of encoding, compressing, hashing and writing alone, as it counts them, and those of its whole process, with
imports and reading. Besides: how long it takes to read the same shards with pyarrow and to write as many bytes, with nothing
in between. Sides take turns, and what is printed is the ratio of medians: machines are shared, seconds are noise.
"""
import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from race import machine, run

PEERS = {"mds": ["build_mds.py"], "webdataset": ["build_webdataset.py", "--members", "json"]}
# Without a peer here: against reading and writing alone.
ALONE = [
    "jsonl", "jsonl.zst", "arrow", "datasets", "tfrecord", "tevatron", "flag-embedding", "sentence-transformers",
    "numpy", "safetensors", "beir", "trec-qrels",
]  # fmt: skip
# These hold what is evaluated on, and no batches.
OF_EVAL = {"beir", "trec-qrels"}


def export(args, out, to):
    """(seconds, peak MiB, MB written, rows)"""
    command = [args.prep, "export", args.dataset, "--to", to.removesuffix(".zst"), "--out", out, "--threads", args.threads]
    # Its default asks for as many hard negatives in every row as the plan has in most.
    more = ["--negatives", "0"] if to == "sentence-transformers" else []
    seconds, peak, said = run([*command, *more, "--force", "--quiet", "--json"])
    report = json.loads(said)
    return seconds, peak, report["bytes"] / 1e6, report.get("rows")


def peer(args, out, script):
    """(seconds as it counts them, seconds of the process, peak MiB, MB written)"""
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    seconds, peak, said = run([args.python, args.peers / script[0], *script[1:], "--dataset", args.dataset, "--out", out], env=env)
    line = json.loads(said.strip().splitlines()[-1])
    return line["secs"], seconds, peak, line["mb"]


# What nobody can do without: reading the shards, and writing as many bytes. pyarrow reads, on as many threads.
FLOOR = """
import glob, os, sys, time
import pyarrow, pyarrow.parquet
files, out, n_bytes, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
pyarrow.set_cpu_count(threads)
begun = time.perf_counter()
for file in sorted(glob.glob(files)):
    pyarrow.parquet.read_table(file)
block = bytes(1 << 20)
with open(out, "wb", buffering=0) as file:
    for start in range(0, n_bytes, len(block)):
        file.write(block[: n_bytes - start])
    os.fsync(file.fileno())
print(time.perf_counter() - begun)
"""


def floor(args, out, to, megabytes):
    """Seconds, without imports."""
    files = args.dataset / ("eval/*.parquet" if to in OF_EVAL else "train/batches-*.parquet")
    said = run([args.python, "-c", FLOOR, files, out, int(megabytes * 1e6), args.threads])[2]
    return float(said)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--prep", type=Path, required=True)
    args.add_argument("--dataset", type=Path, required=True)
    args.add_argument("--peers", type=Path, required=True)
    args.add_argument("--python", type=Path, default=sys.executable)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--threads", type=int, default=os.cpu_count())
    args = args.parse_args()
    print(machine())
    ours, theirs, floors = {}, {}, {}
    with tempfile.TemporaryDirectory(prefix="prep-export-race-") as work:
        work = Path(work)
        for _ in range(args.rounds):
            for to, script in PEERS.items():
                ours.setdefault(to, []).append(export(args, work / "prep", to))
                shutil.rmtree(work / "prep")
                theirs.setdefault(to, []).append(peer(args, work / "peer", script))
                shutil.rmtree(work / "peer")
            for to in ALONE:
                ours.setdefault(to, []).append(export(args, work / f"prep.{to}", to))
            for to in ours:
                floors.setdefault(to, []).append(floor(args, work / "floor", to, ours[to][-1][2]))

    def middle(rounds, i):
        return statistics.median(one[i] for one in rounds)

    print(f"\n| {ours['mds'][0][3]:,} rows | prep: seconds | MB | peak MiB | times reading and writing alone | peer: writing alone | times prep's | whole process | times prep's | MB | peak MiB |")
    print("| --- " * 11 + "|")
    for to, rounds in ours.items():
        seconds, peak, mb = (middle(rounds, i) for i in range(3))
        row = [to, f"{seconds:.2f}", f"{mb:.0f}", f"{peak:.0f}", f"{seconds / statistics.median(floors[to]):.2f}"]
        if to in theirs:
            writing, whole, peak, mb = (middle(theirs[to], i) for i in range(4))
            row += [f"{writing:.2f}", f"{writing / seconds:.1f}", f"{whole:.2f}", f"{whole / seconds:.1f}", f"{mb:.0f}", f"{peak:.0f}"]
        else:
            row += [""] * 6
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
