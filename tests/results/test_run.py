"""A run's folder, read."""

import pytest
from helpers import write_facts

from loadgen_study import Run, RunParams

GPUS = {"gpus": [{"name": "H100", "memory_gib": 80.0}] * 8}


@pytest.mark.parametrize(
    ("params", "facts", "devices"),
    [
        ({"tensor_parallel_size": 2}, GPUS, 2),
        ({"data_parallel_size": 4, "tensor_parallel_size": 2}, GPUS, 8),
        ({"pipeline_parallel_size": 2}, GPUS, 2),
        ({"tensor_parallel_size": 2}, {}, 1),
    ],
)
def test_accelerators_count_that_were_used(tmp_path, params, facts, devices):
    folder = write_facts(tmp_path / "r", RunParams.from_dict(params), environment=facts)
    assert Run.open(folder).devices == devices
