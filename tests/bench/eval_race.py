#!/usr/bin/env python3
"""`prep eval` against numpy and trec_eval, at full depth, on one machine in one run.

    tests/bench/eval_race.py --prep target/release/prep --dataset DIR --peers PEERS --python PYTHON

DIR is a dataset directory (XQuAD-R: `prep build-shards pipelines/xquad-r.toml`); PEERS holds eval_map.py; PYTHON has
numpy, pyarrow and pytrec_eval. Embeddings are made, with a signal (eval_map.py --random), and are the same for all. For
prep the whole process is counted: reading, ranking, all measures, intervals, printing. For numpy its product, ranks and
measures, without loading; for trec_eval (`map` alone) its dictionaries and evaluation, without the product, on a sample
of the queries and scaled up. Then the bare product, by numpy's BLAS. Sides take turns; machines are shared, so the
ratio of medians counts and seconds are noise.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PRODUCT = """
import sys, time, numpy as np
q, p = np.load(sys.argv[1]), np.load(sys.argv[2])
out = np.empty((len(q), len(p)), np.float32)
np.matmul(q[:2000], p.T)
start = time.perf_counter()
np.matmul(q, p.T, out=out)
print(time.perf_counter() - start)
"""

IDS = """
import glob, sys, pyarrow.parquet as pq
for table, name in ("queries", "query_id"), ("passages", "passage_id"):
    files = sorted(glob.glob(f"{sys.argv[1]}/eval/{table}-*.parquet"))
    ids = [i for f in files for i in pq.read_table(f, columns=[name])[name].to_pylist()]
    open(f"{sys.argv[2]}/{table}.ids.txt", "w").writelines(i + "\\n" for i in ids)
"""


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--prep", type=Path, required=True)
    args.add_argument("--dataset", type=Path, required=True)
    args.add_argument("--peers", type=Path, required=True)
    args.add_argument("--python", type=Path, default=sys.executable)
    args.add_argument("--width", type=int, default=384)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--threads", type=int, default=os.cpu_count())
    args.add_argument("--sample", type=int, default=200, help="queries that trec_eval is given")
    args = args.parse_args()
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", OPENBLAS_NUM_THREADS=str(args.threads), OMP_NUM_THREADS=str(args.threads))

    def run(*command):
        start = time.perf_counter()
        done = subprocess.run([str(part) for part in command], env=env, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
        return time.perf_counter() - start, done.stdout

    print(machine(), f"{args.threads} threads", sep=", ")
    with tempfile.TemporaryDirectory(prefix="prep-eval-") as work:
        queries, passages = f"{work}/queries.npy", f"{work}/passages.npy"
        peer = [args.python, args.peers / "eval_map.py", "--dataset", args.dataset]
        run(*peer, "--random", args.width, "--save", work, "--engines", "numpy")
        run(args.python, "-c", IDS, args.dataset, work)
        seconds, sizes = {}, None
        for turn in range(args.rounds):
            took, out = run(args.prep, "eval", args.dataset, "--embeddings", queries, passages, "--threads", args.threads,
                            "--quiet", "--json")
            seconds.setdefault("prep eval, the whole process", []).append(took)
            ours = json.loads(out)
            bare = float(run(args.python, "-c", PRODUCT, queries, passages)[1])
            seconds.setdefault("the product alone, numpy's BLAS", []).append(bare)
            # trec_eval is two orders of magnitude slower: once is enough.
            engines = "numpy,pytrec" if turn == 0 else "numpy"
            line = json.loads(run(*peer, "--query-embeddings", queries, "--passage-embeddings", passages, "--engines", engines,
                                  "--sample", args.sample)[1])
            sizes = line
            seconds.setdefault("numpy", []).append(line["secs"]["numpy"])
            if turn == 0:
                sample = min(args.sample, line["queries"])
                seconds["pytrec_eval, without the product"] = [line["secs"]["pytrec"] * line["queries"] / sample]
        theirs = line["result"]["numpy"]
    for setting in ("Mo", "Cr", "Mul"):
        mean = ours["settings"][setting]["means"]["mAP"]["macro"]
        assert abs(mean - theirs[setting]["AP"]) < 2e-6, (setting, mean, theirs[setting]["AP"])
    base = statistics.median(seconds["prep eval, the whole process"])
    print(f"\n{sizes['queries']:,} queries x {sizes['passages']:,} passages, width {sizes['dim']}\n")
    print("| | seconds | times prep's |\n| --- | --- | --- |")
    for name, each in seconds.items():
        middle = statistics.median(each)
        print(f"| {name} | {middle:.2f} | {middle / base:.2f} |")


if __name__ == "__main__":
    main()
