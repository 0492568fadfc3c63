import pytest

from vllm_loadgen.analysis.words import say_ms


@pytest.mark.parametrize(
    ("value_ms", "said"),
    [(0.1234, "0.123 ms"), (21.96, "22 ms"), (735.3, "735 ms"), (50_240, "50.2 s")],
)
def test_times_are_said_with_few_digits(value_ms, said):
    assert say_ms(value_ms) == said
