"""What each command takes on the command line. Nothing heavy is imported here."""

from __future__ import annotations

import argparse

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


def parser() -> argparse.ArgumentParser:
    """Return the parser of `winnow`: a command, its own options, and Hydra overrides."""
    whole = argparse.ArgumentParser(
        "winnow",
        description="Filter the training data of a masked language model, and learn for certain what that did.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"winnow {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    helps = {
        "train": "train one cell, or with -m a study",
        "filter": "judge every row by a filter",
        "evaluate": "score models side by side on the same rows and prompts",
        "fill": "print what models put at the masks of a sentence",
        "compare": "compare the arms of a study, or of several",
        "rerun": "make a tracked run again and say whether each number is equal",
        "export": "write a study as a folder for a paper's appendix",
        "ui": "open MLflow's pages",
        "sync": "send what a tracking server did not take",
        "promote": "register a run's model in MLflow's registry",
        "push": "send a run's model to the Hub, with a model card",
    }
    for name, told in helps.items():
        command = commands.add_parser(name, help=told)
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
        with_models = name in ("evaluate", "fill")
        command.add_argument(
            "overrides",
            nargs="*",
            metavar="MODEL|KEY=VALUE" if with_models else "KEY=VALUE",
            help="run ids, checkpoints, folders or Hub names, and Hydra overrides"
            if with_models
            else "Hydra overrides, as filter=nike_positive",
        )
        if name == "train":
            command.add_argument("-m", "--multirun", action="store_true", help="commas in a value make a sweep")
        command.add_argument("--cfg", action="store_true", help="print the composed configuration and stop")
        command.add_argument("--choices", action="store_true", help="print what each group offers and stop")
    return whole
