"""Runs a recipe of pipelines/recipes/ as a program, and holds what it ends with against the dataset: recipes.rs.

recipes.py RECIPE          runs it once
recipes.py RECIPE ranks    runs it for 1, 2 and 4 ranks with 0 to 4 workers, which are to have one result

The working directory has the dataset in out/demo, its batches in expected.jsonl, and what the recipe reads.
"""

import json
import multiprocessing
import os
import runpy
import sys
from glob import glob
from itertools import groupby
from operator import itemgetter


def rows():
    with open("expected.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def by_step(rows, query, positive):
    return [
        [(row[query], row[positive]) for row in batch] for _, batch in groupby(rows, key=itemgetter("step"))
    ]


def table(name):
    import pyarrow.parquet as parquet

    files = sorted(glob(f"out/demo/{name}-*.parquet"))
    return [row for file in files for row in parquet.read_table(file).to_pylist()]


def check_batches(batches):
    expected = by_step(rows(), "query", "positive")
    assert 1 < len(expected)
    if not isinstance(batches[0][0][0], str):
        expected = by_step(table("train/batches"), "query_input_ids", "positive_input_ids")
        batches = [[(query.tolist(), positive.tolist()) for query, positive in batch] for batch in batches]
    assert [list(map(tuple, batch)) for batch in batches] == expected


def check_eval(found):
    """Queries and passages by id, and relevance by both."""
    queries, passages = table("eval/queries"), table("eval/passages")
    qrels = {}
    for row in table("eval/qrels"):
        for query in queries:
            if query["group_id"] == row["group_id"]:
                qrels.setdefault(query["query_id"], {})[row["passage_id"]] = row["relevance"]
    assert found["qrels"] == qrels and qrels
    if "queries" in found:
        assert found["queries"] == {row["query_id"]: row["text"] for row in queries}
        assert found["corpus"] == {row["passage_id"]: row["text"] for row in passages}


def check_configs(found):
    """The eval part as Hugging Face datasets."""
    for name in ["queries", "passages", "qrels"]:
        assert found[name].to_list() == table(f"eval/{name}"), name


def make_model():
    """The smallest model that can be trained: a vector a token."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file("out/demo/tokenizer.json")
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)]).save("model")


def check_loss(found):
    """The loss with its mask, against one that leaves masked passages out of the sum, term by term."""
    import torch

    loss, expected, generator = found["trainer"].loss, rows(), torch.Generator().manual_seed(0)
    n_masked = 0
    for first in range(0, 20 * found["batch_size"], found["batch_size"]):
        numbers = range(first, first + found["batch_size"])
        columns = [torch.randn(len(numbers), 8, dtype=torch.float64, generator=generator) for _ in range(3)]
        unit = [column / column.norm(dim=1, keepdim=True) for column in columns]
        total = 0.0
        for i, row in enumerate(expected[number] for number in numbers):
            own, terms = None, []
            for kind, passages in enumerate(unit[1:]):
                for j, number in enumerate(numbers):
                    score = 20 * unit[0][i] @ passages[j]
                    if (kind, i) == (0, j):
                        own = score
                    other = expected[number]
                    groups = other["positive_group_ids"] if kind == 0 else other["negative_group_ids"][0]
                    if (kind, i) == (0, j) or row["group_id"] not in groups:
                        terms.append(score)
                    else:
                        n_masked += 1
            total += (torch.logsumexp(torch.stack(terms), 0) - own).item()
        value = loss.compute_loss_from_embeddings(columns, torch.tensor(list(numbers))).item()
        assert abs(value - total / len(numbers)) < 1e-9, (first, value, total / len(numbers))
    assert n_masked != 0
    assert found["trainer"].state.global_step == len(found["batches"])


def check_learning(found, rank, ranks):
    """After training, batches have a smaller loss than when they were trained on."""
    before = after = 0.0
    for loss, (_, batch) in zip(found["losses"], groupby(rows(), key=itemgetter("step"))):
        batch = list(batch)
        share = batch[rank * len(batch) // ranks : (rank + 1) * len(batch) // ranks]
        columns = {name: [row[name] for row in share] for name in share[0]}
        before += loss.item()
        after += found["loss"](columns, found["encode"]).item()
    assert after < before, (after, before)


def check_ranks(recipe):
    # Not what a platform may have by default instead: processes that import the recipe again.
    multiprocessing.set_start_method("fork")
    # Workers first: what reads Parquet has threads of its own, which processes better start without.
    for workers in [4, 3, 2, 1, 0]:
        for ranks in [1, 2, 4]:
            parts = []
            for rank in range(ranks):
                os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), WORKERS=str(workers))
                found = runpy.run_path(recipe, run_name="__main__")
                parts.append(found["batches"])
                check_learning(found, rank, ranks)
            check_batches([sum(shares, []) for shares in zip(*parts, strict=True)])


recipe, *ranks = sys.argv[1:]
if ranks:
    check_ranks(recipe)
    sys.exit()
with open(recipe, encoding="utf-8") as file:
    if "SentenceTransformer(" in file.read():
        make_model()
found = runpy.run_path(recipe, run_name="__main__")
if "batches" in found:
    check_batches(found["batches"])
    if "passages" in found:
        check_configs(found)
    if "trainer" in found:
        check_loss(found)
else:
    check_eval(found)
