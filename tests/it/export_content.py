"""Every export of `out/demo`, read with the library that it is for: all columns of all rows, in order. recipes.rs.

export_content.py FORMAT PATH     FORMAT as `prep export --to` has it, PATH what it wrote

What is expected comes from the shards themselves, read with pyarrow.
"""

import json
import sys
from glob import glob

INTEGERS = ["step", "row", "example"]
LISTS = ["positive_group_ids", "negative_ids", "negatives"]


def shards():
    import pyarrow.parquet as parquet

    return [row for file in sorted(glob("out/demo/train/batches-*.parquet")) for row in parquet.read_table(file).to_pylist()]


def json_lines(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def jsonl(path):
    return json_lines(path)


def arrow(path):
    import polars
    import pyarrow

    with pyarrow.memory_map(path) as file:
        rows = pyarrow.ipc.open_file(file).read_all().to_pylist()
    assert polars.read_ipc(path).to_dicts() == rows
    return rows


def datasets(path):
    from datasets import load_dataset

    return load_dataset(f"./{path}", split="train").to_list()


def sentence_transformers(path):
    from datasets import Dataset

    texts, rows = (Dataset.from_parquet(f"{path}/{name}.parquet").to_list() for name in ["train", "rows"])
    for text, row in zip(texts, rows, strict=True):
        row["query"], row["positive"] = text["anchor"], text["positive"]
        assert [text[f"negative_{n + 1}"] for n in range(len(text) - 2)] == row["negatives"][: len(text) - 2]
    return rows


def tevatron(path):
    for row in json_lines(path):
        (positive,) = row["positive_passages"]
        negatives = row["negative_passages"]
        assert all(passage["title"] == "" for passage in [positive, *negatives])
        yield {
            "query_id": row["query_id"],
            "query": row["query"],
            "positive_id": positive["docid"],
            "positive": positive["text"],
            "negative_ids": [passage["docid"] for passage in negatives],
            "negatives": [passage["text"] for passage in negatives],
            **row["prep"],
        }


def flag_embedding(path):
    for row in json_lines(path):
        (positive,), (positive_id,) = row["pos"], row["pos_id"]
        yield {
            "query_id": row["query_id"],
            "query": row["query"],
            "positive_id": positive_id,
            "positive": positive,
            "negative_ids": row["neg_id"],
            "negatives": row["neg"],
            **row["prep"],
        }


def mds(path):
    from streaming import StreamingDataset

    return [dict(row) for row in StreamingDataset(local=path, shuffle=False, batch_size=1, validate_hash="xxh64")]


def webdataset(path):
    import webdataset

    files = sorted(glob(f"{path}/rows-*.tar"))
    samples = webdataset.WebDataset(files, shardshuffle=False)
    return [json.loads(sample["json"]) for sample in samples]


def tfrecord(path):
    from tfrecord import tfrecord_loader

    for file in sorted(glob(f"{path}/rows-*.tfrecord")):
        for example in tfrecord_loader(file, None):
            row = {name: int(example[name][0]) for name in INTEGERS}
            lengths = [int(n) for n in example.get("negative_group_ids.lengths", [])]
            groups = texts(example, "negative_group_ids")
            row["negative_group_ids"] = [[groups.pop(0) for _ in range(n)] for n in lengths]
            assert not groups
            for name in LISTS:
                row[name] = texts(example, name)
            for name in example.keys() - row.keys() - {"negative_group_ids.lengths"}:
                (row[name],) = texts(example, name)
            yield row


def texts(example, name):
    """One value comes as bytes, several as an array of them."""
    value = example.get(name, [])
    values = [value] if isinstance(value, bytes) else list(value)
    return [bytes(text).decode() for text in values]


form, path = sys.argv[1:]
expected, found = shards(), list(globals()[form.replace("-", "_")](path))
assert len(found) == len(expected), (len(found), len(expected))
has_tokens = form in ["arrow", "datasets"]
columns = [name for name in expected[0] if has_tokens or not name.endswith("input_ids")]
for number, (row, known) in enumerate(zip(found, expected)):
    for name in columns:
        assert row[name] == known[name], (number, name, row[name], known[name])
