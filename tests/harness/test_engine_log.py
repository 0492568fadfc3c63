import pytest

from vllm_loadgen.harness.engine_log import (
    MOST_LINES,
    compile_s,
    explain,
    late_compilations,
    position,
)

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
        (  # as beneath a notebook's kernel
            "\x1b[0;36m(EngineCore pid=9)\x1b[0;0m \x1b[31mERROR\x1b[0m "
            "\x1b[90m11-25 02:44:23\x1b[0m \x1b[90m[core.py:1]\x1b[0m ValueError: no room",
            "Its log says: ValueError: no room.",
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


@pytest.mark.parametrize(
    "line",
    [
        "Triton kernel JIT compilation during inference: _fwd. This causes a latency spike.",
        "TileLang JIT compilation during inference: gemm.",
        "[backbone] Compiling a graph for compile range (1, 2048) takes 12.30 s",
        "Graph capturing finished in 5 secs, took 0.50 GiB",
        "[WORKSPACE DEBUG] Resized workspace from 'moe.py:3:run': 1.00 MB -> 2.00 MB (ubatch 0)",
    ],
)
def test_what_belongs_before_a_test_is_found_in_its_log(tmp_path, line):
    """The lines as vLLM 0.32 prints them."""
    log = tmp_path / "engine.log"
    assert late_compilations(log, 0) == ()
    log.write_text(f"{NOISE}(EngineCore pid=7) INFO 11-25 02:44:20 [of.py:1] {line}\n")
    begin = position(log)
    assert late_compilations(log, begin) == ()
    with log.open("a") as file:
        file.write(f"{NOISE}(EngineCore pid=7) INFO 11-25 02:44:20 [of.py:1] {line}\n{NOISE}")
    assert late_compilations(log, begin) == (line,)


def test_many_such_lines_are_counted(tmp_path):
    log = tmp_path / "engine.log"
    log.write_text("".join(f"Autotuning kernel k{number}\n" for number in range(8)))
    found = late_compilations(log, 0)
    assert len(found) == MOST_LINES + 1
    assert found[-1] == "and 3 lines more"


def test_the_time_of_compiling(tmp_path):
    log = tmp_path / "engine.log"
    assert compile_s(log, 0) is None
    took = "[core.py:396] init engine (profile, create kv cache, warmup model) took 70.50 s"
    log.write_text(f"INFO {took}\n")
    assert compile_s(log, 0) is None
    log.write_text(f"INFO {took} (compilation: 30.25 s)\n")
    assert compile_s(log, 0) == 30.25
