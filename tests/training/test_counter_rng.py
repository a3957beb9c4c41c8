import numpy as np

from winnow.training.counter_rng import key, mix, uniform


def test_mix_is_splitmix64() -> None:
    # The first outputs for seed 1234567 of the reference implementation in C (Vigna 2015).
    golden = 0x9E3779B97F4A7C15
    seeds = [1234567 + i * golden for i in range(5)]
    assert [int(mix(seed)[0]) for seed in seeds] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_a_draw_depends_on_every_part_and_on_their_order() -> None:
    keys = {int(key(*parts)[0]) for parts in ((1, 2), (2, 1), (1, 3), (0, 2), (1, 2, 0), (1,))}
    assert len(keys) == 6


def test_arrays_give_what_numbers_give() -> None:
    rows = np.arange(10, dtype=np.uint64)
    together = key(7, rows, 3)
    assert together.tolist() == [int(key(7, i, 3)[0]) for i in range(10)]


def test_draws_are_even_and_uncorrelated_between_neighbours() -> None:
    draws = uniform(key(1), np.arange(200_000))
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 43.8  # chi-squared, 19 degrees of freedom, p = 0.001
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.01
    neighbours = uniform(key(2), np.arange(200_000))
    assert abs(np.corrcoef(draws, neighbours)[0, 1]) < 0.01
