"""Time probes and pseudo-log-likelihood beside the loops that notebooks run, on this machine.

    python benchmarks/evaluation.py --json benchmarks/results/NAME.json

The model has DistilBERT-base's shape, a vocabulary of 30,522 and random weights. 500 prompts are asked by a loop of
calls of the library's fill-mask pipeline, and by a probe; texts are scored by a loop over their positions with the
library's forward, and by `pseudo_log_likelihoods`. Both sides take turns; a ratio is the loop's CPU seconds by
Winnow's, the least of several turns each, with the wall seconds beside it. `portable` is PyTorch's own linear layers,
`chosen` what Winnow picks for this machine; `with_sentiment` is a whole run of the probe, which no loop does.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DistilBertConfig, DistilBertForMaskedLM, pipeline

from winnow.evaluation import Probe, pseudo_log_likelihoods
from winnow.evaluation.pseudo import NO_WORD, worded
from winnow.evaluation.words import whole_words
from winnow.tracking.environment import hardware
from winnow.training import arithmetic
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


def by_pipeline(fill: Any, asked: list[str], whole: set[str]) -> list[list[tuple[str, float]]]:
    """Return the first ten whole words of each prompt, by a loop of pipeline calls."""
    found = []
    for prompt in asked:
        ranked = [(one["token_str"], one["score"]) for one in fill(prompt)]
        found.append([(word, share) for word, share in ranked if word in whole][:10])
    return found


def by_probe(probe: Probe, model: Any, tokenizer: Any, brief: bool) -> list[list[tuple[str, float]]]:
    """Return the same by a probe."""
    rows = probe.run(model, tokenizer, brief=brief).fills.to_pylist()
    top = [(row["word"], row["probability"]) for row in rows if row["rank"] <= 10]
    return [top[i : i + 10] for i in range(0, len(top), 10)]


def by_positions(texts: list[str], model: Any, tokenizer: Any) -> list[float]:
    """Return pseudo-log-likelihoods by one call of the model for each position."""
    sums = []
    for row in worded(texts, tokenizer):
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


def main() -> None:
    """Run all and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    model, tokenizer = base_model()
    whole = set(whole_words(tokenizer)[1])
    asked = prompts()
    probe = Probe(prompts=list(asked), **WORDS)
    fill = pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=40, device="cpu")
    texts = texts_of(TEXTS)
    found: dict[str, Any] = {
        "prompts": PROMPTS,
        "texts": TEXTS,
        "tokens": sum(len(row.ids) for row in worded(texts, tokenizer)),
    }

    with tempfile.TemporaryDirectory() as cache:

        def switch(linear: Any) -> None:
            arithmetic.set_up(model, torch.device("cpu"), tokens=640, guessed=64, cache=Path(cache), linear=linear)

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
                "pipeline_loop": lambda: by_pipeline(fill, asked, whole),
                "portable": lambda: by_probe(probe, model, tokenizer, brief=True),
                "chosen": chosen(lambda: by_probe(probe, model, tokenizer, brief=True)),
                "with_sentiment": lambda: by_probe(probe, model, tokenizer, brief=False),
            },
            arguments.turns,
        )
        found["probe"] = compared(least, "pipeline_loop") | {
            name: same_top(answers[name], answers["pipeline_loop"]) for name in ("portable", "chosen")
        }
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
    told = json.dumps(found, indent=2)
    print(told)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(told + "\n", "utf-8")


if __name__ == "__main__":
    main()
