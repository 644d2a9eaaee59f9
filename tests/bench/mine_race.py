#!/usr/bin/env python3
"""`prep mine --from bm25` against bm25s, on a collection of the size of MIRACL's.

    tests/bench/mine_race.py --prep target/release/prep --data DATA --python PYTHON [--passages 1000000]

DATA holds `xquad-r/en.json` and `jaquad/train/*.json` (for sentences); PYTHON has bm25s, PyStemmer, numba and pyarrow
(`--peer` is what it is run with). Sentences are drawn at random and put together to passages of about a hundred words, so
that words are as frequent as in the language; questions are sentences, shortened. One language after another, each a
collection in the layout of MIRACL: built, mined (index, search, ranks 1 to 100, file), and the same texts indexed and
searched for 100 passages each by bm25s with as many threads. For prep the whole process is counted, with reading the
texts from Parquet, checking digests and leaving out answers; for bm25s its work on texts in memory, without imports and reading.
"""
import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from race import machine, run

WORDS = 100
LANGUAGES = {"en": "xquad-r/en.json", "ja": "jaquad/train/jaquad_train_0000.json"}


def sentences(path):
    """Texts of a SQuAD file, and how to join them."""
    paragraphs = [" ".join(p["context"].split()) for article in json.loads(path.read_text())["data"] for p in article["paragraphs"]]
    stop = "。" if "。" in paragraphs[0] else ". "
    return [part.strip() + stop.strip() for text in paragraphs for part in text.split(stop) if 8 < len(part.strip())], stop


def collection(folder, lang, path, n_passages, n_questions):
    """A corpus of `n_passages`, drawn by a seed, as MIRACL lays it out."""
    rng = random.Random(7)
    pool, stop = sentences(path)
    words = WORDS if stop == ". " else 4 * WORDS
    size = (lambda text: text.count(" ") + 1) if stop == ". " else len
    folder.mkdir(parents=True)
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as file:
        for n in range(n_passages):
            parts, length = [], 0
            while length < words:
                parts.append(rng.choice(pool))
                length += size(parts[-1])
            text = (" " if stop == ". " else "").join(parts)
            file.write(json.dumps({"docid": f"{n}#0", "title": "", "text": text}, ensure_ascii=False) + "\n")
    with open(folder / "topics.tsv", "w", encoding="utf-8") as topics, open(folder / "qrels.tsv", "w") as qrels:
        for n in range(n_questions):
            text = rng.choice(pool)
            short = " ".join(text.split()[:8]) if stop == ". " else text[:24]
            topics.write(f"{n}\t{short}\n")
            qrels.write(f"{n}\tQ0\t{rng.randrange(n_passages)}#0\t1\n")
    return folder


def dataset(args, work, lang):
    pipeline = work / "p.toml"
    pipeline.write_text(f'''name = "mine"
[[corpora]]
name = "c"
format = "collection"
languages = ["{lang}"]
files = {{ corpus = "{{lang}}/corpus.jsonl", queries = "{{lang}}/topics.tsv", qrels = "{{lang}}/qrels.tsv" }}
[batches]
strategy = "x-x-mono"
batch_size = 10
steps = 10
''')
    out = work / "dataset"
    shutil.rmtree(out, ignore_errors=True)
    took, peak, _ = run([args.prep, "build-shards", pipeline, "--data", work, "--out", out, "--threads", args.threads, "--quiet"])
    print(f"{lang}: built in {took:.1f} s, peak {peak:.0f} MiB", file=sys.stderr)
    return out, took, peak


def peer(folder, lang, threads):
    """Seconds of bm25s: terms, index, search."""
    import bm25s
    import Stemmer

    with open(f"{folder}/corpus.jsonl", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    with open(f"{folder}/topics.tsv", encoding="utf-8") as file:
        questions = [line.rstrip("\n").split("\t")[1] for line in file]
    # It has no words of Japanese: single characters are what people pass.
    options = {"stopwords": None, "show_progress": False}
    options |= {"stemmer": Stemmer.Stemmer("english")} if lang == "en" else {"token_pattern": r"\S"}
    start = time.perf_counter()
    tokens = bm25s.tokenize(texts, **options)
    after_terms = time.perf_counter()
    index = bm25s.BM25(method="lucene", k1=0.9, b=0.4, backend="numba")
    index.index(tokens, show_progress=False)
    after_index = time.perf_counter()
    asked = bm25s.tokenize(questions, **options)
    index.retrieve(asked, k=100, n_threads=threads, show_progress=False)
    end = time.perf_counter()
    print(json.dumps({"secs": end - start, "terms": after_terms - start, "index": after_index - after_terms, "search": end - after_index}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prep", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--python", type=Path)
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer", nargs=2, metavar=("FOLDER", "LANG"))
    args = parser.parse_args()
    if args.peer:
        return peer(*args.peer, args.threads)
    print(f"{machine()}; {args.passages:,} passages, {args.questions:,} questions\n")
    print("| | seconds | times prep's | peak MiB | built in | peak MiB of the build |\n| --- | --- | --- | --- | --- | --- |")
    for lang, path in LANGUAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            collection(work / lang, lang, args.data / path, args.passages, args.questions)
            built, took, build_peak = dataset(args, work, lang)
            seconds, peaks = {"prep": [], "bm25s": []}, {}
            for _ in range(args.rounds):
                mined, peaks["prep"], _ = run([args.prep, "mine", built, "--from", "bm25", "--out", work / "m.parquet", "--force",
                                               "--threads", args.threads, "--quiet"])
                seconds["prep"].append(mined)
                _, peaks["bm25s"], out = run([args.python, __file__, "--peer", work / lang, lang, "--threads", args.threads])
                line = json.loads(out.strip().splitlines()[-1])
                seconds["bm25s"].append(line["secs"])
                print(f"{lang}: {mined:.1f} s; {line}", file=sys.stderr)
            ours = statistics.median(seconds["prep"])
            for name, all_seconds in seconds.items():
                middle = statistics.median(all_seconds)
                ends = f"{took:.1f} | {build_peak:.0f}" if name == "prep" else " | "
                print(f"| {lang}, {name} | {middle:.1f} | {middle / ours:.1f} | {peaks[name]:.0f} | {ends} |", flush=True)


if __name__ == "__main__":
    main()
