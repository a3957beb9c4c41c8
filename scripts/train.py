"""Train one model as a Hydra app: `python scripts/train.py filter=nike_positive`.

The script supports Hydra's launchers, sweepers and command-line options. With `-m`, each job is a separate run, and
sweepers minimize the validation loss. For studies that compare filters, use `winnow train` instead.
"""

import sys

import hydra
from omegaconf import DictConfig

from winnow.commands.hydra_app import run_hydra_app, train_once
from winnow.config import builtin_config_folder


@hydra.main(version_base="1.3", config_path=str(builtin_config_folder()), config_name="train")
def train(config: DictConfig) -> float:
    """Train and evaluate one model, and return its validation loss."""
    return train_once(config)


if __name__ == "__main__":
    sys.exit(run_hydra_app(train, sys.argv[1:]))
