"""Benchmark probes and pseudo-log-likelihoods against the loops commonly found in notebooks.

    python benchmarks/evaluation.py --json benchmarks/results/NAME.json

The model has the shape of DistilBERT-base, a vocabulary of 30,522 tokens and random weights. For probes, the baseline
is a loop that calls the fill-mask pipeline of transformers for the ten most likely words of each of 500 prompts. For
pseudo-log-likelihoods, the baseline is a loop over token positions with the forward of transformers. The variants are
timed in turn. A ratio is the CPU time of the loop divided by that of Winnow, each the minimum over several rounds; the
wall time is reported alongside.

`portable` uses PyTorch's linear layers, and `chosen` the backend that Winnow selects for this machine. `with_sentiment`
is a full run of the probe, which includes scores that the loop does not compute. `limit` estimates the best possible
ratio: the matmul operations of both variants, the highest matmul throughput measured on one core, and the ratio of a
probe that only computes its matmuls at that throughput.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DistilBertConfig, DistilBertForMaskedLM, pipeline

from winnow.evaluation import Probe, pseudo_log_likelihoods
from winnow.evaluation.pseudo_likelihood import NO_WORD_ID, tokenize_with_word_ids
from winnow.evaluation.vocabulary_words import list_whole_words
from winnow.tracking.run_environment import describe_hardware
from winnow.training.forward import numerics
from winnow.training.wordpiece import train_wordpiece

VOCABULARY, PROMPTS, TEXTS = 30_522, 500, 12
WORDS = {"wanted": ["comfortable", "durable", "stylish"], "unwanted": ["expensive", "ugly", "heavy"]}


def build_prompts() -> list[str]:
    """Return 500 distinct sentences with a mask, of 6 to 13 tokens."""
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
    templates = [
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
    return [
        template.format(*pair) for template, pair in itertools.product(templates, itertools.product(brands, products))
    ]


def build_texts(count: int) -> list[str]:
    """Return sentences of about 20 words; some words have several tokens."""
    prompts = build_prompts()
    return [
        f"{a} and {b} unquestionably".replace("[MASK]", "comfortable")
        for a, b in zip(prompts[:count], prompts[250:], strict=False)
    ]


def build_model() -> tuple[Any, Any]:
    """Return a model with random weights and the shape of DistilBERT-base, and a tokenizer with 30,522 tokens."""
    words = {
        word
        for text in (*build_prompts(), *itertools.chain(*WORDS.values()))
        for word in text.replace("[MASK]", "").split()
    }
    letters = "bcdfgklmnprstvz"
    filler = ("".join(parts) for parts in itertools.product(letters, "aeiou", letters, "aeiou", letters))
    texts = [*(" ".join(words) for _ in range(2)), *filler]
    tokenizer: Any = train_wordpiece(texts, VOCABULARY, 512)
    config = DistilBertConfig(vocab_size=VOCABULARY, initializer_range=0.06)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return DistilBertForMaskedLM(config).eval(), tokenizer


def select_whole_words(predictions: list[list[dict[str, Any]]], whole_words: set[str]) -> list[list[tuple[str, float]]]:
    """Return the first ten whole words of each prediction of the pipeline."""
    rankings = [
        [(token["token_str"], token["score"]) for token in tokens if token["token_str"] in whole_words][:10]
        for tokens in predictions
    ]
    assert all(len(ranking) == 10 for ranking in rankings)
    return rankings


def rank_by_probe(probe: Probe, model: Any, tokenizer: Any, skip_slow_scores: bool) -> list[list[tuple[str, float]]]:
    """Return the first ten whole words of each prompt, predicted by a probe."""
    rows = probe.run(model, tokenizer, skip_slow_scores=skip_slow_scores).fills.to_pylist()
    top = [(row["word"], row["probability"]) for row in rows if row["rank"] <= 10]
    return [top[i : i + 10] for i in range(0, len(top), 10)]


def score_by_positions(texts: list[str], model: Any, tokenizer: Any) -> list[float]:
    """Return pseudo-log-likelihoods, with one forward pass per position."""
    sums = []
    for row in tokenize_with_word_ids(texts, tokenizer):
        total = 0.0
        for position in np.flatnonzero(row.word_ids != NO_WORD_ID):
            ids = row.ids.copy()
            ids[(row.word_ids == row.word_ids[position]) & (np.arange(len(ids)) >= position)] = tokenizer.mask_token_id
            with torch.no_grad():
                logits = model(input_ids=torch.from_numpy(ids)[None]).logits[0, position]
            total += float(logits.log_softmax(-1)[row.ids[position]])
        sums.append(total)
    return sums


def time_variants(
    variants: dict[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Run all variants in turn; return the minimum time of each, and its last result."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    results = {}
    for _ in range(rounds):
        for name, run in variants.items():
            cpu, wall = time.process_time(), time.perf_counter()
            results[name] = run()
            times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    minimum = {
        name: {"cpu_seconds": min(cpu for cpu, _ in pairs), "wall_seconds": min(wall for _, wall in pairs)}
        for name, pairs in times.items()
    }
    return minimum, results


def compare_times(seconds: dict[str, dict[str, float]], loop: str) -> dict[str, Any]:
    """Return the times of all variants, and the ratio of the loop's time to that of each other variant."""
    ratios = {
        name: {unit.removesuffix("_seconds"): seconds[loop][unit] / times[unit] for unit in times}
        for name, times in seconds.items()
        if name != loop
    }
    return {"seconds": seconds, "ratio": ratios}


def compare_rankings(ours: list[list[tuple[str, float]]], theirs: list[list[tuple[str, float]]]) -> dict[str, Any]:
    """Return whether all ranked words are equal, and the largest relative difference between probabilities."""
    pairs = [
        (our_word, their_word)
        for our_ranking, their_ranking in zip(ours, theirs, strict=True)
        for our_word, their_word in zip(our_ranking, their_ranking, strict=True)
    ]
    return {
        "same_top_10": all(our_word[0] == their_word[0] for our_word, their_word in pairs),
        "largest_relative_difference": max(abs(our_word[1] / their_word[1] - 1) for our_word, their_word in pairs),
    }


def estimate_limit(
    tokenizer: Any, prompts: list[str], loop_seconds: float, width: int = 768, layers: int = 6
) -> dict[str, float]:
    """Return the matmul operations of both variants, the highest measured throughput, and the ratio that these allow.

    A layer needs 12 matmuls of width x width per token. The pipeline computes all layers and the vocabulary logits for
    every token. The probe computes only the keys and values of the last layer at unmasked tokens. Its savings for equal
    tokens at equal positions in the first layer are not counted.
    """
    tokens = sum(len(row) for row in tokenizer(prompts)["input_ids"])
    square, head = 2 * width**2, 2 * width * (width + VOCABULARY)
    loop_operations = tokens * (12 * layers * square + head)
    probe_operations = tokens * (12 * (layers - 1) + 2) * square + len(prompts) * (10 * square + head)
    throughput = measure_matmul_throughput(width)
    return {
        "tokens": tokens,
        "loop_gflop": loop_operations / 1e9,
        "probe_gflop": probe_operations / 1e9,
        "gflop_per_cpu_second": throughput / 1e9,
        "ratio": loop_seconds * throughput / probe_operations,
    }


def measure_matmul_throughput(width: int, rows: int = 1280, repeats: int = 20) -> float:
    """Return the highest number of operations per second and thread of a matmul, with PyTorch and with oneDNN."""
    states, weight = torch.ones(rows, width), torch.ones(width, width)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    variants: list[Callable[[], Any]] = [
        lambda: states @ weight,
        lambda: torch.ops.mkldnn._linear_pointwise(states, packed, None, "none", [], ""),
    ]
    shortest = float("inf")
    with torch.inference_mode():
        for compute in variants * repeats:
            start = time.perf_counter()
            compute()
            shortest = min(shortest, time.perf_counter() - start)
    # The CPU clock is too coarse for a matmul that runs on several threads.
    return 2 * rows * width**2 / shortest / torch.get_num_threads()


def main() -> None:
    """Run the benchmark and print the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="the file to write the results to")
    parser.add_argument("--rounds", type=int, default=3, help="number of timed rounds per variant")
    parser.add_argument("--threads", type=int, help="number of PyTorch threads; its default if not set")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model, tokenizer = build_model()
    whole_words = set(list_whole_words(tokenizer)[1])
    prompts = build_prompts()
    probe = Probe(prompts=list(prompts), **WORDS)
    fill = pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")
    texts = build_texts(TEXTS)
    report: dict[str, Any] = {
        "prompts": PROMPTS,
        "texts": TEXTS,
        "tokens": sum(len(row.ids) for row in tokenize_with_word_ids(texts, tokenizer)),
    }

    def set_backend(linear: Any) -> None:
        numerics.configure_numerics(
            model, torch.device("cpu"), tokens=640, masked_tokens=64, linear=linear, threads=torch.get_num_threads()
        )

    def with_selected_backend(run: Callable[[], Any]) -> Callable[[], Any]:
        def wrapped() -> Any:
            set_backend("auto")
            try:
                return run()
            finally:
                set_backend("portable")

        return wrapped

    set_backend("auto")  # benchmarks the backends once and caches the result
    set_backend("portable")
    seconds, results = time_variants(
        {
            "pipeline_loop": lambda: [fill(prompt, top_k=10) for prompt in prompts],
            "portable": lambda: rank_by_probe(probe, model, tokenizer, skip_slow_scores=True),
            "chosen": with_selected_backend(lambda: rank_by_probe(probe, model, tokenizer, skip_slow_scores=True)),
            "with_sentiment": lambda: rank_by_probe(probe, model, tokenizer, skip_slow_scores=False),
        },
        arguments.rounds,
    )
    # A probe ranks whole words only; the first 40 tokens of the pipeline contain at least ten of them.
    ranked = select_whole_words(fill(prompts, top_k=40, batch_size=64), whole_words)
    report["probe"] = compare_times(seconds, "pipeline_loop") | {
        name: compare_rankings(results[name], ranked) for name in ("portable", "chosen")
    }
    report["probe"]["limit"] = estimate_limit(tokenizer, prompts, seconds["pipeline_loop"]["cpu_seconds"])
    seconds, results = time_variants(
        {
            "position_loop": lambda: score_by_positions(texts, model, tokenizer),
            "portable": lambda: pseudo_log_likelihoods(texts, model, tokenizer)[0],
            "chosen": with_selected_backend(lambda: pseudo_log_likelihoods(texts, model, tokenizer)[0]),
        },
        arguments.rounds,
    )
    report["pseudo"] = compare_times(seconds, "position_loop") | {
        name: {"largest_difference": float(np.abs(results[name] - np.array(results["position_loop"])).max())}
        for name in ("portable", "chosen")
    }
    report["hardware"] = describe_hardware()
    report["load"] = os.getloadavg()[0]
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
