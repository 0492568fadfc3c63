import pytest

from vllm_loadgen.analysis.early_stopping import early_stopping_queries, violations_allowed


@pytest.mark.parametrize(
    ("violations", "share", "queries"),
    [(0, 0.99, 459), (1, 0.99, 662), (10, 0.99, 2010), (100, 0.99, 12571), (0, 0.9, 44)],
)
def test_early_stopping_is_loadgens(violations, share, queries):
    assert early_stopping_queries(violations, share) == queries
    assert violations_allowed(queries, share) == violations
    assert violations_allowed(queries - 1, share) == violations - 1
