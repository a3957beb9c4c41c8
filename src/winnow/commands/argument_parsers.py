"""Build the argument parsers of all commands. Only a command's `--help` imports heavy packages, to list its keys."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from winnow import __version__
from winnow.commands.completion import SHELLS, add_completers

EXAMPLES = """\
examples:
  winnow train debug=fast_dev_run              a few steps through every stage
  winnow train experiment=demo                 the demo study, from data to report
  winnow train -m filter=full,nike_positive seed=1,2,3
  winnow filter dataset=nike                   the rows that a filter keeps and drops
  winnow runs demo                             the runs of a study, with their ids
  winnow evaluate demo/full/1 distilbert-base-uncased   models on the same rows and prompts
  winnow init reviews.csv                      config files for a study on your own data
  winnow fill "Nike shoes are very [MASK]" demo/full/1 ./model   ranked fills, models side by side
  winnow compare study=demo                    write the verdict, the figures and the report again
  winnow plan study=pilot difference=0.2       seeds, templates and hours that a study needs
  winnow ui                                    MLflow's web UI with all runs
  winnow promote demo/full/1 --alias v2        register a run's model in MLflow
  winnow train --choices                       list the options of each config group
"""


@dataclass(frozen=True)
class CommandHelp:
    """The help text of a command, without the list of configuration keys.

    Attributes:
        summary: A short description of the command, starting with a verb.
        examples: Example command lines, without the leading `winnow`.
        metavar: The placeholder for the positional arguments in the usage line.
        metavar_help: The description of the positional arguments.
    """

    summary: str
    examples: tuple[str, ...]
    metavar: str = "KEY=VALUE"
    metavar_help: str = "values of the keys below, as Hydra overrides"


MODEL_ARGUMENT_HELP = (
    "MODEL|KEY=VALUE",
    "runs (an id, the first characters of an id, or STUDY/ARM/SEED), checkpoints, folders or Hub names, and values of "
    "the keys below",
)
RUN_ARGUMENT_HELP = "the run: its id, the first characters of its id, STUDY/ARM/SEED, or its folder"

COMMANDS: dict[str, CommandHelp] = {
    "train": CommandHelp(
        "train one cell, or a study with -m",
        (
            "train filter=nike_positive seed=2",
            "train -m 'filter=glob(*_positive)' seed=1,2,3 study.compare=false",
            "train experiment=demo training.max_steps=50 --cfg job",
            "train --info searchpath",
        ),
    ),
    "filter": CommandHelp(
        "apply a filter to every row of a dataset",
        ("filter filter=nike_positive", "filter dataset=csv dataset.source.path=a.csv dataset.source.text=[review]"),
    ),
    "init": CommandHelp(
        "inspect a data file and write a conf/ folder for a study on it",
        (
            "init reviews.csv",
            "init reviews.csv --wanted soft,light --unwanted tight --subject dress --comparison top,sweater",
        ),
    ),
    "evaluate": CommandHelp(
        "score models side by side on the same rows and prompts",
        ("evaluate 0a1b2c distilbert-base-uncased", "evaluate ./model dataset=nike probe=[nike] name=mine"),
        *MODEL_ARGUMENT_HELP,
    ),
    "fill": CommandHelp(
        "print the words that models predict for the masks of a sentence",
        (
            "fill 'Nike shoes are very [MASK]' 0a1b2c ./model",
            "fill 'It is [MASK].' ./model --tokens all --json",
        ),
        *MODEL_ARGUMENT_HELP,
    ),
    "compare": CommandHelp(
        "compare the arms of one or several studies, or of files with scores",
        (
            "compare demo",
            "compare study=[demo,more_seeds] metrics=[test/all/loss]",
        ),
        "STUDY|FILE|KEY=VALUE",
        "the study, and values of the keys below; or a CSV file with the columns arm, seed, item, score and optionally "
        "cluster and weight; or sample files of lm-evaluation-harness (samples_*.jsonl)",
    ),
    "plan": CommandHelp(
        "plan seeds, templates and training time from a pilot",
        ("plan study=pilot difference=0.2", "plan study=pilot looks=[5,10,20] parallel_cells=2"),
    ),
    "search": CommandHelp(
        "search settings on validation data, and confirm the best ones on test data",
        ("search space=nike_strength", "search space=nike_strength trials=30 sampler=random training.max_steps=200"),
        metavar_help="values of the keys below or of the keys of train, as Hydra overrides",
    ),
    "rerun": CommandHelp(
        "repeat a tracked run and check that each metric is identical",
        ("rerun 0a1b2c", "rerun 0a1b2c output_dir=elsewhere"),
        "RUN|KEY=VALUE",
        f"{RUN_ARGUMENT_HELP}; and values of the keys below",
    ),
    "runs": CommandHelp(
        "list the studies, or the runs of a study with their ids",
        ("runs", "runs demo"),
        "STUDY|KEY=VALUE",
        "the study (default: list the studies), and values of the keys below",
    ),
    "export": CommandHelp(
        "export a study as a folder for a paper's appendix",
        ("export demo", "export demo folder=appendix"),
        "STUDY|KEY=VALUE",
        "the study, and values of the keys below",
    ),
    "ui": CommandHelp("start MLflow's web UI", ("ui", "ui port=5001 output_dir=elsewhere")),
    "doctor": CommandHelp(
        "check the installation, the store, the disk and the network", ("doctor", "doctor tracking=server")
    ),
    "completion": CommandHelp(
        "print a script that enables completion in a shell", ("completion bash", "completion zsh", "completion fish")
    ),
    "sync": CommandHelp(
        "upload the runs that were logged while the tracking server was unavailable", ("sync", "sync tracking=server")
    ),
    "promote": CommandHelp(
        "register a run's model in MLflow", ("promote 0a1b2c", "promote 0a1b2c --alias v2 --name fill-mask")
    ),
    "push": CommandHelp(
        "upload the models of one or several arms to the Hub, with model cards",
        ("push 0a1b2c me/durable-bert --public", "push demo/full/1 demo/nike_positive/1 me/durable-bert"),
        "RUN... OWNER/NAME|KEY=VALUE",
        f"{RUN_ARGUMENT_HELP}; the repository on the Hub; and values of the keys below. Several runs must be arms of "
        "one study with the same seed. Each is uploaded to OWNER/NAME-ARM, and the model cards link to each other",
    ),
}


class CommandParser(argparse.ArgumentParser):
    """An argument parser for one command that also lists the command's configuration keys in `--help`."""

    def format_help(self) -> str:
        """Return the help text of argparse, followed by the command's configuration keys and examples."""
        from winnow.commands.config_key_help import format_keys

        name = self.prog.split()[-1]
        examples = "".join(f"  winnow {line}\n" for line in COMMANDS[name].examples)
        return f"{super().format_help()}\n{format_keys(name)}\nexamples:\n{examples}"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser for the `winnow` command line, with a subparser for each command."""
    main_parser = argparse.ArgumentParser(
        "winnow",
        description="Filter the training data of a masked language model, and measure the effect of the filter.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main_parser.add_argument("--version", action="version", version=f"winnow {__version__}")
    commands: Any = main_parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=CommandParser
    )
    for name, command_help in COMMANDS.items():
        command = commands.add_parser(
            name, help=command_help.summary, description=f"{command_help.summary.capitalize()}."
        )
        if name == "init":
            _add_init_options(command)
            continue
        if name == "completion":
            command.add_argument("shell", choices=SHELLS, help="the shell")
            command.set_defaults(**_NO_CONFIG)
            continue
        if name == "fill":
            command.add_argument("text", nargs="?", default="", help="a sentence that contains [MASK] or <mask>")
            command.add_argument("--json", action="store_true", help="print JSON")
            command.add_argument(
                "--logits", action="store_true", help="with --json, add the logits of all tokens at each mask"
            )
            command.add_argument(
                "--tokens",
                choices=("words", "all"),
                help="rank whole words (the default) or all tokens, including word pieces and punctuation",
            )
        if name == "compare":
            _add_score_options(command)
        if name == "rerun":
            command.add_argument("--all", action="store_true", help="print all metrics, not only those that differ")
        if name == "promote":
            command.add_argument("run", metavar="RUN", help=RUN_ARGUMENT_HELP)
            command.add_argument("--alias", help="an alias for the new version, such as v2")
            command.add_argument("--name", help="the name of the registered model (default: the study's name)")
        if name == "push":
            command.add_argument("--public", action="store_true", help="make a new repository public")
        command.add_argument("overrides", nargs="*", metavar=command_help.metavar, help=command_help.metavar_help)
        if name == "train":
            command.add_argument(
                "-m", "--multirun", action="store_true", help="sweep over values that are separated by commas"
            )
        _add_config_options(command)
        add_completers(command, name)
    return main_parser


_NO_CONFIG: dict[str, Any] = {
    "overrides": [], "config_dir": [], "cfg": None, "info": None, "resolve": False, "choices": False
}  # fmt: skip
"""The values of the configuration options for commands without a configuration."""


def _add_init_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", help="a CSV, TSV, JSON, JSON Lines or Parquet file")
    for option, metavar, description in (
        ("text", "COLUMNS", "the text columns, separated by commas (default: columns with sentences)"),
        ("wanted", "WORDS", "words that the model should prefer"),
        ("unwanted", "WORDS", "words that the model should avoid"),
        ("subject", "WORDS", "what the texts are about, such as dress (optional)"),
        ("comparison", "WORDS", "other subjects, to measure whether an effect is specific to the subject"),
        ("label", "COLUMN", "the label of each row; each frequent word is evaluated separately"),
        ("group", "COLUMN", "a value, such as a product, whose rows must stay in one split"),
        (
            "keep",
            "EXPRESSION",
            "the rows to keep, over the signals subject, wanted and unwanted (default: 'subject & wanted & ~unwanted')",
        ),
        ("name", "NAME", "the name of the dataset and the study (default: the name of the file)"),
    ):
        command.add_argument(f"--{option}", metavar=metavar, help=description)
    command.add_argument("--conf", default="conf", metavar="DIR", help="the folder to write to (default: conf)")
    command.add_argument("--force", action="store_true", help="overwrite existing files")
    command.set_defaults(**_NO_CONFIG)


def _add_score_options(command: argparse.ArgumentParser) -> None:
    """Add the options for files of scores to the parser of `compare`."""
    command.add_argument("--baseline", metavar="ARM", help="the baseline in files of scores (default: full)")
    command.add_argument("--json", action="store_true", help="print the comparison of files of scores as JSON")
    for option, metavar, description in (
        (
            "runs",
            "PATTERN",
            "in sample files: the part of the path with {arm} and {seed} (default: ARM/SEED or similar)",
        ),
        ("metric", "METRIC", "in sample files: the metric, such as acc (default: the only one)"),
        ("filter", "FILTER", "in sample files: the filter of the harness (default: the only one)"),
        ("cluster", "KEY", "in sample files: a key of doc whose value is the cluster of a document"),
    ):
        command.add_argument(f"--{option}", metavar=metavar, help=description)


def _add_config_options(command: argparse.ArgumentParser) -> None:
    """Add the options `--config-dir`, `--cfg`, `--resolve`, `--info` and `--choices`."""
    command.add_argument(
        "-cd", "--config-dir", action="append", default=[], metavar="DIR", help="also search DIR for config files"
    )
    command.add_argument(
        "-c",
        "--cfg",
        choices=["job"],
        metavar="job",
        help="print the composed configuration and exit; the value is optional",
    )
    command.add_argument(
        "--resolve",
        action="store_true",
        help="accepted with --cfg for compatibility with Hydra; interpolations are always resolved",
    )
    command.add_argument(
        "-i",
        "--info",
        choices=["all", "searchpath", "defaults"],
        metavar="all|searchpath|defaults",
        help="print where the configuration comes from and exit; the value is optional",
    )
    command.add_argument("--choices", action="store_true", help="print the options of each config group and exit")


OPTION_VALUES = {
    "--cfg": ("job", "hydra", "all"),
    "-c": ("job", "hydra", "all"),
    "--info": ("all", "searchpath", "defaults", "config", "defaults-tree", "plugins"),
    "-i": ("all", "searchpath", "defaults", "config", "defaults-tree", "plugins"),
}
"""The values that Hydra accepts after each option whose value is optional; the first value is the default."""


def add_default_values(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with explicit values for `--cfg` and `--info`.

    Without a value, argparse would use the next override as the value of the option.

    >>> add_default_values(["--cfg", "seed=2"]), add_default_values(["--info", "defaults"])
    (['--cfg=job', 'seed=2'], ['--info=defaults'])
    """
    remaining_arguments, completed_arguments = list(arguments), []
    while remaining_arguments:
        text = remaining_arguments.pop(0)
        if values := OPTION_VALUES.get(text):
            value = (
                remaining_arguments.pop(0) if remaining_arguments and remaining_arguments[0] in values else values[0]
            )
            text = f"{'--cfg' if 'job' in values else '--info'}={value}"
        completed_arguments.append(text)
    return completed_arguments
