"""Growth: the exponents of known curves, what counts as worse than linear, and the picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.bench.growth import AXES, BASE, SHORT_AXES, Axis, compare, exponents, rows, show
from tests.bench.growth_plot import plot
from tests.bench.growth_points import Point, Size


def point(size: Size, ms: float, user_bytes: float = 5_000.0) -> Point:
    return Point(
        size=size,
        requests=10,
        cpu_ms={"ranking": ms, "gateway": 2.0, "redis": 0.0},
        p50_ms=ms + 3,
        p99_ms=ms + 9,
        stages_ms={"total": ms},
        ranked=500.0,
        degraded=0,
        user_bytes=user_bytes,
        resident_mb={"ranking": 300.0, "gateway": 80.0, "redis": 30.0},
    )


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_exponents_of_pure_powers_are_found(power: float) -> None:
    sizes = [10, 100, 1000]
    assert exponents(sizes, [3.0 * size**power for size in sizes]) == pytest.approx((power, power))


def test_a_constant_hides_growth_over_the_whole_axis_but_less_in_the_last_step() -> None:
    sizes = [10, 100, 1_000, 10_000]
    found = exponents(sizes, [100.0 + size for size in sizes])
    assert found is not None
    assert found[0] < 0.7 < found[1]


def test_what_the_clock_hardly_sees_has_no_exponent() -> None:
    assert exponents([1, 2, 4], [0.0, 0.0, 0.2]) is None


def test_worse_than_linear_misses_and_linear_does_not() -> None:
    axis = Axis("history", (10, 40))
    small, large = axis.sizes
    assert small == replace(BASE, history=10)
    (cpu, memory) = compare(axis, [point(small, 8.0), point(large, 38.0)])
    assert cpu.ratio == 4.0
    assert cpu.reached
    assert memory.reached
    assert not compare(axis, [point(small, 8.0), point(large, 39.0)])[0].reached
    users = Axis("users", (10, 40))
    assert not compare(users, [point(small, 1.0), point(large, 1.0, 6_000.0)])[1].reached, "bytes per user must be flat"


def test_every_axis_changes_one_size_and_the_table_names_the_others() -> None:
    for axis in (*AXES, *SHORT_AXES):
        assert [getattr(size, axis.name) for size in axis.sizes] == list(axis.values)
        assert all(size.history <= size.items // 2 for size in axis.sizes)
        assert all(size.candidates <= size.items - size.history for size in axis.sizes)
    console = Console(width=140, record=True)
    axis = Axis("history", (10, 40))
    show(console, axis, [point(size, 8.0) for size in axis.sizes])
    text = console.export_text()
    assert "history, with 4,000 items, 6,000 users, 500 candidates" in text
    assert "CPU, ms" in text


def test_the_sum_over_services_comes_first() -> None:
    shown = rows([point(BASE, 5.0)])
    assert next(iter(shown)) == "CPU, ms"
    assert shown["CPU, ms"] == [7.0]


def test_the_picture_has_ink(tmp_path: Path) -> None:
    axes = {axis.name: [point(size, 5.0 + n).as_json() for n, size in enumerate(axis.sizes)] for axis in AXES}
    plot(axes, tmp_path / "growth.png")
    pixels = np.asarray(Image.open(tmp_path / "growth.png").convert("L"))
    assert pixels.shape[1] > 1_000
    assert (pixels < 128).sum() > 5_000
