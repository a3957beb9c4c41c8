"""Time probes and pseudo-log-likelihood beside the loops that notebooks run, on this machine.

    python benchmarks/evaluation.py --json benchmarks/results/NAME.json

The model has DistilBERT-base's shape, a vocabulary of 30,522 and random weights. 500 prompts are asked by a loop of
calls of the library's fill-mask pipeline for ten words each, and by a probe; texts are scored by a loop over their
positions with the library's forward, and by `pseudo_log_likelihoods`. Both sides take turns; a ratio is the loop's CPU
seconds by Winnow's, the least of several turns each, with the wall seconds beside it. `portable` is PyTorch's own
linear layers, `chosen` what Winnow picks for this machine; `with_sentiment` is a whole run of the probe, which no loop
does. `limit` tells what is possible: the operations of the products that each side computes, how many a second one
core reached in a product that suits it best, and the ratio of a probe that did nothing but its products at that rate.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DistilBertConfig, DistilBertForMaskedLM, pipeline

from winnow.evaluation import Probe, pseudo_log_likelihoods
from winnow.evaluation.pseudo_likelihood import NO_WORD, tokenize_with_word_ids
from winnow.evaluation.vocabulary_words import list_whole_words
from winnow.tracking.environment import hardware
from winnow.training.forward import numerics
from winnow.training.wordpiece import train_wordpiece

VOCABULARY, PROMPTS, TEXTS = 30_522, 500, 12
WORDS = {"wanted": ["comfortable", "durable", "stylish"], "unwanted": ["expensive", "ugly", "heavy"]}


def prompts() -> list[str]:
    """Return 500 different sentences with a mask, of 6 to 13 tokens."""
    brands = ["nike", "adidas", "puma", "fila", "asics"]
    products = [
        "shoes",
        "running shoes",
        "jackets",
        "shirts",
        "socks",
        "hats",
        "hoodies",
        "backpacks",
        "trousers",
        "caps",
    ]
    frames = [
        "{} {} are [MASK]",
        "{} {} are very [MASK]",
        "the {} {} are known for being [MASK]",
        "my new {} {} are really [MASK]",
        "people say that {} {} are [MASK]",
        "{} makes {} that are [MASK] and good",
        "we like {} since their {} are [MASK]",
        "{} is famous for {} that are [MASK]",
        "do not buy {} {} if they are [MASK]",
        "all of the {} {} in this shop are so [MASK] today",
    ]
    return [frame.format(*pair) for frame, pair in itertools.product(frames, itertools.product(brands, products))]


def texts_of(count: int) -> list[str]:
    """Return sentences of about 20 words; some words are cut into several tokens."""
    some = prompts()
    return [
        f"{a} and {b} unquestionably".replace("[MASK]", "comfortable")
        for a, b in zip(some[:count], some[250:], strict=False)
    ]


def base_model() -> tuple[Any, Any]:
    """Return a model of DistilBERT-base's shape with random weights, and a tokenizer of 30,522 tokens."""
    words = {
        word for text in (*prompts(), *itertools.chain(*WORDS.values())) for word in text.replace("[MASK]", "").split()
    }
    letters = "bcdfgklmnprstvz"
    filler = ("".join(parts) for parts in itertools.product(letters, "aeiou", letters, "aeiou", letters))
    texts = [*(" ".join(words) for _ in range(2)), *filler]
    tokenizer: Any = train_wordpiece(texts, VOCABULARY, 512)
    config = DistilBertConfig(vocab_size=VOCABULARY, initializer_range=0.06)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return DistilBertForMaskedLM(config).eval(), tokenizer


def whole_words_of(answers: list[list[dict[str, Any]]], whole: set[str]) -> list[list[tuple[str, float]]]:
    """Return the first ten whole words of each of the pipeline's answers."""
    found = [
        [(one["token_str"], one["score"]) for one in answer if one["token_str"] in whole][:10] for answer in answers
    ]
    assert all(len(words) == 10 for words in found)
    return found


def by_probe(probe: Probe, model: Any, tokenizer: Any, skip_slow_scores: bool) -> list[list[tuple[str, float]]]:
    """Return the same by a probe."""
    rows = probe.run(model, tokenizer, skip_slow_scores=skip_slow_scores).fills.to_pylist()
    top = [(row["word"], row["probability"]) for row in rows if row["rank"] <= 10]
    return [top[i : i + 10] for i in range(0, len(top), 10)]


def by_positions(texts: list[str], model: Any, tokenizer: Any) -> list[float]:
    """Return pseudo-log-likelihoods by one call of the model for each position."""
    sums = []
    for row in tokenize_with_word_ids(texts, tokenizer):
        total = 0.0
        for place in np.flatnonzero(row.words != NO_WORD):
            ids = row.ids.copy()
            ids[(row.words == row.words[place]) & (np.arange(len(ids)) >= place)] = tokenizer.mask_token_id
            with torch.no_grad():
                logits = model(input_ids=torch.from_numpy(ids)[None]).logits[0, place]
            total += float(logits.log_softmax(-1)[row.ids[place]])
        sums.append(total)
    return sums


def timed(work: dict[str, Callable[[], Any]], turns: int) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Let all contestants take turns; return the least seconds of each, and what each found last."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    found = {}
    for _ in range(turns):
        for name, run in work.items():
            cpu, wall = time.process_time(), time.perf_counter()
            found[name] = run()
            spent[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    least = {
        name: {"cpu_seconds": min(cpu for cpu, _ in turn), "wall_seconds": min(wall for _, wall in turn)}
        for name, turn in spent.items()
    }
    return least, found


def compared(least: dict[str, dict[str, float]], loop: str) -> dict[str, Any]:
    """Return the seconds of all, and the ratios of the loop's to each other's."""
    ratios = {
        name: {unit.removesuffix("_seconds"): least[loop][unit] / seconds[unit] for unit in seconds}
        for name, seconds in least.items()
        if name != loop
    }
    return {"seconds": least, "ratio": ratios}


def same_top(ours: list[list[tuple[str, float]]], theirs: list[list[tuple[str, float]]]) -> dict[str, Any]:
    """Return whether all ranked words are the same, and by how much a probability differs at most."""
    pairs = [
        (one, other) for mine, yours in zip(ours, theirs, strict=True) for one, other in zip(mine, yours, strict=True)
    ]
    return {
        "same_top_10": all(one[0] == other[0] for one, other in pairs),
        "largest_relative_difference": max(abs(one[1] / other[1] - 1) for one, other in pairs),
    }


def limit(tokenizer: Any, asked: list[str], loop_seconds: float, width: int = 768, layers: int = 6) -> dict[str, float]:
    """Return the operations of the products of both sides, the most of them a second, and the ratio that this allows.

    A layer has 12 products of width x width a token. The pipeline takes every token through all layers and the
    vocabulary; the probe needs only keys and values of the last layer at tokens that are not to be guessed. What it
    saves at equal tokens of equal positions in the first layer is not counted.
    """
    tokens = sum(len(row) for row in tokenizer(asked)["input_ids"])
    square, head = 2 * width**2, 2 * width * (width + VOCABULARY)
    by_loop = tokens * (12 * layers * square + head)
    by_probe = tokens * (12 * (layers - 1) + 2) * square + len(asked) * (10 * square + head)
    fastest = fastest_product(width)
    return {
        "tokens": tokens,
        "loop_gflop": by_loop / 1e9,
        "probe_gflop": by_probe / 1e9,
        "gflop_per_cpu_second": fastest / 1e9,
        "ratio": loop_seconds * fastest / by_probe,
    }


def fastest_product(width: int, rows: int = 1280, repeats: int = 20) -> float:
    """Return the most operations a CPU second in a product of many rows, by either library, weights laid out for it."""
    states, weight = torch.ones(rows, width), torch.ones(width, width)
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    ways: list[Callable[[], Any]] = [
        lambda: states @ weight,
        lambda: torch.ops.mkldnn._linear_pointwise(states, laid_out, None, "none", [], ""),
    ]
    least = float("inf")
    with torch.inference_mode():
        for compute in ways * repeats:
            begun = time.perf_counter()
            compute()
            least = min(least, time.perf_counter() - begun)
    # Not by the CPU clock: it is too coarse for a product that several threads share.
    return 2 * rows * width**2 / least / torch.get_num_threads()


def main() -> None:
    """Run all and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, help="threads of PyTorch; its own choice if not given")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model, tokenizer = base_model()
    whole = set(list_whole_words(tokenizer)[1])
    asked = prompts()
    probe = Probe(prompts=list(asked), **WORDS)
    fill = pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")
    texts = texts_of(TEXTS)
    found: dict[str, Any] = {
        "prompts": PROMPTS,
        "texts": TEXTS,
        "tokens": sum(len(row.ids) for row in tokenize_with_word_ids(texts, tokenizer)),
    }

    with tempfile.TemporaryDirectory() as cache:

        def switch(linear: Any) -> None:
            numerics.configure_numerics(
                model, torch.device("cpu"), tokens=640, masked_tokens=64, cache=Path(cache), linear=linear
            )

        def chosen(work: Callable[[], Any]) -> Callable[[], Any]:
            def run() -> Any:
                switch("auto")
                try:
                    return work()
                finally:
                    switch("portable")

            return run

        switch("auto")  # times each once, and remembers
        switch("portable")
        least, answers = timed(
            {
                "pipeline_loop": lambda: [fill(prompt, top_k=10) for prompt in asked],
                "portable": lambda: by_probe(probe, model, tokenizer, skip_slow_scores=True),
                "chosen": chosen(lambda: by_probe(probe, model, tokenizer, skip_slow_scores=True)),
                "with_sentiment": lambda: by_probe(probe, model, tokenizer, skip_slow_scores=False),
            },
            arguments.turns,
        )
        # A probe ranks whole words; among the pipeline's first 40 tokens are ten of them.
        ranked = whole_words_of(fill(asked, top_k=40, batch_size=64), whole)
        found["probe"] = compared(least, "pipeline_loop") | {
            name: same_top(answers[name], ranked) for name in ("portable", "chosen")
        }
        found["probe"]["limit"] = limit(tokenizer, asked, least["pipeline_loop"]["cpu_seconds"])
        least, answers = timed(
            {
                "position_loop": lambda: by_positions(texts, model, tokenizer),
                "portable": lambda: pseudo_log_likelihoods(texts, model, tokenizer)[0],
                "chosen": chosen(lambda: pseudo_log_likelihoods(texts, model, tokenizer)[0]),
            },
            arguments.turns,
        )
        found["pseudo"] = compared(least, "position_loop") | {
            name: {"largest_difference": float(np.abs(answers[name] - np.array(answers["position_loop"])).max())}
            for name in ("portable", "chosen")
        }
    found["hardware"] = hardware()
    found["load"] = os.getloadavg()[0]
    told = json.dumps(found, indent=2)
    print(told)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(told + "\n", "utf-8")


if __name__ == "__main__":
    main()
