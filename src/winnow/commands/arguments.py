"""The command line of each command. Nothing heavy is imported before the keys of a `--help` are needed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from winnow import __version__

EXAMPLES = """\
examples:
  winnow train debug=fast_dev_run              a few steps through every stage
  winnow train experiment=demo                 the demo study, from data to report
  winnow train -m filter=full,nike_positive seed=1,2,3
  winnow filter dataset=nike                   what a filter keeps and drops
  winnow evaluate RUN_ID distilbert-base-uncased   models on the same rows and prompts
  winnow fill "Nike shoes are very [MASK]" RUN_ID ./model   ranked fills, model beside model
  winnow compare study=demo                    verdict, figures and report again
  winnow ui                                    MLflow's pages over all runs
  winnow promote RUN_ID --alias v2             a run's model in MLflow's registry
  winnow train --choices                       what each group offers
"""


@dataclass(frozen=True)
class Command:
    """What the help of a command says besides its keys.

    Attributes:
        summary: What the command does.
        examples: Command lines, without the leading `winnow`.
        takes: What its positional arguments may be.
        takes_help: The same in words.
    """

    summary: str
    examples: tuple[str, ...]
    takes: str = "KEY=VALUE"
    takes_help: str = "new values of the keys below, as Hydra overrides"


MODELS = ("MODEL|KEY=VALUE", "run ids, checkpoints, folders or Hub names, and new values of the keys below")

COMMANDS: dict[str, Command] = {
    "train": Command(
        "train one cell, or with -m a study",
        (
            "train filter=nike_positive seed=2",
            "train -m 'filter=glob(*_positive)' seed=1,2,3 study.compare=false",
            "train experiment=demo training.max_steps=50 --cfg job",
            "train --info searchpath",
        ),
    ),
    "filter": Command(
        "judge every row by a filter",
        ("filter filter=nike_positive", "filter dataset=csv dataset.source.path=a.csv dataset.source.text=[review]"),
    ),
    "evaluate": Command(
        "score models side by side on the same rows and prompts",
        ("evaluate 0a1b2c distilbert-base-uncased", "evaluate ./model dataset=nike probe=[nike] name=mine"),
        *MODELS,
    ),
    "fill": Command(
        "print what models put at the masks of a sentence",
        ("fill 'Nike shoes are very [MASK]' 0a1b2c ./model", "fill 'It is [MASK].' ./model top_k=3 --json"),
        *MODELS,
    ),
    "compare": Command(
        "compare the arms of a study, or of several",
        ("compare study=demo", "compare study=[demo,more_seeds] metrics=[test/all/loss]"),
    ),
    "rerun": Command(
        "make a tracked run again and say whether each number is equal",
        ("rerun 0a1b2c", "rerun 0a1b2c output_dir=elsewhere"),
        "RUN_ID|KEY=VALUE",
        "the run, and new values of the keys below",
    ),
    "export": Command(
        "write a study as a folder for a paper's appendix",
        ("export demo", "export demo folder=appendix"),
        "STUDY|KEY=VALUE",
        "the study, and new values of the keys below",
    ),
    "ui": Command("open MLflow's pages", ("ui", "ui port=5001 output_dir=elsewhere")),
    "sync": Command("send what a tracking server did not take", ("sync", "sync tracking=server")),
    "promote": Command(
        "register a run's model in MLflow's registry", ("promote 0a1b2c", "promote 0a1b2c --alias v2 --name fill-mask")
    ),
    "push": Command(
        "send a run's model to the Hub, with a model card",
        ("push 0a1b2c me/durable-bert", "push 0a1b2c me/durable-bert --public"),
    ),
}


class CommandParser(argparse.ArgumentParser):
    """The parser of one command, whose help lists the keys of its configuration."""

    def format_help(self) -> str:
        """Return argparse's help, then the command's keys and examples."""
        from winnow.commands.key_help import describe_keys

        name = self.prog.split()[-1]
        examples = "".join(f"  winnow {line}\n" for line in COMMANDS[name].examples)
        return f"{super().format_help()}\n{describe_keys(name)}\nexamples:\n{examples}"


def parser() -> argparse.ArgumentParser:
    """Return the parser of `winnow`: a command, its own options, and Hydra overrides."""
    whole = argparse.ArgumentParser(
        "winnow",
        description="Filter the training data of a masked language model, and learn for certain what that did.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"winnow {__version__}")
    commands: Any = whole.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    for name, told in COMMANDS.items():
        command = commands.add_parser(name, help=told.summary, description=f"{told.summary.capitalize()}.")
        if name == "fill":
            command.add_argument("text", nargs="?", default="", help="a sentence with [MASK] or <mask> in it")
            command.add_argument("--json", action="store_true", help="print JSON")
        if name in ("promote", "push"):
            command.add_argument("run", metavar="RUN_ID", help="the run, as its page shows it")
        if name == "promote":
            command.add_argument("--alias", help="what the version is called by, as v2")
            command.add_argument("--name", help="the registered model; left out, the study")
        if name == "push":
            command.add_argument("name", metavar="OWNER/NAME", help="where to on the Hub")
            command.add_argument("--public", action="store_true", help="a new repository is seen by everybody")
        command.add_argument("overrides", nargs="*", metavar=told.takes, help=told.takes_help)
        if name == "train":
            command.add_argument("-m", "--multirun", action="store_true", help="commas in a value make a sweep")
        _add_printing(command)
    return whole


def _add_printing(command: argparse.ArgumentParser) -> None:
    """Add the options of Hydra's command line that only print, and the one that adds a config folder."""
    command.add_argument(
        "-cd", "--config-dir", action="append", default=[], metavar="DIR", help="search DIR for config files too"
    )
    command.add_argument(
        "-c",
        "--cfg",
        choices=["job"],
        metavar="job",
        help="print the composed configuration and stop; job may be left out",
    )
    command.add_argument("--resolve", action="store_true", help="with --cfg; interpolations are always resolved")
    command.add_argument(
        "-i",
        "--info",
        choices=["all", "searchpath", "defaults"],
        metavar="all|searchpath|defaults",
        help="print where the configuration comes from and stop; all may be left out",
    )
    command.add_argument("--choices", action="store_true", help="print what each group offers and stop")


OPTIONAL_VALUES = {
    "--cfg": ("job", "hydra", "all"),
    "-c": ("job", "hydra", "all"),
    "--info": ("all", "searchpath", "defaults", "config", "defaults-tree", "plugins"),
    "-i": ("all", "searchpath", "defaults", "config", "defaults-tree", "plugins"),
}
"""Options whose value may be left out, and what Hydra takes as one; anything else is the next argument."""


def with_values(arguments: Sequence[str]) -> list[str]:
    """Write the value of `--cfg` and `--info` out, so that neither takes the override after it for one.

    >>> with_values(["--cfg", "seed=2"]), with_values(["--info", "defaults"])
    (['--cfg=job', 'seed=2'], ['--info=defaults'])
    """
    rest, full = list(arguments), []
    while rest:
        text = rest.pop(0)
        if values := OPTIONAL_VALUES.get(text):
            value = rest.pop(0) if rest and rest[0] in values else values[0]
            text = f"{'--cfg' if 'job' in values else '--info'}={value}"
        full.append(text)
    return full
