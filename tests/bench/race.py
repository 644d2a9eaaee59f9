#!/usr/bin/env python3
"""`prep build-shards` against what people use today, end to end, on one machine in one run.

    tests/bench/race.py --prep target/release/prep --data DATA --peers PEERS --python PYTHON

DATA holds `xquad-r/*.json`; PEERS holds the same job written with Hugging Face datasets, pyarrow, Polars and DuckDB
(build_*.py, each prints one JSON line); PYTHON has their packages. Peers count the seconds of their work without
imports, and write no digests, no index, no corpus/ and no eval/; for prep the whole process is counted, and all of that.
Sides take turns, and what is printed is the ratio of medians: machines are shared, seconds are noise.

Then, with no peer: `reproduce` on a corpus of a million groups, and memory while writing ten million rows.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS_PER_SHARD = 512  # of 100 rows: one row group, as DuckDB needs it


def run(command, **kwargs):
    """(seconds, peak MiB, stdout) of a process that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{err.decode()}")
    return seconds, usage.ru_maxrss / 1024, out.decode()


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def build(args, out, *sets, pipeline=None):
    shutil.rmtree(out, ignore_errors=True)
    command = [args.prep, "build-shards", pipeline or args.pipelines / "xquad-r.toml", "--data", args.data, "--out", out,
               "--threads", args.threads, "--quiet", "--json"]
    for item in sets:
        command += ["--set", item]
    return run(command)


def race(args, work):
    steps = args.rows // 100
    layout = [f"batches.steps={steps}", f"shards.steps_per_shard={STEPS_PER_SHARD}",
              f"shards.steps_per_row_group={STEPS_PER_SHARD}", "shards.zstd_level=1", f"batches.negatives={args.negatives}"]
    peers = {"datasets": ["build_datasets.py", "--writer", "datasets"], "pyarrow": ["build_datasets.py", "--writer", "arrow"],
             "polars": ["build_polars.py"], "duckdb": ["build_duckdb.py"]}
    common = ["--data", args.data / "xquad-r", "--steps", steps, "--steps-per-shard", STEPS_PER_SHARD, "--steps-per-group",
              STEPS_PER_SHARD, "--zstd-level", 1, "--threads", args.threads, "--negatives", args.negatives]
    seconds, peaks, sizes = {}, {}, {}
    for _ in range(args.rounds):
        took, peak, _ = build(args, work / "prep", *layout)
        seconds.setdefault("prep", []).append(took)
        peaks["prep"] = peak
        sizes["prep"] = sum(f.stat().st_size for f in (work / "prep/train").glob("batches-*")) / 1e6
        for name, script in peers.items():
            env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
            _, peak, out = run([args.python, args.peers / script[0], *script[1:], *common, "--out", work / "peer"], env=env)
            line = json.loads(out.strip().splitlines()[-1])
            seconds.setdefault(name, []).append(line["secs"])
            peaks[name], sizes[name] = peak, line["mb"]
    ours = statistics.median(seconds["prep"])
    print(f"\n| {args.rows:,} rows, K = {args.negatives} | seconds | times prep's | MB of batches | peak MiB |\n| --- | --- | --- | --- | --- |")
    for name, all_seconds in seconds.items():
        middle = statistics.median(all_seconds)
        print(f"| {name} | {middle:.2f} | {middle / ours:.1f} | {sizes[name]:.0f} | {peaks[name]:.0f} |")


def synth(args, work, groups, languages, steps, out):
    """A dataset over XQuAD-R blown up."""
    pipeline = work / "synth.toml"
    pipeline.write_text(f'''name = "synth"
[[corpora]]
name = "synth"
format = "synth"
path = "xquad-r/{{lang}}.json"
languages = {json.dumps(languages)}
synth = {{ groups = {groups} }}
[batches]
steps = {steps}
''')
    return build(args, out, pipeline=pipeline)


def reproduce(args, work):
    out = work / "million"
    languages = ["de", "en"]
    took, peak, _ = synth(args, work, args.groups, languages, 1000, out)
    shutil.rmtree(out / "train")
    base = statistics.median(run([args.prep, "--version"])[0] for _ in range(15))
    print(f"\n`reproduce --step N`, {args.groups:,} groups in {len(languages)} languages, train/ deleted "
          f"(built in {took:.0f} s; peak {peak:.0f} MiB); process start {base * 1000:.1f} ms\n")
    print("| step | ms beyond process start |\n| --- | --- |")
    for step in (0, 999, 10**6, 10**12, 10**18):
        times = [run([args.prep, "reproduce", out, "--step", step, "--quiet", "--json"])[0] for _ in range(9)]
        print(f"| {step} | {(statistics.median(times) - base) * 1000:.1f} |")
    text = corpus_bytes(args, out)
    print(f"\ncorpus text {text / 2**20:.0f} MiB; the build's peak is {peak - text / 2**20:.0f} MiB beyond it")


def corpus_bytes(args, out):
    """Bytes of all cells of corpus/queries, passages and qrels."""
    code = ("import sys, pyarrow.parquet as pq, pyarrow.compute as pc, pyarrow as pa, glob\n"
            "n = 0\n"
            "for f in glob.glob(sys.argv[1] + '/corpus/*.parquet'):\n"
            "    for c in pq.read_table(f).columns:\n"
            "        c = c.cast(pa.string()) if pa.types.is_dictionary(c.type) else c\n"
            "        n += pc.sum(pc.binary_length(c)).as_py() or 0 if pa.types.is_string(c.type) else c.nbytes\n"
            "print(n)")
    return int(run([args.python, "-c", code, out])[2])


def memory(args, work):
    print("\n| rows written | peak MiB | beyond the corpus text |\n| --- | --- | --- |")
    for rows in (100_000, 1_000_000, 10_000_000):
        out = work / "memory"
        _, peak, _ = build(args, out, f"batches.steps={rows // 100}")
        text = corpus_bytes(args, out) / 2**20
        print(f"| {rows:,} | {peak:.0f} | {peak - text:.0f} |")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--prep", type=Path, required=True)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--peers", type=Path)
    args.add_argument("--python", type=Path, default=sys.executable)
    args.add_argument("--pipelines", type=Path, default=Path(__file__).parents[2] / "pipelines")
    args.add_argument("--rows", type=int, default=1_024_000)
    args.add_argument("--negatives", type=int, default=0)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--groups", type=int, default=1_000_000)
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--only", choices=["race", "reproduce", "memory"])
    args = args.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="prep-race-") as work:
        work = Path(work)
        if args.only in (None, "race"):
            if args.peers:
                race(args, work)
            else:
                print("no --peers: no race")
        if args.only in (None, "reproduce"):
            reproduce(args, work)
        if args.only in (None, "memory"):
            memory(args, work)


if __name__ == "__main__":
    main()
