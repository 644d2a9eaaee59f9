"""A dataset with mined hard negatives, derived anew from plan.json and corpus/ by schemas/SAMPLING.md and SHARDS.md.

Shares nothing with the program but those pages. Prints the dataset id, the digest of every batch, and how many rows have
a hard negative, as JSON.
"""

import hashlib
import json
import struct
import sys
from collections import defaultdict
from pathlib import Path

import blake3
import pyarrow.parquet as pq

M = 2**64 - 1


def mix64(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M
    return z ^ (z >> 31)


def subkey(seed, purpose, name, index):
    text = b"prep.plan.v1\0" + purpose.encode() + b"\0" + name.encode() + b"\0" + struct.pack("<QQ", seed, index)
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")


def permute(key, n, x):
    if n == 1:
        return 0
    half = max(4, -(-(n - 1).bit_length() // 2))
    mask = 2**half - 1
    keys = [mix64((key + 0x9E3779B97F4A7C15 * (r + 1)) & M) for r in range(8)]
    while True:
        left, right = x >> half, x & mask
        for k in keys:
            left, right = right, left ^ (mix64((right + k) & M) & mask)
        x = (left << half) | right
        if x < n:
            return x


def mixture(seed, name, weights, x):
    total = sum(weights)
    cycle, t = divmod(x, total)
    p = permute(subkey(seed, "mixture", name, cycle), total, t)
    for child, weight in enumerate(weights):
        if p < weight:
            return child, cycle * weight + p
        p -= weight


def table(root, name):
    return [row for path in sorted((root / "corpus").glob(f"{name}-*.parquet")) for row in pq.read_table(path).to_pylist()]


def encoded(value):
    if value is None:
        return struct.pack("<Q", M)
    if isinstance(value, list):
        return struct.pack("<Q", len(value)) + b"".join(map(encoded, value))
    if isinstance(value, int):
        value = str(value)
    if isinstance(value, str):
        value = value.encode()
    return struct.pack("<Q", len(value)) + value


root = Path(sys.argv[1])
plan = json.loads((root / "plan.json").read_bytes())
assert plan["hard_negatives"]["source"] == "mined"
queries, passages, qrels = table(root, "queries"), table(root, "passages"), table(root, "qrels")
negatives = table(root, "negatives")
passage_of = {row["passage_id"]: row for row in passages}
lists = {row["query_id"]: row["passage_ids"] for row in negatives}

# Which groups a passage answers: by a judgement of its own, or of one with its language and text.
of_text = defaultdict(set)
for row in qrels:
    if 0 < row["relevance"]:
        passage = passage_of[row["passage_id"]]
        of_text[passage["lang"], passage["text"]].add(row["group_id"])
answered = {row["passage_id"]: sorted(of_text[row["lang"], row["text"]], key=str.encode) for row in passages}

# The examples of the pools: query by query and passage by passage of each group.
by_group = defaultdict(lambda: defaultdict(list))
for row in queries:
    if row["split"] != "eval":
        by_group[row["group_id"]]["q", row["dataset"], row["lang"]].append(row)
for row in qrels:
    passage = passage_of[row["passage_id"]]
    if 0 < row["relevance"] and passage["split"] != "eval":
        by_group[row["group_id"]]["p", passage["dataset"], passage["lang"]].append(passage)
groups = sorted(by_group, key=str.encode)


def examples(pool):
    dataset, pair = pool.split("/", 1)
    query_lang, passage_lang = pair.split(":")
    found = []
    for group in groups:
        if group.startswith(dataset + "/"):
            sides = by_group[group]
            for query in sorted(sides["q", dataset, query_lang], key=lambda row: row["query_id"].encode()):
                for passage in sorted(sides["p", dataset, passage_lang], key=lambda row: row["passage_id"].encode()):
                    found.append((group, query, passage))
    return found


pools = {pool["name"]: examples(pool["name"]) for source in plan["sources"] for pool in source["pools"]}
for source in plan["sources"]:
    for pool in source["pools"]:
        assert len(pools[pool["name"]]) == pool["size"], pool["name"]

seed, size, k = plan["seed"], plan["batch_size"], plan["hard_negatives"]["k"]
digests, with_negatives = [], 0
for step in range(plan["steps"]):
    at, j = mixture(seed, "batches", [source["weight"] for source in plan["sources"]], step)
    source = plan["sources"][at]
    content = b""
    for r in range(size):
        at, q = mixture(seed, source["name"], [pool["weight"] for pool in source["pools"]], j * size + r)
        pool = source["pools"][at]["name"]
        draws, n = pools[pool], len(pools[pool])
        index = permute(subkey(seed, "pool", pool, q // n), n, q % n)
        group, query, positive = draws[index]
        candidates = [id for id in lists.get(query["query_id"], []) if group not in answered[id]]
        candidates.sort(key=str.encode)
        key = mix64((subkey(seed, "negatives", pool, q // n) + index) & M)
        picked = [candidates[permute(key, len(candidates), i)] for i in range(min(k, len(candidates)))]
        with_negatives += bool(picked)
        row = [
            source["name"], pool, index, group,
            query["query_id"], query["lang"], query["text"],
            positive["passage_id"], positive["lang"], positive["text"], answered[positive["passage_id"]],
            picked, [passage_of[id]["text"] for id in picked], [answered[id] for id in picked],
        ]
        content += b"".join(map(encoded, row))
    digests.append(blake3.blake3(content))

whole = blake3.blake3(encoded((root / "plan.json").read_bytes()))
for digest in digests:
    whole.update(encoded(digest.digest()))
for name, rows in ("queries", queries), ("passages", passages), ("qrels", qrels), ("negatives", negatives):
    whole.update(encoded(name) + struct.pack("<Q", len(rows)))
    for row in rows:
        whole.update(b"".join(map(encoded, row.values())))
print(json.dumps({
    "dataset_id": whole.hexdigest(),
    "digests": [digest.hexdigest() for digest in digests],
    "with_negatives": with_negatives,
}))
