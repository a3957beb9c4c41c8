"""Filter expressions and regular expressions that are invalid, too large, or too slow."""

from fixtures.bad_inputs import BadInput, Reject, cases

FILTER = ["filter", "dataset=csv", "dataset.source.path=reviews.csv", "dataset.source.text=[text]"]
NIKE = [*FILTER, "filter=nike_positive"]
DOUBLING = ", ".join(["p0: 'nike & nike'", *(f"p{i}: 'p{i - 1} & p{i - 1}'" for i in range(1, 40))])


def keep(expression: str) -> list[str]:
    return [*NIKE, f"filter.keep='{expression}'"]


def signal(value: str, expression: str = "x") -> list[str]:
    return [*NIKE, f"++filter.signals={{x: {value}}}", f"filter.keep='{expression}'", "++filter.parts={}"]


def regex(pattern: str) -> list[str]:
    return signal(f"{{_target_: winnow.filters.Regex, pattern: '{pattern}'}}")


@cases(
    (keep(""), "filter.keep", "end of the expression"),
    (keep("(nike & praise"), "filter.keep", "not closed"),
    (keep("nike)"), "filter.keep", "no matching"),
    (keep("nike praise"), "filter.keep", "expected an operator"),
    (keep("nike &"), "filter.keep", "end of the expression"),
    (keep("& nike"), "filter.keep"),
    (keep("nike && praise"), "filter.keep"),
    (keep("nike and praise"), "filter.keep"),
    (keep("nikee"), "filter.keep", "Did you mean 'nike'?"),
    (keep("nike > x"), "filter.keep", "expected a number"),
    (keep("nike ="), "filter.keep"),
    (keep("at_least(nike)"), "filter.keep", "whole number"),
    (keep("at_least(3, nike, praise)"), "filter.keep", "from 1 to the number of terms"),
    (keep("at_least(2, nike"), "filter.keep", "not closed"),
    (keep("known()"), "filter.keep"),
    (keep("known(nike & praise)"), "filter.keep"),
    (keep("__import__(nike)"), "filter.keep"),
    (keep("nike; praise"), "filter.keep"),
    (keep("nike\0"), "filter.keep"),
    (keep("(" * 60 + "nike" + ")" * 60), "filter.keep", "levels deep"),
    (keep("(" * 5_000 + "nike" + ")" * 5_000), "filter.keep", "levels deep"),
    (keep("~" * 5_000 + "nike"), "filter.keep", "levels deep"),
    (keep(" & ".join(["nike"] * 1_000)), "filter.keep", "terms in a row"),
    (keep(" | ".join(["nike"] * 10_000)), "filter.keep", "characters"),
    (keep("at_least(1, " * 60 + "nike" + ")" * 60), "filter.keep", "levels deep"),
    (keep("x" * 19_000), "filter.keep", "unknown signal or part"),
    ([*NIKE, f"++filter.parts={{{DOUBLING}}}", "filter.keep=p39"], "filter.parts.p10", "after its parts are expanded"),
    ([*NIKE, "++filter.parts={a: b, b: a}", "filter.keep=a"], "filter.parts.a", "refers to itself"),
    ([*NIKE, "++filter.parts={nike: praise}"], "filter.parts.nike", "also the name of a signal"),
    ([*NIKE, "++filter.parts={keep: nike}"], "filter.parts.keep", "not a valid name"),
    ([*NIKE, "filter.parts=[a]"], "filter.parts"),
    ([*NIKE, "filter.keep=null"], "filter.keep"),
    ([*NIKE, "filter.keep=[nike]"], "filter.keep"),
    ([*NIKE, "filter.keep=5"], "filter.keep"),
    (keep("nike & ~nike"), "filter.keep", "keeps none of the"),
    (keep("nike | ~nike"), "filter.keep", "keeps all of the"),
)
def test_expressions(reject: Reject, bad: BadInput) -> None:
    reject(bad)


@cases(
    (regex("("), "filter.signals.x.pattern", "not valid"),
    (regex("[a"), "filter.signals.x.pattern", "not valid"),
    (regex("*a"), "filter.signals.x.pattern", "not valid"),
    (regex("a" * 20_000), "filter.signals.x.pattern", "10000 characters"),
    (regex(""), "filter.signals.x.pattern"),
    (regex("(" * 2_000 + "a" + ")" * 2_000), "filter.signals.x.pattern"),
    (regex("(.|.)+[!?]"), "filter.signals.x.pattern", "takes more than"),
    (signal("{_target_: winnow.filters.Mentions, words: []}"), "filter.signals.x.words"),
    (signal("{_target_: winnow.filters.Mentions, words: ['']}"), "filter.signals.x.words.0"),
    (signal("{_target_: winnow.filters.Mentions, words: [' ']}"), "filter.signals.x.words", "blank"),
    (signal(f"{{_target_: winnow.filters.Mentions, words: [{'a' * 5_000}]}}"), "filter.signals.x.words.0"),
    (signal("{_target_: winnow.filters.Length, at_least: 9, at_most: 1}"), "filter.signals.x.at_least"),
    (signal("{_target_: winnow.filters.Length}"), "filter.signals.x.at_least"),
    (signal("{_target_: winnow.filters.Length, at_least: 1, unit: tokens}"), "filter.signals.x.tokenizer"),
    (signal("{_target_: winnow.filters.Column, column: nope, at_least: 1}"), "filter.signals.x.column"),
    (signal("{_target_: winnow.filters.Sentimental}"), "filter.signals.x._target_", "has no class"),
    (signal("{_target_: builtins.eval}"), "filter.signals.x._target_", "never allowed"),
    (signal("{_target_: winnow.data.Split}"), "filter.signals.x._target_", "winnow.filters.Signal"),
    (signal("{_target_: winnow.filters.NotNull}", "1"), "filter.keep"),
    (signal("5"), "filter.signals.x"),
    (signal("null"), "filter.signals.x"),
    ([*NIKE, "filter.signals=null"], "filter.signals"),
    ([*NIKE, "++filter.signals={a-b: {_target_: winnow.filters.NotNull}}"], "filter.signals.a-b", "not a valid name"),
    ([*NIKE, "filter.processes=0"], "filter.processes"),
    ([*NIKE, "filter.mode=fast"], "filter.mode"),
    ([*NIKE, "filter.engine=spark"], "filter.engine"),
    ([*NIKE, "filter.on_null=raise"], "filter.on_null"),
    ([*FILTER, "filter=leave_one_out", "filter.signal=banana"], "filter.signal"),
    ([*FILTER, "filter=random_matched", "filter.of=null"], "filter.of"),
)
def test_signals(reject: Reject, bad: BadInput) -> None:
    reject(bad)
