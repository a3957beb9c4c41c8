"""Skeletons describe classes of torch and Lightning exactly as an import would, without the import."""

import importlib
import inspect
import subprocess
import sys

import pytest

from winnow.config.class_skeletons import NotStaticError, build_skeleton, is_skeleton, list_class_names
from winnow.config.target_defaults import _float_arguments
from winnow.config.targets import allowed_packages, describe_target, import_target, signature_parameters
from winnow.errors import WinnowError

CLASSES = [
    *(f"torch.optim.{name}" for name in list_class_names("torch.optim")),
    *(f"pytorch_lightning.profilers.{name}" for name in list_class_names("pytorch_lightning.profilers")),
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks.LearningRateMonitor",
    "winnow.training.muon.MuonWithAdamW",
]


def _import(path: str) -> type:
    module, _, name = path.rpartition(".")
    loaded: type = getattr(importlib.import_module(module), name)
    return loaded


@pytest.mark.parametrize("path", CLASSES)
def test_a_skeleton_has_the_signature_and_the_bases_of_its_class(path: str) -> None:
    skeleton, original = build_skeleton(path), _import(path)
    assert skeleton is not None
    assert is_skeleton(skeleton)
    assert not is_skeleton(original)
    expected = [
        (parameter.name, parameter.kind, repr(parameter.default)) for parameter in signature_parameters(original)
    ]
    assert [(p.name, p.kind, repr(p.default)) for p in signature_parameters(skeleton)] == expected
    assert inspect.isabstract(skeleton) == inspect.isabstract(original)
    ignored = {"ABC", "Generic", "object"}
    names = [cls.__name__ for cls in original.__mro__ if cls.__name__ not in ignored]
    assert [cls.__name__ for cls in skeleton.__mro__ if cls.__name__ not in ignored] == names


@pytest.mark.parametrize("path", CLASSES)
def test_a_skeleton_converts_the_same_arguments_to_floats(path: str) -> None:
    skeleton = build_skeleton(path)
    assert skeleton is not None
    assert _float_arguments(skeleton) == _float_arguments(_import(path))


def test_a_subclass_check_works_on_skeletons() -> None:
    optimizer, trainer = build_skeleton("torch.optim.Optimizer"), build_skeleton("pytorch_lightning.Trainer")
    adam = build_skeleton("torch.optim.AdamW")
    assert adam is not None
    assert optimizer is not None
    assert trainer is not None
    assert issubclass(adam, optimizer)
    assert not issubclass(trainer, optimizer)


def test_all_optimizers_of_torch_are_listed() -> None:
    module = importlib.import_module("torch.optim")
    assert list_class_names("torch.optim") == sorted(
        name for name in dir(module) if inspect.isclass(getattr(module, name)) and not name.startswith("_")
    )


@pytest.mark.parametrize(
    "path", ["torch.optim.Adamw", "torch.optim.lr_scheduler", "pytorch_lightning.Trainr", "torch.optim.lion.Lion"]
)
def test_a_wrong_path_gives_the_error_of_an_import(path: str) -> None:
    described, located = list[WinnowError](), list[WinnowError]()
    assert describe_target(path, "key", allowed_packages(), described) is None
    assert import_target(path, "key", allowed_packages(), located) is None
    assert [str(error) for error in described] == [str(error) for error in located]


def test_a_class_with_computed_defaults_requires_an_import() -> None:
    with pytest.raises(NotStaticError):
        build_skeleton("pytorch_lightning.callbacks.StochasticWeightAveraging")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "experiment=demo", "--cfg", "job"],
        ["train", "optimizer._target_=torch.optim.lion.Lion"],
        ["train", "--choices"],
        ["train", "optimizer._target_=torch.optim.Adamm"],
        ["train", "trainer.max_stepz=3", "optimizer.lrr=1"],
        ["fill", "--cfg", "job", "A [MASK].", "models=[x]"],
    ],
)
def test_composing_and_configuration_errors_import_no_large_package(arguments: list[str]) -> None:
    code = f"""
import sys
from winnow.cli import main
main({arguments!r})
large = {{"torch", "pytorch_lightning", "transformers", "mlflow", "pandas", "scipy"}}
sys.exit(", ".join(large & set(sys.modules)) or None)
"""
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
