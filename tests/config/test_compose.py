import dataclasses
import re
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from winnow.config import TrainConfig, builtin_config_folder, compose_cells, file_composition, list_group_options
from winnow.config.composition_info import format_composition_info
from winnow.config.schema import TrainingConfig
from winnow.config.search_path import initialized_hydra
from winnow.errors import WinnowErrors

OPTIONS = {path.stem for path in (builtin_config_folder() / "experiment").glob("*.yaml")}


def train(*arguments: str, multirun: bool = False):
    return compose_cells("train", TrainConfig, arguments, multirun)


def faults(*arguments: str, multirun: bool = False) -> dict[str, str]:
    with pytest.raises(WinnowErrors) as caught:
        train(*arguments, multirun=multirun)
    return {error.key: error.message for error in caught.value.errors}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Compose outside the checkout, as a user of the installed package does."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_defaults_compose_to_one_typed_cell() -> None:
    (cell,), sweep = train()
    assert not sweep
    assert cell.config.seed == 1
    assert cell.config.training.max_steps == 300
    assert cell.config_dict["filter"] == {"_target_": "winnow.filters.Full", "name": "full"}
    assert set(cell.config.probe) == {"nike", "nike_wide"}


def test_commas_under_multirun_make_a_grid_in_order() -> None:
    cells, sweep = train("filter=full,nike_positive", "seed=1,2,3", multirun=True)
    assert sweep
    points = [(cell.config.filter["_target_"].rpartition(".")[2], cell.config.seed) for cell in cells]
    assert points == [(name, seed) for name in ("Full", "Filter") for seed in (1, 2, 3)]


def test_an_experiment_brings_its_own_grid_which_the_command_line_narrows() -> None:
    cells, sweep = train("experiment=demo")
    assert sweep
    assert len(cells) == 15
    cells, _ = train("experiment=demo", "seed=7,8", multirun=True)
    assert [cell.config.seed for cell in cells] == [7, 8] * 3
    cells, _ = train("experiment=demo", "seed=9")
    assert [cell.config.seed for cell in cells] == [9] * 3


def test_every_fault_is_told_at_once_with_what_was_meant() -> None:
    wrong = {
        "filter": "nike_positve",
        "modle.layers": "3",
        "training.max_steps": "soon",
        "training.warmup_fraction": "3",
        "masking.rat": "0.2",
        "study.rerun": "alll",
    }
    found = faults(*(f"{key}={value}" for key, value in wrong.items()))
    assert set(found) == {"modle", *wrong} - {"modle.layers"}
    assert "Did you mean 'nike_positive'?" in found["filter"]
    assert "Did you mean 'model'?" in found["modle"]
    assert "got 'soon'" in found["training.max_steps"]
    assert "less than or equal to 1" in found["training.warmup_fraction"]
    assert "Did you mean 'rate'?" in found["masking.rat"]
    assert "Did you mean 'all'?" in found["study.rerun"]


def test_a_misspelt_key_in_the_users_own_experiment_file_is_found(elsewhere: Path) -> None:
    file = elsewhere / "conf/experiment/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\ntrianer:\n  devices: 2\ntraining:\n  max_stepz: 3\n", encoding="utf-8")
    found = faults("experiment=mine")
    assert "Did you mean 'trainer'?" in found["trianer"]
    assert "Did you mean 'max_steps'?" in found["training.max_stepz"]


def test_the_users_conf_joins_the_search_path(elsewhere: Path) -> None:
    file = elsewhere / "conf/experiment/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nseed: 42\n", encoding="utf-8")
    (cell,), _ = train("experiment=mine")
    assert cell.config.seed == 42
    assert "mine" in list_group_options()["experiment"]


def test_a_file_of_the_user_that_would_be_hidden_is_a_fault(elsewhere: Path) -> None:
    file = elsewhere / "conf/filter/full.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("name: mine\n", encoding="utf-8")
    assert "Rename full.yaml" in faults()["conf/filter/full.yaml"]


def test_several_values_without_a_sweep_are_a_fault() -> None:
    assert "Add -m" in faults("seed=1,2")["seed"]


def test_a_value_left_open_is_asked_for() -> None:
    found = faults("dataset=csv")
    assert "dataset.source.path=VALUE" in found["dataset.source.path"]


def test_a_sweep_keeps_every_source_of_a_mixture() -> None:
    sources = [f"+dataset/source@dataset.source.sources.{name}=synthetic_reviews" for name in ("one", "two")]
    cells, _ = train("dataset=mixture", *sources, "seed=1,2", multirun=True)
    assert set(cells[1].config_dict["dataset"]["source"]["sources"]) == {"one", "two"}


def test_a_folder_with_an_odd_name_may_hold_a_conf(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = elsewhere / "my (work), it's [mine]"
    (folder / "conf/experiment").mkdir(parents=True)
    (folder / "conf/experiment/mine.yaml").write_text("# @package _global_\nseed: 42\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    (cell,), _ = train("experiment=mine")
    assert cell.config.seed == 42


def test_an_unreadable_override_is_named() -> None:
    assert "expected key=value" in faults("training.max_steps")["training.max_steps"]


def test_a_target_off_the_list_is_refused() -> None:
    assert "not on the list" in faults("model._target_=numpy.ndarray")["model._target_"]
    assert "never allowed" in faults("model._target_=os.system")["model._target_"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "group",
    ["dataset", "filter", "model", "masking", "optimizer", "trainer", "tracking", "debug", "experiment"],
)
def test_every_choice_of_every_group_composes_and_constructs(group: str) -> None:
    needed = {
        "csv": ["dataset.source.path=x.csv", "dataset.source.text=[text]"],
        "hub": ["dataset.source.name=owner/name", "dataset.source.text=[text]"],
        "text": ["dataset.source.path=x.txt"],
        "grammar": ["dataset.source.templates=[fine]"],
        "mixture": ["+dataset/source@dataset.source.sources.mine=synthetic_reviews"],
    }
    for choice in list_group_options()[group]:
        cells, _ = train(f"{group}={choice}", *needed.get(choice, []))
        assert cells


def test_no_interpolation_is_left_for_the_tracker() -> None:
    (cell,), _ = train("dataset=nike")
    assert not re.search(r"\$\{", str(cell.config_dict))


ARMS = "filter=full,nike_positive,random_matched"


def names_of(cells) -> list[str]:
    """Return each cell's filter, and what it is without."""
    nodes = [cell.config.filter for cell in cells]
    return [node.get("signal") or node["name"] for node in nodes]


def test_one_override_adds_an_arm_for_each_signal_of_the_filters_in_a_sweep() -> None:
    cells, sweep = train(ARMS, "filter.ablate=all", "seed=1,2", multirun=True)
    assert sweep
    signals = ["nike", "product", "praise", "blame", "sentiment"]
    one_seed = [cell for cell in cells if cell.config.seed == 2]
    assert names_of(one_seed) == ["full", "nike_positive", *signals, "random_matched"]
    assert len(cells) == 2 * len(one_seed)
    assert one_seed[2].overrides == ["filter=nike_positive", "seed=2", "filter.ablate=[nike]"]
    assert "ablate" not in str([cell.config_dict for cell in cells])


def test_ablations_may_stand_in_an_experiment_or_in_the_filters_own_file(elsewhere: Path) -> None:
    for group, text in {
        "filter/mine": "defaults: [nike_positive, _self_]\nname: mine\nablate: [nike, blame]\n",
        "filter/mine_control": "defaults: [{/filter@of: mine}, _self_]\n_target_: winnow.filters.RandomMatched\n",
        "experiment/taken_apart": "# @package _global_\nfilter: {ablate: sentiment}\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {filter: 'full,nike_positive'}}}\n",
    }.items():
        file = elsewhere / "conf" / f"{group}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    cells, _ = train("experiment=taken_apart")
    assert names_of(cells) == ["full", "nike_positive", "sentiment"]
    cells, sweep = train("filter=mine")
    assert sweep
    assert names_of(cells) == ["mine", "nike", "blame"]
    cells, sweep = train("filter=full,mine_control", "+filter@evaluation.slices.mine=mine", multirun=True)
    assert names_of(cells) == ["full", "random_matched"]


def test_every_fault_of_what_is_left_out_is_told_at_once() -> None:
    found = faults(ARMS, "filter.ablate=[nik,sentiment,product,mood]", "sed=1", multirun=True)
    assert "Did you mean 'seed'?" in found["sed"]
    with pytest.raises(WinnowErrors) as caught:
        train(ARMS, "filter.ablate=[nik,sentiment,product,mood]", multirun=True)
    told = [error.message for error in caught.value.errors]
    assert len(told) == 2
    assert "no signal 'nik'. Did you mean 'nike'?" in told[0]
    assert "no signal 'mood'." in told[1]
    assert "a signal or a list of signals" in faults("filter=nike_positive", "filter.ablate=7")["filter.ablate"]
    assert "no filter in this sweep has signals to leave out" in faults("filter.ablate=all")["filter.ablate"]
    alone = faults("filter=nike_positive", "filter.keep=nike", "filter.ablate=[nike]")
    assert "has no terms left without" in alone["filter.ablate"]
    short = faults("filter=nike_positive", "filter.mode=short_circuit", "filter.ablate=all")
    assert "Set mode=full" in short["filter.ablate"]


def test_a_choice_for_a_part_goes_to_the_cells_that_have_it() -> None:
    cells, _ = train("filter=full,random_matched", "filter@filter.of=uptrain_exact,nike_positive", multirun=True)
    nodes = [cell.config_dict["filter"] for cell in cells]
    assert [node["_target_"].rpartition(".")[2] for node in nodes] == ["Full", "RandomMatched", "RandomMatched"]
    assert [node.get("of", {}).get("name") for node in nodes] == [None, "uptrain_exact", "nike_positive"]
    told = faults("filter=full,nike_positive", "filter@filter.of=uptrain_exact", multirun=True)
    assert "applies to no option in this sweep" in told["filter@filter.of"]


def test_cells_composed_together_are_those_composed_alone() -> None:
    others = ["model.layers=1", "+trainer.benchmark=true", "~optimizer.fused", "output_dir=there"]
    together, _ = train("filter=full,nike_positive", "seed=1,2", *others, multirun=True)
    alone = [
        train(f"filter={name}", f"seed={seed}", *others)[0][0] for name in ("full", "nike_positive") for seed in (1, 2)
    ]
    assert [cell.config_dict for cell in together] == [cell.config_dict for cell in alone]
    assert [cell.config for cell in together] == [cell.config for cell in alone]
    assert together[0].config_dict["tracking"]["uri"] == "sqlite:///there/mlflow.db"


def hydras_own(*overrides: str) -> dict:
    with initialized_hydra():
        tree = OmegaConf.to_container(hydra.compose("train", list(overrides)), resolve=True)
    assert isinstance(tree, dict)
    return tree


@pytest.mark.parametrize(
    "overrides",
    [
        ["+trainer.benchmark=true", "training.max_steps=7"],
        ["~optimizer.fused", "optimizer.lr=1e-3"],
        ["++trainer.benchmark=true", "++seed=3", "seed=4"],
        ["probe.nike.prompts=['a [MASK], b', \"it's [MASK]\"]"],
        ["+trainer.plugins={a: [1, {b: null}], c: 'x=y'}", "++trainer.plugins={d: 2}"],
        ["training.total_tokens=null", "training.freeze=[a.b, '*.c']", "study.name='mine'"],
        ["~optimizer.fused", "+optimizer.fused=false", "optimizer.fused=true"],
        ["output_dir='a ${seed} b'", "seed=5"],
        ["filter=nike_positive", "filter.keep='nike & ~blame'"],
    ],
)
def test_a_cell_of_a_sweep_is_composed_as_hydra_does(overrides: list[str]) -> None:
    from winnow.config.compose import _compose_config

    faults, shared = [], {}
    with initialized_hydra():
        tree = _compose_config(list_group_options(), "train", overrides, faults, shared)
    assert not faults
    assert tree == hydras_own(*overrides)


def test_the_files_of_a_sweep_over_plain_values_are_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = hydra.compose

    def counted(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(hydra, "compose", counted)
    file_composition._get_shared_files.cache_clear()
    cells, _ = train("seed=range(1,31)", "training.max_steps=10,20", multirun=True)
    assert len(cells) == 60
    assert [cell.config.training.max_steps for cell in cells[:3]] == [10, 20, 10]
    assert len(calls) == 1


def test_a_sweep_expands_every_form_of_values_in_order() -> None:
    points = {
        "seed=choice(3,1)": [3, 1],
        "seed=range(4,10,3)": [4, 7],
        "++seed=1,2": [1, 2],
        "+seed=1": None,
    }
    for text, seeds in points.items():
        if seeds is None:
            assert "already" in " ".join(faults(text, multirun=True).values())
        else:
            assert [cell.config.seed for cell in train(text, multirun=True)[0]] == seeds
    freezes, _ = train("training.freeze=[a,b],[c],['d, e']", multirun=True)
    assert [cell.config.training.freeze for cell in freezes] == [["a", "b"], ["c"], ["d, e"]]


def test_glob_selects_choices_of_a_group(elsewhere: Path) -> None:
    cells, _ = train("filter=glob([nike*,full])", "seed=1,2", multirun=True)
    assert names_of(cells) == ["full", "full", "nike_positive", "nike_positive"]
    assert "Allowed: full" in faults("filter=glob(nikk*)", multirun=True)["filter"]
    assert "config group" in faults("seed=glob(*)", multirun=True)["seed"]
    file = elsewhere / "conf/filter/nike_mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("defaults: [nike_positive, _self_]\nname: nike_mine\n")
    assert names_of(train("filter=glob(nike*)", multirun=True)[0]) == ["nike_mine", "nike_positive"]


def test_a_forced_override_replaces_the_experiments_in_its_place() -> None:
    cells, _ = train("experiment=demo", "++seed=7")
    assert [cell.config.seed for cell in cells] == [7] * 3


@pytest.mark.parametrize(
    "override",
    ["hydra.run.dir=x", "hydra.sweep.dir=x", "hydra/launcher=joblib", "hydra/sweeper=x", "hydra.sweeper.params.seed=1"],
)
def test_what_only_a_hydra_app_uses_is_refused(override: str) -> None:
    assert "does not support the key" in faults(override)[override.partition("=")[0]]
    assert "interval() is not supported" in faults("seed=interval(1,2)", multirun=True)["seed"]


def test_a_sweep_may_be_given_or_turned_off_by_hydras_keys() -> None:
    assert len(train("hydra.mode=MULTIRUN", "seed=1,2")[0]) == 2
    assert len(train("experiment=demo", "hydra.mode=RUN")[0]) == 1


def test_further_folders_join_the_search_path(elsewhere: Path) -> None:
    for folder, seed in (("conf", 5), ("other", 6)):
        file = elsewhere / folder / f"experiment/mine_{seed}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"# @package _global_\nseed: {seed}\n")
    folders = [elsewhere / "other"]
    cells, _ = compose_cells("train", TrainConfig, ["experiment=mine_5,mine_6"], True, folders)
    assert [cell.config.seed for cell in cells] == [5, 6]
    told = format_composition_info("train", ["experiment=mine_6"], folders)
    assert f"file://{elsewhere}/other" in told
    assert "experiment/mine_6" in told
    assert "Defaults list" not in format_composition_info("train", [], folders, "searchpath")
    with pytest.raises(WinnowErrors, match="does not exist"):
        compose_cells("train", TrainConfig, [], config_dirs=[elsewhere / "nowhere"])


def test_a_choice_may_lie_in_a_folder_of_its_group(elsewhere: Path) -> None:
    file = elsewhere / "conf/experiment/team/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nseed: 5\n")
    assert train("experiment=team/mine")[0][0].config.seed == 5


def test_hydra_itself_knows_every_default() -> None:
    assert hydras_own()["training"] == dataclasses.asdict(TrainingConfig())
    with pytest.raises(hydra.errors.HydraException, match="max_stepz"):
        hydras_own("training.max_stepz=3")
    with pytest.raises(hydra.errors.HydraException, match="sed"):
        hydras_own("sed=3")
    assert hydras_own("masking.rate=0.2")["masking"]["rate"] == 0.2
