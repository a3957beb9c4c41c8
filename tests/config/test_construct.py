import functools

import pytest

from winnow.config import construct
from winnow.errors import WinnowErrors
from winnow.tracking import Store


def faults(node: dict, key: str = "tracking", **kwargs: object) -> dict[str, str]:
    with pytest.raises(WinnowErrors) as caught:
        construct(node, key, **kwargs)
    return {error.key: error.message for error in caught.value.errors}


def test_a_node_becomes_the_object_it_names() -> None:
    node = {"_target_": "winnow.tracking.Store", "uri": "sqlite:///x.db", "artifacts": "y"}
    assert construct(node, "tracking", Store) == Store(uri="sqlite:///x.db", artifacts="y")


def test_a_partial_keeps_its_arguments_for_later() -> None:
    made = construct({"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.1}, "optimizer")
    assert isinstance(made, functools.partial)
    assert made.keywords == {"lr": 0.1}


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.eval", "subprocess.Popen", "winnow.tracking.store.os.system", "winnow.cli.main"],
)
def test_nothing_off_the_list_is_ever_called(target: str) -> None:
    assert "x._target_" in faults({"_target_": target, "command": "true"}, "x")


def test_a_class_that_an_allowed_module_only_imports_is_refused() -> None:
    assert "no class 'Path'" in faults({"_target_": "winnow.tracking.store.Path"}, "x")["x._target_"]


def test_the_users_own_package_is_admitted_by_name() -> None:
    node = {"_target_": "sklearn.base.BaseEstimator"}
    assert "x._target_" in faults(node, "x")
    assert type(construct(node, "x", allow=["sklearn"])).__name__ == "BaseEstimator"


def test_all_faults_of_a_node_are_told_at_once_with_what_was_meant() -> None:
    found = faults({"_target_": "winnow.tracking.Store", "urii": "sqlite:///x.db", "artifacts": 3})
    assert set(found) == {"tracking.urii", "tracking.uri", "tracking.artifacts"}
    assert "Did you mean 'uri'?" in found["tracking.urii"]


def test_a_misspelt_class_gets_a_suggestion() -> None:
    assert "Did you mean 'Store'?" in faults({"_target_": "winnow.tracking.Stor"})["tracking._target_"]


def test_a_foreign_class_is_checked_against_its_signature() -> None:
    found = faults({"_target_": "torch.optim.AdamW", "_partial_": True, "lrr": 0.1}, "optimizer")
    assert "Did you mean 'lr'?" in found["optimizer.lrr"]


def test_the_wrong_kind_of_object_is_refused() -> None:
    assert (
        "a subclass of winnow.tracking.Store"
        in faults({"_target_": "sklearn.base.BaseEstimator"}, expected=Store, allow=["sklearn"])["tracking._target_"]
    )
