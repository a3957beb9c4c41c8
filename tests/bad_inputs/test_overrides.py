"""Overrides that cannot be parsed, choices that do not exist, and sweeps that are empty or too large."""

import time

from fixtures.bad_inputs import BadInput, Reject, cases


@cases(
    ("train a", "a", "expected key=value"),
    ("train =1", "overrides", "expected key=value"),
    (["train", ""], "overrides"),
    (["train", "'"], "'"),
    (["train", "filter.keep='"], "filter.keep"),
    ("train training.max_steps", "training.max_steps"),
    ("train a=b=c", "a"),
    (["train", "seed=[1"], "seed"),
    (["train", "seed={"], "seed"),
    (["train", "seed=" + "9" * 5_000], "seed"),
    (["train", "seed=" + "[" * 2_000 + "]" * 2_000], "seed", "levels deep"),
    (["train", "seed=" + "[" * 60 + "]" * 60], "seed", "levels deep"),
    (["train", "seed=" + "x" * 200_000], "seed", "at most 100,000 characters"),
    (["train", "x" * 50_000], "x" * 80),
    ("train banana=1", "banana", "unknown key"),
    ("train trianer.devices=1", "trianer", "Did you mean 'trainer'?"),
    ("train +seed=1", "conf"),
    ("train ~nothing", "conf"),
    ("train ~filter", "filter"),
    ("train seed=${sed}", "seed", "not found"),
    ("train seed=${seed}", "seed", "Recursive"),
    ("train seed=${nope:1}", "seed", "Unsupported interpolation"),
    ("train study.name=${oc.env:WINNOW_NO_SUCH_VARIABLE}", "study.name"),
    ("train hydra=null", "hydra", "remove the override"),
    ("train hydra.run.dir=x", "hydra.run.dir", "output_dir"),
    ("train hydra.mode=SIDEWAYS", "conf", "hydra.mode"),
    ("train hydra/launcher=joblib", "hydra/launcher"),
    ("train hydra.searchpath=[x]", "hydra.searchpath"),
    ("train --config-dir /nonexistent", "--config-dir", "does not exist"),
    ("train --config-dir reviews.csv", "--config-dir"),
    ("filter banana=1", "banana"),
    ("evaluate banana=1", "banana"),
    ("fill text banana=1", "banana"),
    ("compare study=a banana=1", "banana"),
    ("rerun abc banana=1", "banana"),
    ("export a banana=1", "banana"),
    ("ui banana=1", "banana"),
    ("sync banana=1", "banana"),
    ("promote abc banana=1", "banana"),
    ("push abc me/x banana=1", "banana"),
)
def test_overrides(reject: Reject, bad: BadInput) -> None:
    reject(bad)


@cases(
    ("train filter=nike_postive", "filter", "Did you mean 'nike_positive'?"),
    ("train filter=null", "filter", "no option"),
    ("train filter=''", "filter"),
    ("train filter=[]", "filter", "expected one option"),
    ("train filter=[full,nike_positive]", "filter", "expected one option"),
    ("train filter={a:1}", "filter.a"),
    ("train filter=1", "filter"),
    ("train filter=glob(*)", "filter", "Add -m"),
    ("train filter=../full", "filter"),
    ("train model=[]", "model"),
    ("train model=null", "model"),
    ("train probe=null", "probe"),
    ("train probe=[null]", "probe"),
    ("train probe=[nike,banana]", "probe"),
    ("train experiment=null", "experiment"),
    ("train experiment=banana", "experiment"),
    ("train debug=[fast_dev_run,null]", "debug"),
    ("train tracking=mysql", "tracking"),
    ("filter dataset=nikee", "dataset", "Did you mean"),
    ("evaluate tracking=null", "tracking"),
    ("train filter@filter.of=full", "conf"),
)
def test_choices(reject: Reject, bad: BadInput) -> None:
    reject(bad)


@cases(
    ("train -m seed=range(1,100000)", "seed", "99,999"),
    ("train -m seed=range(1,1000000000000)", "seed"),
    ("train -m seed=1,2,3 training.max_steps=range(1,5001)", "seed, training.max_steps", "15,000 cells"),
    ("train -m seed=range(1,1)", "seed", "no values"),
    ("train -m seed=range(5,1)", "seed", "no values"),
    ("train -m seed=range(1,5,0)", "seed", "step"),
    ("train -m seed=range(1,5,-1)", "seed"),
    ("train -m seed=range(0,inf)", "seed"),
    ("train -m seed=choice()", "seed"),
    ("train -m seed=", "seed"),
    ("train -m seed=interval(1,2)", "seed", "not supported"),
    ("train seed=interval(1,2)", "seed"),
    ("train seed=1,2", "seed", "Add -m"),
    ("train -m filter=glob(zzz*)", "filter", "matches no"),
    ("train -m seed=glob(*)", "seed", "glob() works only"),
    ("train -m filter=glob([)", "filter"),
    ("train -m seed=-1,-2", "seed"),
    ("train -m study.name=a,b", "study", "different study settings"),
    ("train -m seed=1,2 study.baseline=v1 filter=full,nike_positive", "study.baseline", "unknown arm"),
    ("train -m seed=1,2 study.primary_metric=banana", "study.primary_metric"),
    ("train -m seed=1,2 filter.ablate=all", "filter.ablate"),
    ("train filter=nike_positive filter.ablate=banana", "filter.ablate"),
    ("train filter=nike_positive filter.ablate={a:1}", "filter.ablate"),
)
def test_sweeps(reject: Reject, bad: BadInput) -> None:
    started = time.process_time()
    reject(bad)
    assert time.process_time() - started < 10
