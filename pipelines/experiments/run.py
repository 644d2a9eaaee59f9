#!/usr/bin/env python3
"""The experiment: what does hybrid sampling do that X-X-mono and X-Y do not?

    pipelines/experiments/run.py --data DATA --out OUT [--only PART ...] [--seeds N] [--jobs N] [--prep PREP] [--minilm DIR]
    pipelines/experiments/run.py --data DATA --out OUT --row NAME ...

One line a run goes to OUT/results.jsonl: what was run, the ids of its datasets, its commands, and what it scores. A run
that has a line is not repeated; one that was killed goes on from its checkpoint. At the end the tables of RESULTS.md, beside
this file, and of README.md are filled in from those lines, into OUT/RESULTS.md and OUT/README.md.

With `--row` only the lines of these names (main/hybrid/seed-1-fold-1), or all that a row of a table is the mean of
(main/hybrid), and what they stand on, are taken. What they score in OUT is printed beside what the results.jsonl of this folder has
recorded; another dataset id is an error. Scores are equal on one kind of processor; another one rounds sums otherwise.

Commands are recorded as they are run, but for $DATA, $OUT and $MINILM; they start in the root of the repository.
"""
import argparse
import json
import shutil
import statistics
import subprocess
import sys
import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from string import Template

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONFIGS = "pipelines/experiments"
DEV_FOLD = 0
TEST_FOLDS = [1, 2, 3, 4]
DEV_SEED = 1
SEEDS = [1, 2, 3, 4, 5]
MEASURES = ["Mo", "Cr", "Mul", "rank_distance"]


# What is run


@dataclass(frozen=True)
class Run:
    """One encoder, trained and evaluated. `build` and `train` are keys that are set in the pipeline and the settings."""

    part: str
    label: str
    seed: int
    fold: int
    build: tuple
    train: tuple = ()
    pipeline: str = "xquad-r"
    warm_steps: int = 0  # 0: as many as the warm-up's pipeline has
    init: str = "warm"  # or "minilm"

    @property
    def name(self):
        return f"{self.part}/{self.label.replace(' ', '_')}/seed-{self.seed}-fold-{self.fold}"


def strategy(name, alpha=None):
    keys = (f"batches.strategy={name}",)
    return keys if alpha is None else (*keys, f"batches.alpha={alpha}")


STRATEGIES = {
    "x-x-mono": strategy("x-x-mono"),
    "x-y": strategy("x-y"),
    "x-x": strategy("x-x"),
    "hybrid": strategy("hybrid", 0.5),
}
# A monolingual batch has no question twice, and of a language some 950 may be trained on.
BIG = {"x-y": 1024, "hybrid": 896}
UNMASKED = ("loss.mask=false",)


def big(rows):
    return (f"batches.batch_size={rows}", "batches.steps=100")


# A run has one step at least; at this rate it changes nothing that shows.
UNTRAINED = ("steps=1", "optimizer.learning_rate=1e-12")


def dev_part():
    """Settings are compared one after the other, on fold 0 and with X-X-mono and X-Y alone; each set stands beside
    what was chosen before it. The rule: the greatest mean of Mo, Cr and Mul over the two strategies; of settings within
    0.002 of it the one that takes the fewest steps, then the one tried first."""
    chosen = {"lr": "1e-2", "t": "0.1", "steps": "600"}
    tried = [{"lr": rate} for rate in ("1e-3", "3e-3", "1e-2", "3e-2")]
    tried += [{"t": temperature} for temperature in ("0.05", "0.2")]
    tried += [{"steps": steps} for steps in ("300", "1000")]
    runs = []
    for change in (*tried, {"warm-up": 750}):
        with_it = chosen | change
        build = (f"batches.steps={with_it['steps']}",)
        train = (f"optimizer.learning_rate={with_it['lr']}", f"loss.temperature={with_it['t']}")
        label = " ".join(f"{key}={value}" for key, value in with_it.items())
        for name in ("x-x-mono", "x-y"):
            keys, warm_steps = (*STRATEGIES[name], *build), with_it.get("warm-up", 0)
            runs.append(Run("dev", f"{name} {label}", DEV_SEED, DEV_FOLD, keys, train, warm_steps=warm_steps))
    return runs


def parts(seeds):
    few = seeds[:3]
    return {
        "dev": dev_part(),
        "main": [
            Run("main", name, seed, fold, build)
            for seed in seeds for fold in TEST_FOLDS for name, build in STRATEGIES.items()
        ],
        "questions": [],  # tests on models of `main`
        "alpha": [
            Run("alpha", f"hybrid {alpha}", seed, fold, strategy("hybrid", alpha))
            for seed in seeds for fold in TEST_FOLDS for alpha in (0.25, 0.75)
        ],
        "mask": [
            Run("mask", f"{name} unmasked", seed, fold, STRATEGIES[name], UNMASKED)
            for seed in few for fold in TEST_FOLDS for name in ("x-y", "hybrid")
        ],
        "dev-fold": [Run("main", name, seed, DEV_FOLD, build) for seed in seeds for name, build in STRATEGIES.items()],
        "minilm": [
            Run("minilm", "untrained", 1, 1, STRATEGIES["hybrid"], UNTRAINED, init="minilm"),
            *(Run("minilm", name, 1, 1, STRATEGIES[name], init="minilm") for name in ("x-y", "x-x-mono", "hybrid")),
        ],
        "monolingual": [
            Run("monolingual", name, seed, fold, STRATEGIES[name], pipeline="monolingual")
            for seed in few for fold in TEST_FOLDS for name in ("x-x-mono", "hybrid")
        ],
        "mask-1024": [
            Run("mask-1024", f"{name}{' unmasked' if train else ''}", seed, fold, (*STRATEGIES[name], *big(rows)), train)
            for seed in seeds[:1] for fold in TEST_FOLDS for name, rows in BIG.items() for train in ((), UNMASKED)
        ],
    }


# How it is run


class Lab:
    """Where commands run, and what they left there. Steps that several runs share are taken once."""

    def __init__(self, args):
        self.prep = args.prep
        self.places = {"DATA": args.data, "OUT": args.out, "MINILM": args.minilm}
        self.results = args.out / "results.jsonl"
        self.done = {row["name"]: row for row in read_rows(self.results)}
        self.guard = threading.Lock()
        self.locks = {}

    def lock(self, name):
        with self.guard:
            return self.locks.setdefault(name, threading.Lock())

    def call(self, *arguments):
        """The JSON that a command prints."""
        command = [str(self.prep), *(Template(a).substitute(self.places) for a in arguments), "--json", "--quiet"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
        return json.loads(done.stdout)

    def dataset(self, pipeline, seed, fold, keys=()):
        """(directory, id, command) of a dataset."""
        of = "-".join(key.split("=")[1] for key in keys)
        directory = f"$OUT/data/{pipeline}-{of}-seed-{seed}-fold-{fold}"
        keys = (f"split.eval.fold={fold}", *keys)
        command = ["build-shards", f"{CONFIGS}/{pipeline}.toml", "--data", "$DATA", "--out", directory]
        command += ["--seed", str(seed), *sets(keys), "--threads", "1"]
        manifest = self.path(directory) / "manifest.json"
        with self.lock(directory):
            if not manifest.exists():
                self.call(*command)
        return directory, json.loads(manifest.read_text())["dataset_id"], command

    def tokenizer(self, fold):
        """(file, commands): pieces of the texts that may be trained on when this fold is held out."""
        file = f"$OUT/tokenizer-fold-{fold}.json"
        texts, _, built = zip(*(self.dataset(pipeline, SEEDS[0], fold) for pipeline in ("warm-up", "xquad-r")))
        command = ["tokenizer", "train", *texts, "--vocab", "16000", "--out", file, "--threads", "1"]
        with self.lock(file):
            if not self.path(file).exists():
                self.call(*command)
        return file, [*built, command]

    def train(self, run, command):
        """Trains into the directory `run`, or goes on where it was cut off."""
        resume = ["--resume"] if (self.path(run) / "settings.toml").exists() else []
        self.call(*command, *resume)

    def scores(self, dataset, model):
        """(measures, command) of a model on the held-out fold."""
        command = ["eval", dataset, "--model", model, "--threads", "1"]
        report = self.call(*command)
        scores = {name: report["settings"][name]["means"]["mAP"]["macro"] for name in ("Mo", "Cr", "Mul")}
        scores["rank_distance"] = report["rank_distance"]["macro"]
        return {name: round(value, 6) for name, value in scores.items()}, command

    def warm_up(self, seed, fold, steps=0):
        """The directory of a warm model; its row has its commands."""
        name = f"warm-up/{steps or 'all'}/seed-{seed}-fold-{fold}"
        run = f"$OUT/runs/{name}"
        with self.lock(name):
            if name not in self.done:
                tokenizer, spelled = self.tokenizer(fold)
                dataset, id, built = self.dataset("warm-up", seed, fold)
                held_out, _, _ = self.dataset("xquad-r", SEEDS[0], fold)
                trained = ["train", dataset, "--init", "static", "--tokenizer", tokenizer, "--config"]
                trained += [f"{CONFIGS}/warm-up-train.toml", "--seed", str(seed), "--out", run, "--threads", "1"]
                trained += ["--steps", str(steps)] if steps else []
                self.train(run, trained)
                scores, judged = self.scores(held_out, f"{run}/model")
                row = {"name": name, "part": "warm-up", "label": f"{steps or 'all'} steps", "seed": seed, "fold": fold}
                row |= {"dataset_id": id, **scores}
                self.keep(row, [*spelled, built, trained, judged])
        return f"{run}/model", self.done[name]["dataset_id"]

    def bag(self, fold):
        """The static encoder before any training: random rows, weighed by inverse document frequency."""
        name = f"idf/bag/seed-{SEEDS[0]}-fold-{fold}"
        run = f"$OUT/runs/{name}"
        with self.lock(name):
            if name not in self.done:
                tokenizer, spelled = self.tokenizer(fold)
                dataset, id, built = self.dataset("xquad-r", SEEDS[0], fold)
                trained = ["train", dataset, "--init", "static", "--tokenizer", tokenizer, "--seed", str(SEEDS[0])]
                trained += [*sets((*UNTRAINED, "model.max_tokens=64")), "--out", run, "--threads", "1"]
                self.train(run, trained)
                scores, judged = self.scores(dataset, f"{run}/model")
                row = {"name": name, "part": "idf", "label": "bag", "seed": SEEDS[0], "fold": fold, "dataset_id": id}
                self.keep(row | scores, [*spelled, built, trained, judged])

    def take(self, run):
        """Trains and evaluates one encoder."""
        if run.name in self.done:
            return
        settings = "static"
        warm_id = None
        if run.init == "warm":
            init, warm_id = self.warm_up(run.seed, run.fold, run.warm_steps)
        else:
            init, settings = "$MINILM", "minilm"
        dataset, id, built = self.dataset(run.pipeline, run.seed, run.fold, run.build)
        held_out = dataset
        if run.pipeline != "xquad-r":
            held_out, _, _ = self.dataset("xquad-r", SEEDS[0], run.fold)
        directory = f"$OUT/runs/{run.name}"
        trained = ["train", dataset, "--init", init, "--config", f"{CONFIGS}/{settings}.toml", "--seed", str(run.seed)]
        trained += [*sets(run.train), "--out", directory, "--threads", "1"]
        self.train(directory, trained)
        scores, judged = self.scores(held_out, f"{directory}/model")
        row = {"name": run.name, "part": run.part, "label": run.label, "seed": run.seed, "fold": run.fold, "dataset_id": id}
        row |= {"warm_up_dataset_id": warm_id} if warm_id else {}
        lines = read_rows(self.path(f"{directory}/metrics.jsonl"))
        masked = statistics.fmean(line["masked_pairs"] for line in lines)
        row |= {"settings": " ".join((*run.build, *run.train)), **scores, "masked_pairs": round(masked, 4)}
        self.keep(row, [built, trained, judged])

    def question_tests(self, fold):
        """Hybrid against the others, question by question, for the models of the first seed."""
        seed = SEEDS[0]
        runs = {name: Run("main", name, seed, fold, STRATEGIES[name]) for name in ("x-x-mono", "x-y", "hybrid")}
        held_out, id, _ = self.dataset("xquad-r", seed, fold)
        for other in ("x-x-mono", "x-y"):
            name = f"questions/hybrid_against_{other}/seed-{seed}-fold-{fold}"
            if name in self.done:
                continue
            for run in runs.values():
                self.take(run)
            lines = f"$OUT/runs/{runs[other].name}/queries.jsonl"
            evaluate = ["eval", held_out, "--threads", "1", "--model"]
            judged = [*evaluate, f"$OUT/runs/{runs[other].name}/model", "--per-query", lines]
            compared = [*evaluate, f"$OUT/runs/{runs['hybrid'].name}/model", "--against", lines]
            self.call(*judged)
            report = self.call(*compared)["comparison"]
            tests = {**report["mAP"], "rank_distance": report["rank_distance"]}
            row = {"name": name, "part": "questions", "label": f"hybrid against {other}", "seed": seed, "fold": fold}
            self.keep(row | {"dataset_id": id, "tests": tests}, [judged, compared])

    def check_ends_of_alpha(self):
        """Hybrid with alpha 0 is X-Y and with alpha 1 X-X-mono, to the byte: the datasets have one id."""
        name = "check/ends-of-alpha"
        if name in self.done:
            return
        seed, fold = SEEDS[0], TEST_FOLDS[0]
        commands = []
        for alpha, same in ((0, "x-y"), (1, "x-x-mono")):
            _, hybrid, built = self.dataset("xquad-r", seed, fold, strategy("hybrid", alpha))
            _, other, also = self.dataset("xquad-r", seed, fold, STRATEGIES[same])
            commands += [built, also]
            if hybrid != other:
                raise RuntimeError(f"alpha {alpha} gives {hybrid}, {same} gives {other}")
        says = "Hybrid with alpha 0 and X-Y have one dataset id, and so have hybrid with alpha 1 and X-X-mono."
        self.keep({"name": name, "part": "check", "seed": seed, "fold": fold, "says": says}, commands)

    def check_held_out(self, fold):
        """No question that a fold of XQuAD-R holds out is trained on, be it in a warm-up or beside other corpora."""
        name = f"check/held-out/fold-{fold}"
        if name in self.done:
            return
        nothing = self.path(f"$OUT/runs/{name}-nothing.txt")
        nothing.parent.mkdir(parents=True, exist_ok=True)
        nothing.write_text("")
        commands = []

        def questions(pipeline, part):
            keys = () if pipeline == "warm-up" else STRATEGIES["hybrid"]
            dataset, _, built = self.dataset(pipeline, SEEDS[0], fold, keys)
            file = f"$OUT/runs/{name}-{pipeline}-{part}.qrels"
            listed = ["eval", dataset, "--splits", part, "--trec-run", f"$OUT/runs/{name}-nothing.txt"]
            listed += ["--qrels-out", file, "--threads", "1"]
            self.call(*listed)
            commands.extend([built, listed])
            return {line.split()[0] for line in self.path(file).read_text().splitlines()}

        held_out = questions("xquad-r", "eval")
        for pipeline in ("xquad-r", "monolingual", "warm-up"):
            trained_on = questions(pipeline, "train")
            if not any(query.startswith("xquad-r/") for query in trained_on) or trained_on & held_out:
                raise RuntimeError(f"fold {fold}: {pipeline}.toml trains on what xquad-r.toml holds out")
        says = f"Fold {fold}: none of its {len(held_out):,} questions is trained on, nor warmed up with, in any pipeline."
        self.keep({"name": name, "part": "check", "seed": SEEDS[0], "fold": fold, "says": says}, commands)

    def keep(self, row, commands):
        """Writes the line of a run, which makes it done, and lets go of its checkpoints."""
        row["commands"] = [" ".join(["prep", *command]) for command in commands]
        with self.guard, self.results.open("a") as file:
            file.write(json.dumps(row) + "\n")
            self.done[row["name"]] = row
        shutil.rmtree(self.path(f"$OUT/runs/{row['name']}/checkpoints"), ignore_errors=True)
        print(row["name"], *(f"{row[m]:.4f}" for m in MEASURES if m in row), file=sys.stderr, flush=True)

    def path(self, place):
        return Path(Template(place).substitute(self.places))


# What it says


def select(rows, wanted, folds=TEST_FOLDS):
    """By name the runs of each (part, label), by (seed, fold), where all of them have one. A seed that was cut off, with
    fewer folds than another, is left out."""
    of = {}
    for row in rows:
        if row["part"] != "check" and row["fold"] in folds:
            of.setdefault((row["part"], row["label"]), {})[row["seed"], row["fold"]] = row
    found = {name: of.get(which, {}) for name, which in wanted.items()}
    common = set.intersection(*(set(runs) for runs in found.values()))
    n_folds = Counter(seed for seed, _ in common)
    common = {(seed, fold) for seed, fold in common if n_folds[seed] == max(n_folds.values())}
    return {name: {pair: runs[pair] for pair in sorted(common)} for name, runs in found.items()}


def behind(name, rows):
    """The names of the lines whose mean a row of a table is: main/hybrid has 20."""
    part, _, label = name.partition("/")
    lines = [row for row in rows if row["part"] == part and row["name"].split("/")[1] == label]
    folds = TEST_FOLDS if any(row["fold"] in TEST_FOLDS for row in lines) else [DEV_FOLD]
    labels = {row["label"]: (part, row["label"]) for row in lines}
    return [row["name"] for runs in select(lines, labels, folds).values() for row in runs.values()] if lines else []


def said(measure, value, sign=""):
    return f"{value:{sign}.1f}" if measure == "rank_distance" else f"{value:{sign}.4f}"


def table(head, lines):
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])


def number_of(selected):
    pairs = list(next(iter(selected.values())))
    seeds, folds = sorted({seed for seed, _ in pairs}), sorted({fold for _, fold in pairs})
    some = lambda name, of: f"{name} {of[0]}" if len(of) == 1 else f"{name}s {', '.join(map(str, of))}"
    runs = "1 run" if len(pairs) == 1 else f"{len(pairs)} runs"
    return f"{runs} a row: {some('seed', seeds)}, {some('fold', folds)}."


def means(selected):
    """The mean of all runs and, in brackets, the least and greatest mean of a seed over its folds."""
    if not next(iter(selected.values())):
        return "Not run."
    lines = []
    for name, runs in selected.items():
        cells = [name]
        for measure in MEASURES:
            by_seed = {}
            for (seed, _), row in runs.items():
                by_seed.setdefault(seed, []).append(row[measure])
            of_seeds = [statistics.fmean(values) for values in by_seed.values()]
            cell = said(measure, statistics.fmean(row[measure] for row in runs.values()))
            if 1 < len(of_seeds):
                cell += f" ({said(measure, min(of_seeds))} to {said(measure, max(of_seeds))})"
            cells.append(cell)
        lines.append(cells)
    head = ["", "Mo", "Cr", "Mul", "rank distance"]
    return f"{number_of(selected)}\n\n{table(head, lines)}"


def sign_flips(differences):
    """Exact two-sided p-value: of all ways to change signs, the share whose sum is as far from 0 as the one seen."""
    sums = lambda values: sorted(sum_of_signs(values))
    half = len(differences) // 2
    left, right = sums(differences[:half]), sums(differences[half:])
    seen = abs(sum(differences)) - 1e-9
    n_as_far = sum(len(right) - bisect_left(right, seen - x) + bisect_right(right, -seen - x) for x in left)
    return min(1.0, n_as_far / 2 ** len(differences))


def sum_of_signs(values):
    sums = [0.0]
    for value in values:
        sums = [x + sign * value for x in sums for sign in (1, -1)]
    return sums


def differences(selected, pairs):
    """Of (this, other): the mean of the differences run by run, how many are above 0, and the p-value."""
    if not next(iter(selected.values())):
        return "Not run."
    lines = []
    for this, other in pairs:
        cells = [f"{this} against {other}"]
        for measure in MEASURES:
            gaps = [row[measure] - selected[other][pair][measure] for pair, row in selected[this].items()]
            n_above = sum(0 < gap for gap in gaps)
            mean = said(measure, statistics.fmean(gaps), "+")
            p = "" if len(gaps) < 5 else f", p {sign_flips(gaps):.2g}"
            cells.append(f"{mean} ({n_above} of {len(gaps)} above 0{p})")
        lines.append(cells)
    return table(["", "Mo", "Cr", "Mul", "rank distance"], lines)


MAIN = {name: ("main", name) for name in STRATEGIES}
ALPHA = {
    "0 (X-Y)": ("main", "x-y"),
    "0.25": ("alpha", "hybrid 0.25"),
    "0.5": ("main", "hybrid"),
    "0.75": ("alpha", "hybrid 0.75"),
    "1 (X-X-mono)": ("main", "x-x-mono"),
}
MASK = {
    "x-y": ("main", "x-y"),
    "x-y unmasked": ("mask", "x-y unmasked"),
    "hybrid": ("main", "hybrid"),
    "hybrid unmasked": ("mask", "hybrid unmasked"),
}
MONOLINGUAL = {
    "x-x-mono": ("main", "x-x-mono"),
    "x-x-mono, more monolingual": ("monolingual", "x-x-mono"),
    "hybrid": ("main", "hybrid"),
    "hybrid, more monolingual": ("monolingual", "hybrid"),
}
MINILM = {name: ("minilm", name) for name in ("untrained", "x-x-mono", "x-y", "hybrid")}
AGAINST = [("hybrid", "x-x-mono"), ("hybrid", "x-y"), ("x-y", "x-x-mono"), ("hybrid", "x-x")]


def blocks(rows):
    """What stands in the page, by the name of its place."""
    start = {"idf bag": ("idf", "bag"), "warm": ("warm-up", "all steps")}
    untrained = {name: select(rows, {name: which}) for name, which in start.items()}
    unmask = [(name, f"{name} unmasked") for name in ("x-y", "hybrid")]
    more = [(f"{name}, more monolingual", name) for name in ("x-x-mono", "hybrid")]
    yield "start", "\n\n".join(means(selected) for selected in untrained.values())
    yield "main", means(select(rows, MAIN))
    yield "summary", summary(select(rows, MAIN))
    yield "way", way(select(rows, MAIN))
    yield "main-tests", differences(select(rows, MAIN), AGAINST)
    yield "dev-fold", means(select(rows, MAIN, [DEV_FOLD]))
    yield "main-folds", by_fold(rows)
    yield "questions", questions(rows)
    yield "alpha", means(select(rows, ALPHA))
    yield "mask", means(select(rows, MASK))
    yield "mask-tests", differences(select(rows, MASK), unmask)
    of_pairs = [(pair, select(rows, {name: ("mask-1024", name) for name in pair})) for pair in unmask]
    yield "mask-1024", "\n\n".join(means(selected) for _, selected in of_pairs)
    yield "mask-1024-tests", "\n\n".join(differences(selected, [pair]) for pair, selected in of_pairs)
    yield "minilm", means(select(rows, MINILM))
    yield "monolingual", means(select(rows, MONOLINGUAL))
    yield "monolingual-tests", differences(select(rows, MONOLINGUAL), [*more, (more[1][0], more[0][0])])
    yield "dev", dev_table(rows)
    yield "ids", ids(rows)
    yield "masked", masked(rows)
    yield "checks", "\n".join(f"* {row['says']}" for row in rows if row["part"] == "check")


def summary(selected):
    """The main table for the README, the best of each measure in bold."""
    mean = {name: [statistics.fmean(row[m] for row in runs.values()) for m in MEASURES] for name, runs in selected.items()}
    best = [(min if m == "rank_distance" else max)(column) for m, column in zip(MEASURES, zip(*mean.values()))]
    lines = []
    for name, values in mean.items():
        cells = [f"{value:,.0f}" if m == "rank_distance" else f"{value:.3f}" for m, value in zip(MEASURES, values)]
        cells = [f"**{cell}**" if value == top else cell for cell, value, top in zip(cells, values, best)]
        lines.append([name, *cells])
    return f"{number_of(selected)}\n\n{table(['', 'Mo mAP', 'Cr mAP', 'Mul mAP', 'rank distance'], lines)}"


def way(selected):
    """How far hybrid goes from X-X-mono to X-Y, and in how many runs it lies between them."""
    cells = []
    for m in MEASURES:
        start, end, hybrid = ([row[m] for row in selected[name].values()] for name in ("x-x-mono", "x-y", "hybrid"))
        n = sum(min(pair) < x < max(pair) for *pair, x in zip(start, end, hybrid))
        share = (sum(hybrid) - sum(start)) / (sum(end) - sum(start))
        cells.append(f"{100 * share:.0f} %, between them in {n} of {len(hybrid)} runs")
    return table(["", "Mo", "Cr", "Mul", "rank distance"], [["from x-x-mono (0 %) to x-y (100 %)", *cells]])


def by_fold(rows):
    lines = []
    for fold in TEST_FOLDS:
        selected = select(rows, MAIN, [fold])
        for name, runs in selected.items():
            if runs:
                cells = [said(m, statistics.fmean(row[m] for row in runs.values())) for m in MEASURES]
                lines.append([f"{fold}, {name}", *cells])
    return table(["fold", "Mo", "Cr", "Mul", "rank distance"], lines)


def questions(rows):
    lines = []
    for row in rows:
        if row["part"] == "questions":
            cells = [f"{row['fold']}, {row['label']}"]
            for measure in MEASURES:
                it = row["tests"][measure]
                low, high = (said(measure, bound, "+") for bound in it["interval"])
                cells.append(f"{said(measure, it['difference'], '+')} ({low} to {high}), p {it['p_value']:.2g}")
            lines.append(cells)
    return table(["fold", "Mo", "Cr", "Mul", "rank distance"], lines)


def dev_table(rows):
    """By settings the means of the two strategies, best first."""
    found = {}
    for row in rows:
        if row["part"] == "dev":
            name, settings = row["label"].split(" ", 1)
            found.setdefault(settings, {})[name] = row
    lines = []
    for settings, of in found.items():
        if len(of) == 2:
            score = statistics.fmean(row[m] for row in of.values() for m in ("Mo", "Cr", "Mul"))
            both = [" / ".join(said(m, of[name][m]) for m in MEASURES) for name in ("x-x-mono", "x-y")]
            lines.append([settings, f"{score:.4f}", *both])
    lines.sort(key=lambda line: line[1], reverse=True)
    return table(["settings", "mean", "x-x-mono: Mo / Cr / Mul / rank distance", "x-y"], lines)


def masked(rows):
    """Of the runs of the main table and of those at 1,024 rows, pairs that the mask takes out of a batch."""
    lines = []
    for part, rows_of in (("main", dict.fromkeys(STRATEGIES, 64)), ("mask-1024", BIG)):
        for name, n_rows in rows_of.items():
            means = [row["masked_pairs"] for row in rows if (row["part"], row.get("label")) == (part, name)]
            if means:
                cells = [f"{statistics.fmean(means):,.1f}", f"{statistics.fmean(means) / n_rows:.2f}"]
                lines.append([f"{n_rows:,} rows, {name}", f"{n_rows * (n_rows - 1):,}", *cells])
    return table(["", "pairs of a batch", "masked", "masked a row"], lines)


def ids(rows):
    """Datasets of the main table by their first 12 digits, for the first seed."""
    lines = []
    for fold in TEST_FOLDS:
        of = {row["label"]: row for row in rows if row["part"] == "main" and (row["seed"], row["fold"]) == (SEEDS[0], fold)}
        if of:
            those = [next(iter(of.values()))["warm_up_dataset_id"]]
            those += [of[name]["dataset_id"] if name in of else "" for name in STRATEGIES]
            lines.append([str(fold), *(f"`{id[:12]}`" for id in those)])
    return table(["fold", "warm-up", *STRATEGIES], lines)


def fill_in(page, rows):
    """The page with what is between the marks of each block replaced."""
    for name, text in blocks(rows):
        begin, end = f"<!-- run.py: {name} -->", f"<!-- end of {name} -->"
        if begin in page:
            before, rest = page.split(begin)
            page = before + begin + "\n" + text + "\n" + end + rest.split(end)[1]
    return page


def absolute(path):
    return Path(path).resolve()


def sets(keys):
    return [word for key in keys for word in ("--set", key)]


def read_rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def tasks_by_name(lab, all_parts):
    """By the names of its lines in results.jsonl, what takes them."""
    runs = [run for part in all_parts.values() for run in part if run.init != "minilm" or lab.places["MINILM"]]
    tasks = {run.name: (lab.take, run) for run in runs}
    for run in runs:
        if run.init == "warm":
            which = (run.seed, run.fold, run.warm_steps)
            tasks[f"warm-up/{run.warm_steps or 'all'}/seed-{run.seed}-fold-{run.fold}"] = (lab.warm_up, *which)
    for fold in TEST_FOLDS:
        tasks[f"idf/bag/seed-{SEEDS[0]}-fold-{fold}"] = (lab.bag, fold)
        for other in ("x-x-mono", "x-y"):
            tasks[f"questions/hybrid_against_{other}/seed-{SEEDS[0]}-fold-{fold}"] = (lab.question_tests, fold)
    return tasks


def compare(rows, recorded):
    """Prints rows beside what was recorded of them, and means of several; whether they are of the same datasets."""
    same = True

    def show(name, label, values):
        scores = (f"{measure} {said(measure, values[measure])}" for measure in MEASURES if measure in values)
        print(f"{name}: {label:8}", *scores)

    for row in rows:
        was = recorded.get(row["name"], {})
        if tests := row.get("tests"):
            row, was = ({m: of["tests"][m]["difference"] for m in tests} | of for of in (row, was or row))
        show(row["name"], "here", row)
        show(row["name"], "recorded", was)
        if was and was["dataset_id"] != row["dataset_id"]:
            same = False
            print(f"{row['name']}: dataset {row['dataset_id']}, recorded was {was['dataset_id']}")
    if 1 < len(rows) and all("Mo" in row and row["name"] in recorded for row in rows):
        for label, values in (("here", rows), ("recorded", [recorded[row["name"]] for row in rows])):
            show(f"mean of {len(rows)}", label, {m: statistics.fmean(row[m] for row in values) for m in MEASURES})
    return same


def work(tasks, jobs):
    """Does all tasks, so many at a time, in this order; the first that fails ends it."""
    with ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(*task) for task in tasks]
        try:
            for job in running:
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=absolute, metavar="DIR", help="folder of the pipelines' sources")
    parser.add_argument("--out", required=True, type=absolute, metavar="DIR", help="datasets, runs, results")
    parser.add_argument("--prep", default=ROOT / "target/release/prep", type=absolute, metavar="FILE")
    parser.add_argument("--minilm", type=absolute, metavar="DIR", help="all-MiniLM-L6-v2; without it its part is left out")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at a time, of one thread each")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), metavar="N", help="only the first N seeds")
    parser.add_argument("--only", nargs="+", choices=list(parts(SEEDS)), metavar="PART", help=" ".join(parts(SEEDS)))
    parser.add_argument("--row", nargs="+", default=[], metavar="NAME", help="only these lines, such as main/x-y/seed-1-fold-1")
    args = parser.parse_args()
    all_parts = parts(SEEDS[: args.seeds])
    args.out.mkdir(parents=True, exist_ok=True)
    lab = Lab(args)
    if args.row:
        known = tasks_by_name(lab, all_parts)
        recorded = {row["name"]: row for row in read_rows(HERE / "results.jsonl")}
        names = []
        for row in args.row:
            found = [name for name in (row, *behind(row, recorded.values())) if name in known]
            if not found:
                parser.error(f"no line {row}; results.jsonl has the names, and those of `minilm` need --minilm")
            names += found
        work([known[name] for name in names], args.jobs)
        return 0 if compare([lab.done[name] for name in names], recorded) else 1
    tasks, after = [], []
    for name in args.only or all_parts:
        if name == "minilm" and not args.minilm:
            continue
        runs = all_parts[name]
        if name == "monolingual":
            tasks += [(lab.check_held_out, fold) for fold in TEST_FOLDS]
        if name == "main":
            tasks += [(lab.bag, fold) for fold in TEST_FOLDS]
        # A run waits for its warm-up; those of a seed come first, so that nobody waits long.
        for seed in sorted({run.seed for run in runs}):
            of_seed = [run for run in runs if run.seed == seed]
            warm = sorted({(run.fold, run.warm_steps) for run in of_seed if run.init == "warm"})
            tasks += [(lab.warm_up, seed, *which) for which in warm]
            tasks += [(lab.take, run) for run in of_seed]
        if name == "questions":
            after = [(lab.question_tests, fold) for fold in TEST_FOLDS] + [(lab.check_ends_of_alpha,)]
    work(tasks, args.jobs)
    work(after, args.jobs)
    rows = sorted(lab.done.values(), key=lambda row: row["name"])
    for page in (HERE / "RESULTS.md", ROOT / "README.md"):
        (args.out / page.name).write_text(fill_in(page.read_text(), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
