"""Batches with switched words, derived anew by what schemas/SAMPLING.md says and by nothing of prep. code_switch.rs.

code_switch.py DATASET      every batch of train/ from plan.json and corpus/: texts, originals, digests, dataset id
code_switch.py --vectors    the test vectors of SAMPLING.md, section 9

Needs the packages of tests/readers.txt; `--vectors` needs none.
"""

import hashlib
import json
import struct
import sys
import unicodedata
from collections import defaultdict
from glob import glob

MASK = 2**64 - 1


def mix64(z):
    z &= MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def subkey(seed, purpose, name, index):
    text = b"prep.plan.v1\0" + purpose.encode() + b"\0" + name.encode() + b"\0" + struct.pack("<QQ", seed, index)
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")


def permute(key, n, x):
    if n == 1:
        return 0
    half = max(4, ((n - 1).bit_length() + 1) // 2)
    mask = 2**half - 1
    keys = [mix64(key + 0x9E3779B97F4A7C15 * (r + 1)) for r in range(8)]
    while True:
        left, right = x >> half, x & mask
        for k in keys:
            left, right = right, left ^ (mix64(right + k) & mask)
        x = left << half | right
        if x < n:
            return x


def mixture(seed, name, weights, x):
    total = sum(weights)
    cycle, t = divmod(x, total)
    p, before = permute(subkey(seed, "mixture", name, cycle), total, t), 0
    for child, weight in enumerate(weights):
        if p < before + weight:
            return child, cycle * weight + p - before
        before += weight


# Section 9.


def falls(draw, share):
    return draw * share[1] < share[0] << 64


def batch_is_switched(plan, step):
    return falls(mix64(subkey(plan["seed"], "code-switch", "batches", 0) + step), plan["code_switch"]["share"])


def text_key(plan, side, pool, turn, index, number=None):
    key = mix64(subkey(plan["seed"], f"code-switch-{side}", pool, turn) + index)
    return key if number is None else mix64(key + number)


def word_draws(key, position):
    return [mix64(key + 3 * position + i) for i in range(3)]


def in_case_of(word, translation, lang):
    def upper(text):
        return (text.replace("i", "İ") if lang.split("-")[0] in ("tr", "az") else text).upper()

    n_upper, has_lower = sum(c.isupper() for c in word), any(c.islower() for c in word)
    if 2 <= n_upper and not has_lower:
        return upper(translation)
    if word[:1].isupper():
        return upper(translation[0]) + translation[1:]
    return translation


WITHOUT_SPACES = [
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19FF), (0x1A20, 0x1AAF), (0x2E80, 0x312F),
    (0x3190, 0x31FF), (0x3400, 0x9FFF), (0xA000, 0xA4CF), (0xA9E0, 0xA9FF), (0xAA60, 0xAADF), (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F), (0x116D0, 0x116FF), (0x11700, 0x1174F), (0x16FE0, 0x18DFF), (0x1AFF0, 0x1B2FF), (0x20000, 0x3FFFF),
]  # fmt: skip


def joined(parts):
    """Pieces of a text one after another, with a space at the joints that need one."""
    text = ""

    def takes_space(c):
        return unicodedata.category(c)[0] in "LMN" and not any(a <= ord(c) <= b for a, b in WITHOUT_SPACES)

    for part in filter(None, parts):
        last = next((c for c in reversed(text) if unicodedata.category(c)[0] != "M"), None)
        text += " " * (last is not None and takes_space(last) and takes_space(part[0])) + part
    return text


def switched(plan, text, words, lexicon, key, other):
    """The text with its words switched; `other` is the language of the row's other side."""
    setting, raw, parts, copied = plan["code_switch"], text.encode(), [], 0
    for position, start, end, entry in zip(words["positions"], words["starts"], words["ends"], words["entries"]):
        u0, u1, u2 = word_draws(key, position)
        if not falls(u0, setting["probability"]):
            continue
        entry = lexicon[entry]
        langs = entry["target_langs"]
        if setting["kind"] == "multilingual":
            lang = u1 * len(langs) >> 64
        elif other in langs:
            lang = langs.index(other)
        else:
            continue
        translations = entry["translations"][lang]
        translation = translations[u2 * len(translations) >> 64]
        word = in_case_of(raw[start:end].decode(), translation, langs[lang])
        parts += [raw[copied:start].decode(), word]
        copied = end
    return joined([*parts, raw[copied:].decode()])


# Sections 2, 3 and 5, over the tables of a dataset.


class Corpus:
    def __init__(self, root):
        self.tables = {name: table(f"{root}/corpus/{name}") for name in ("queries", "passages", "qrels", "words", "lexicon")}
        self.queries = {row["query_id"]: row for row in self.tables["queries"]}
        self.passages = {row["passage_id"]: row for row in self.tables["passages"]}
        self.words = {(row["kind"], row["text_id"]): row for row in self.tables["words"]}
        self.lexicon = self.tables["lexicon"]
        by_text, self.answers, self.contexts = defaultdict(set), {}, defaultdict(list)
        for row in self.tables["qrels"]:
            if 0 < row["relevance"]:
                passage = self.passages[row["passage_id"]]
                by_text[passage["lang"], passage["text"]].add(row["group_id"])
        for row in self.tables["passages"]:
            self.answers[row["passage_id"]] = sorted(by_text[row["lang"], row["text"]], key=str.encode)
            self.contexts[row["context_id"], row["lang"]].append(row["passage_id"])
        self.pools = {}

    def pool(self, name):
        """Its examples (group, query, passage), in order."""
        if name not in self.pools:
            dataset, pair = name.split("/")
            query_lang, passage_lang = pair.split(":")
            queries, passages = defaultdict(list), defaultdict(list)
            for row in self.tables["queries"]:
                if row["dataset"] == dataset and row["lang"] == query_lang and row["split"] != "eval":
                    queries[row["group_id"]].append(row["query_id"])
            for row in self.tables["qrels"]:
                passage = self.passages[row["passage_id"]]
                fits = passage["dataset"] == dataset and passage["lang"] == passage_lang and passage["split"] != "eval"
                if fits and 0 < row["relevance"]:
                    passages[row["group_id"]].append(row["passage_id"])
            examples = [(g, q, p) for g in queries for q in queries[g] for p in passages[g]]
            self.pools[name] = sorted(examples, key=lambda example: [part.encode() for part in example])
        return self.pools[name]

    def negatives(self, plan, group, passage, pool, turn, index):
        row = self.passages[passage]
        candidates = [p for p in self.contexts[row["context_id"], row["lang"]] if group not in self.answers[p]]
        candidates.sort(key=str.encode)
        key = mix64(subkey(plan["seed"], "negatives", pool, turn) + index)
        n = min(plan["hard_negatives"]["k"], len(candidates))
        return [candidates[permute(key, len(candidates), i)] for i in range(n)]


def batch(plan, corpus, step):
    source, j = mixture(plan["seed"], "batches", [s["weight"] for s in plan["sources"]], step)
    source = plan["sources"][source]
    is_switched, sides = batch_is_switched(plan, step), plan["code_switch"]["sides"]

    def text(row, kind, id, key, other):
        original = row["text"]
        if not is_switched or sides not in ("both", {"query": "queries", "passage": "passages"}[kind]):
            return original, None
        changed = switched(plan, original, corpus.words[kind, id], corpus.lexicon, key, other)
        return changed, None if changed == original else original

    for r in range(plan["batch_size"]):
        child, q = mixture(plan["seed"], source["name"], [p["weight"] for p in source["pools"]], j * plan["batch_size"] + r)
        pool = source["pools"][child]["name"]
        examples = corpus.pool(pool)
        assert len(examples) == source["pools"][child]["size"]
        turn, at = divmod(q, len(examples))
        index = permute(subkey(plan["seed"], "pool", pool, turn), len(examples), at)
        group, query, positive = examples[index]
        query_lang, passage_lang = pool.split("/")[1].split(":")
        negatives = corpus.negatives(plan, group, positive, pool, turn, index)
        asked = text(corpus.queries[query], "query", query, text_key(plan, "query", pool, turn, index), passage_lang)
        answer = text(corpus.passages[positive], "passage", positive, text_key(plan, "passage", pool, turn, index), query_lang)
        others = [
            text(corpus.passages[id], "passage", id, text_key(plan, "negative", pool, turn, index, i), query_lang)
            for i, id in enumerate(negatives)
        ]
        yield {
            "step": step,
            "row": r,
            "source": source["name"],
            "pool": pool,
            "example": index,
            "group_id": group,
            "query_id": query,
            "query_lang": query_lang,
            "query": asked[0],
            "positive_id": positive,
            "positive_lang": passage_lang,
            "positive": answer[0],
            "positive_group_ids": corpus.answers[positive],
            "negative_ids": negatives,
            "negatives": [text for text, _ in others],
            "negative_group_ids": [corpus.answers[id] for id in negatives],
            "query_original": asked[1],
            "positive_original": answer[1],
            "negatives_original": [original for _, original in others],
        }


# Section 7 of SHARDS.md.


def encoded(value):
    if value is None:
        return struct.pack("<Q", MASK)
    if isinstance(value, list):
        return struct.pack("<Q", len(value)) + b"".join(map(encoded, value))
    raw = value if isinstance(value, bytes) else str(value).encode()
    return struct.pack("<Q", len(raw)) + raw


def digest(rows):
    from blake3 import blake3

    columns = [name for name in rows[0] if name not in ("step", "row") and not name.endswith("_original")]
    return blake3(b"".join(encoded(row[name]) for row in rows for name in columns)).digest()


def dataset_id(plan_json, digests, tables):
    from blake3 import blake3

    parts = [encoded(plan_json), *map(encoded, digests)]
    for name in ("queries", "passages", "qrels", "words", "lexicon"):
        parts += [encoded(name), struct.pack("<Q", len(tables[name]))]
        parts += [encoded(value) for row in tables[name] for value in row.values()]
    return blake3(b"".join(parts)).hexdigest()


def table(stem):
    import pyarrow.parquet as parquet

    return [row for file in sorted(glob(f"{stem}-*.parquet")) for row in parquet.read_table(file).to_pylist()]


def check(root):
    import pyarrow.parquet as parquet

    with open(f"{root}/plan.json", "rb") as file:
        plan_json = file.read()
    with open(f"{root}/manifest.json", encoding="utf-8") as file:
        manifest = json.load(file)
    plan, corpus = json.loads(plan_json), Corpus(root)
    found, index = table(f"{root}/train/batches"), parquet.read_table(f"{root}/train/index.parquet").to_pylist()
    digests, n_switched = [], 0
    for step in range(plan["steps"]):
        rows = list(batch(plan, corpus, step))
        first = step * plan["batch_size"]
        for want, have in zip(rows, found[first : first + plan["batch_size"]], strict=True):
            have = {name: have[name] for name in want}
            assert have == want, f"step {step} row {want['row']}:\n{have}\nis not\n{want}"
            n_switched += sum(want[name] is not None for name in ("query_original", "positive_original"))
        digests.append(digest(rows))
        assert digests[-1].hex() == index[step]["digest"], f"step {step}: digest"
    assert dataset_id(plan_json, digests, corpus.tables) == manifest["dataset_id"], "dataset id"
    print(f"{plan['steps']} batches, {n_switched} questions and positives with switched words")


def vectors():
    plan = {"seed": 42, "code_switch": {"share": [1, 2], "probability": [1, 2]}}
    print("batches", hex(subkey(42, "code-switch", "batches", 0)))
    print("steps", [int(batch_is_switched(plan, step)) for step in range(16)])
    for side, number in (("query", None), ("passage", None), ("negative", 0), ("negative", 1)):
        key = text_key(plan, side, "demo/de:en", 3, 7, number)
        print(side, number, hex(subkey(42, f"code-switch-{side}", "demo/de:en", 3)), hex(key))
        for position in range(4):
            u0, u1, u2 = word_draws(key, position)
            is_switched = int(falls(u0, plan["code_switch"]["probability"]))
            print("  ", position, hex(u0), hex(u1), hex(u2), is_switched, u1 * 3 >> 64, u2 * 5 >> 64)
    for parts in (
        ["", "und", "", "Stelle", ""],
        ["abc", "und", ""],
        ["3", "years", ""],
        ["", "house", "は"],
        ["abc", "บ้าน", "abc"],
        ["cafe\u0301", "house", ""],
        ["漢\U000e0100", "house", ""],
        ["\u2764\ufe0f", "house", "!"],
    ):
        print(parts, joined(parts))


if __name__ == "__main__":
    vectors() if sys.argv[1] == "--vectors" else check(sys.argv[1])
