#!/usr/bin/env python3
"""What run.sh left in a results folder, as results.json and RESULTS.md. What is not there is `not measured`.

    results.py RESULTS_FOLDER       reads the logs, writes both files there
    results.py --empty              prints the page without a measurement
    results.py --same A B           exit 0 if two reports of `prep eval --json` have the same scores
"""
import datetime
import json
import sys
from pathlib import Path

NOT_MEASURED = "not measured"

# (step, what it shows)
CHECKS = [
    ("kernels", "each kernel against its definition, over sizes and types; each twice, for equal bits"),
    ("memcheck", "compute-sanitizer memcheck over the kernels"),
    ("racecheck", "compute-sanitizer racecheck over the kernels"),
    ("train_same", "two runs of 40 steps end in the same bytes"),
    ("train_resumed_same", "a run that was killed and resumed ends in the same bytes"),
    ("eval_same", "ranks and measures on the GPU are the CPU's"),
]


def jobs():
    """(name in the logs, sizes, the peer of torch_kernels.py or nothing, the bar) of each row."""
    for job in json.loads((Path(__file__).parent / "jobs.json").read_text()):
        name = f"{job['op']} {' x '.join(map(str, job['sizes']))}"
        for peer, bar in job["peers"].items() or [(None, job.get("bar"))]:
            yield name, job["sizes"], peer, bar


# Memory of the loss on each of 8 GPUs by number of rows, GB: Cheng, Zhang et al. 2024, "Breaking the Memory Barrier: Near
# Infinite Batch Size Scaling for Contrastive Loss" (arXiv 2410.17243), table 1, 8 x A800; Inf-CL's last one with
# features kept on the host. What did not fit has no number.
PUBLISHED = {
    32768: ("16.67", "2.27", "0.18"),
    65536: ("66.11", "8.63", "0.36"),
    131072: ("", "33.64", "0.72"),
    262144: ("", "", "1.45"),
    1048576: ("", "", "6.53"),
}

# Of an encoder of 12 layers, 768 wide: the weights of its products.
MATRIX_WEIGHTS = 12 * 12 * 768 * 768


def lines(path):
    if not path.exists():
        return []
    found = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            pass
    return [line for line in found if isinstance(line, dict)]


def number(value, form="{:.2f}"):
    return NOT_MEASURED if value is None else form.format(value)


def read(folder):
    results = {"checks": {}, "kernels": {}, "torch": {}, "limits": {}, "train": None, "torch_train": None}
    for name, _ in CHECKS:
        rc = folder / f"{name}.rc"
        results["checks"][name] = int(rc.read_text()) if rc.exists() else None
    for line in lines(folder / "bench.log"):
        results["kernels"][line["name"]] = line
    for line in lines(folder / "torch_kernels.log"):
        if line["name"] == "limit":
            results["limits"][line["peer"]] = line.get("tflops") or line.get("gb_per_s")
        else:
            results["torch"].setdefault(line["name"], {})[line["peer"]] = line
    # As in torch_train.py: without the first quarter of the steps, in which kernels are loaded and memory is taken.
    steps = lines(folder / "metrics.jsonl")
    steps = steps[len(steps) // 4:]
    if steps:
        tokens = [step["tokens_per_sec"] / step["examples_per_sec"] for step in steps]
        secs = [1 / step["examples_per_sec"] for step in steps]
        waited = sum(step["wait_fraction"] * s for step, s in zip(steps, secs)) / sum(secs)
        results["train"] = {"tokens_per_sec": sum(tokens) / sum(secs), "wait_fraction": waited}
    busy = folder / "busy.txt"
    samples = [int(x) for x in busy.read_text().split() if x.isdigit()] if busy.exists() else []
    # From the first to the last moment of work: what is before and after is not training.
    working = [n for n, share in enumerate(samples) if share]
    if results["train"] and working:
        samples = samples[working[0]:working[-1] + 1]
        results["train"]["busy"] = sum(samples) / len(samples)
    for line in lines(folder / "torch_train.log"):
        results["torch_train"] = line
    for key, name in (("gpu", "gpu.txt"), ("version", "version.txt"), ("built", "built.txt")):
        path = folder / name
        results[key] = path.read_text().strip() if path.exists() else None
    return results


def page(results, date):
    out = ["# The kernels on a GPU", ""]
    commit = (results.get("built") or "unknown commit").splitlines()[0]
    if results["gpu"]:
        out += [f"{date}; {results['gpu']}; {results['version']}, {commit}.", ""]
    else:
        out += ["No GPU has been at hand so far: nothing here is measured. `run.sh` fills this page in.", ""]
    out += ["## Checks", "", "| check | result |", "| --- | --- |"]
    for name, shows in CHECKS:
        rc = results["checks"].get(name)
        said = {None: NOT_MEASURED, 0: "passed", 124: "timed out", 137: "timed out"}.get(rc, f"FAILED ({rc})")
        out.append(f"| {shows} | {said} |")
    limit = results["limits"].get("bf16 product 8192")
    copy = results["limits"].get("copy")
    out += ["", "## Kernels", "", "Forward and backward; ms, median. Memory is what is held beyond inputs and gradients. The limits of "
            f"the machine, by PyTorch: a product of bf16 {number(limit, '{:.0f} TFLOP/s')}, a copy {number(copy, '{:.0f} GB/s')}.", "",
            "| job | prep | of the limit | memory, MiB | PyTorch | PyTorch's memory | times faster | bar |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name, _, peer, bar in jobs():
        own = results["kernels"].get(name)
        failed = own and own.get("error")
        own = None if failed else own
        other = results["torch"].get(name, {}).get(peer) if peer else None
        share = None
        if own and own.get("tflops") and limit and "f32" not in (peer or ""):
            share = 100 * own["tflops"] / limit
        elif own and own.get("gb_per_s") and copy:
            share = 100 * own["gb_per_s"] / copy
        of_limit = number(share, "{:.0f} %")
        times = other["ms"] / own["ms"] if own and other and "ms" in other else None
        theirs = "out of memory" if other and other.get("out_of_memory") else number(other and other.get("ms"))
        theirs = "failed" if other and other.get("error") else theirs
        out.append(f"| {name} | {'failed' if failed else number(own and own['ms'])} | {of_limit} | {number(own and own['peak_mib'], '{:.0f}')} | "
                   f"{f'{theirs} ({peer})' if peer else ''} | {number(other and other.get('peak_mib'), '{:.0f}') if peer else ''} | "
                   f"{number(times) if peer else ''} | {bar or ''} |")
    out += ["", "## Memory of the loss, beside what is published", "", "For each of 8 GPUs, which has an eighth of the queries against all "
            "passages, 768 wide. prep's is what one such GPU holds beyond inputs and gradients, measured; the others are table 1 of "
            "arXiv 2410.17243 (8 x A800, GB, as they count). prep takes a fixed 512 MiB for scores, and 256 more for their "
            "gradients, as long as 1,024 rows fit: more than Inf-CL for small batches, the same for any number of queries.", "",
            "| rows of the batch | prep, MiB | Inf-CL | OpenCLIP | CLIP |", "| ---: | ---: | ---: | ---: | ---: |"]
    for rows, (clip, open_clip, inf_cl) in PUBLISHED.items():
        own = results["kernels"].get(f"info_nce {rows // 8} x {rows} x 768") or {}
        cells = [number(own.get("peak_mib"), "{:.0f}"), inf_cl, open_clip or "did not fit", clip or "did not fit"]
        out.append(f"| {rows} | {' | '.join(cells)} |")
    own, other = results["train"], results["torch_train"]
    rate = own["tokens_per_sec"] if own else None
    theirs = other["tokens_per_sec"] if other else None
    # The bar is against a compiled peer, and no other.
    is_fair = other and "compile" in other["peer"]
    products = 6 * MATRIX_WEIGHTS * rate / 1e12 if rate else None
    out += ["", "## Training", "", "An encoder of XLM-R base's size (12 layers, 768 wide, 250,002 words) on XQuAD-R, 512 rows a batch, bf16, both sides "
            "without the first 10 of 40 steps. PyTorch is torch_train.py: transformers, torch.compile and sdpa on the same tokens.", "",
            "| | prep | PyTorch |", "| --- | ---: | ---: |",
            f"| useful tokens/s | {number(rate, '{:.0f}')} | {number(theirs, '{:.0f}')}{' (' + other['peer'] + ')' if other else ''} |",
            f"| times faster (bar: 1.5) | {number(rate / theirs if rate and theirs and is_fair else None)} | |",
            f"| products of the layers, TFLOP/s | {number(products, '{:.0f}')} | |",
            f"| of the product limit | {number(100 * products / limit if products and limit else None, '{:.0f} %')} | |",
            f"| the GPU is busy (nvidia-smi) | {number(own.get('busy') if own else None, '{:.0f} %')} | |",
            f"| the trainer waits for a batch | {number(100 * own['wait_fraction'] if own else None, '{:.1f} %')} | |"]
    return "\n".join(out) + "\n"


def scores(path):
    """All numbers of a report but those that are times."""
    def walk(value, at=""):
        if isinstance(value, dict):
            for key, inner in value.items():
                if "sec" not in key and "embeddings" not in key:
                    yield from walk(inner, f"{at}.{key}")
        elif isinstance(value, list):
            for n, inner in enumerate(value):
                yield from walk(inner, f"{at}[{n}]")
        else:
            yield at, value

    text = Path(path).read_text()
    return dict(walk(json.loads(text[text.index("{"):])))


def main():
    if sys.argv[1:] == ["--empty"]:
        print(page(read(Path("/nonexistent")), None), end="")
    elif sys.argv[1] == "--same":
        a, b = map(scores, sys.argv[2:4])
        different = sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))
        for key in different[:10]:
            print(f"{key}: {a.get(key)} and {b.get(key)}")
        sys.exit(1 if different or not a else 0)
    else:
        folder = Path(sys.argv[1])
        results = read(folder)
        results["date"] = datetime.date.today().isoformat()
        (folder / "results.json").write_text(json.dumps(results, indent=1))
        (folder / "RESULTS.md").write_text(page(results, results["date"]))


if __name__ == "__main__":
    main()
