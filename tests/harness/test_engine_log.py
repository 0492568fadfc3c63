import pytest

from vllm_loadgen.harness.engine_log import explain, position

NOISE = "(EngineCore pid=7) INFO 11-25 02:44:20 [core.py:100] Initializing\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "(Worker pid=9) ERROR 11-25 02:44:23 [m.py:1063] ValueError: Available memory is less. "
            "Decrease VLLM_CPU_KVCACHE_SPACE.",
            "Its log says: ValueError: Available memory is less. Decrease VLLM_CPU_KVCACHE_SPACE. "
            "Lower cpu_kv_cache_gib.",
        ),
        (
            "(EngineCore pid=9) ERROR 11-25 [core.py:1] torch.OutOfMemoryError: "
            "CUDA out of memory. Tried to allocate 2 GiB",
            "Its log says: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB. "
            "Lower gpu_memory_utilization, max_model_len or max_num_seqs, end what else uses the "
            "device, or take a smaller model.",
        ),
        (
            "(EngineCore pid=9) ERROR 11-25 [core.py:1] KeyError: 'x'",
            "Its log says: KeyError: 'x'.",
        ),
    ],
)
def test_the_first_error_is_the_cause(tmp_path, line, expected):
    log = tmp_path / "engine.log"
    log.write_text(f"ERROR [x.py:1] ValueError: of an earlier engine\n{NOISE}")
    begin = position(log)
    with log.open("a") as file:
        file.write(f"{NOISE}{line}\nERROR [y.py:2] RuntimeError: See root cause above\n")
    assert explain(log, begin) == expected


def test_without_an_error_the_end_of_the_log_is_shown(tmp_path):
    log = tmp_path / "engine.log"
    assert position(log) == 0
    assert explain(log, 0) == ""
    log.write_text("".join(f"line {number}\n" for number in range(40)))
    assert explain(log, 0).splitlines() == [f"line {number}" for number in range(25, 40)]
