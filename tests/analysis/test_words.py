import pytest

from vllm_loadgen.analysis.words import say_duration, say_ms


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
