import pytest

from loadgen_study.words import change, fixed, per_s, percent, say_duration, say_ms


@pytest.mark.parametrize(
    ("value_ms", "said"),
    [(0.1234, "0.123 ms"), (21.96, "22 ms"), (735.3, "735 ms"), (50_240, "50.2 s")],
)
def test_times_are_said_with_few_digits(value_ms, said):
    assert say_ms(value_ms) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.7, "1 s"), (99.0, "99 s"), (1000, "17 min"), (13_368, "3.7 h")]
)
def test_plans_are_said_with_fewer(seconds, said):
    assert say_duration(seconds) == said


@pytest.mark.parametrize(
    ("rate", "digits", "said"),
    [(1.0, 3, "1 query/s"), (1.313, 3, "1.31 queries/s"), (1.313, 4, "1.313 queries/s"),
     (0.9999, 3, "1 query/s"), (12_345.6, 4, "12,346 queries/s")],
)  # fmt: skip
def test_a_rate_is_said_with_its_unit(rate, digits, said):
    assert per_s(rate, digits) == said


def test_a_number_that_rounds_to_zero_has_no_minus() -> None:
    assert (fixed(-0.00001, 4), percent(-0.001), change(-1e-5)) == ("0.0000", "0 %", "+0.0 %")
    assert (fixed(-1234.5), percent(-0.01), change(-0.02)) == ("-1,234.5", "-1 %", "-2.0 %")
