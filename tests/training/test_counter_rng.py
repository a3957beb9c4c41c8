import numpy as np

from winnow.training.counter_rng import derive_key, draw_uniform, splitmix64


def test_splitmix64_matches_the_reference_implementation() -> None:
    # The first outputs for seed 1234567 of the reference implementation in C (Vigna 2015).
    golden = 0x9E3779B97F4A7C15
    seeds = [1234567 + i * golden for i in range(5)]
    assert [int(splitmix64(seed)[0]) for seed in seeds] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_a_key_depends_on_every_component_and_on_their_order() -> None:
    keys = {int(derive_key(*components)[0]) for components in ((1, 2), (2, 1), (1, 3), (0, 2), (1, 2, 0), (1,))}
    assert len(keys) == 6


def test_arrays_and_numbers_have_the_same_keys() -> None:
    rows = np.arange(10, dtype=np.uint64)
    row_keys = derive_key(7, rows, 3)
    assert row_keys.tolist() == [int(derive_key(7, i, 3)[0]) for i in range(10)]


def test_draws_are_uniform_and_uncorrelated() -> None:
    draws = draw_uniform(derive_key(1), np.arange(200_000))
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 43.8  # chi-squared, 19 degrees of freedom, p = 0.001
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.01
    other_key = draw_uniform(derive_key(2), np.arange(200_000))
    assert abs(np.corrcoef(draws, other_key)[0, 1]) < 0.01
