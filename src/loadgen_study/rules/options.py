"""vLLM's options that leave answers and rules alone; any other one is a departure."""

from collections.abc import Mapping

MOST_CHARS = 80
# By name of EngineArgs (0.32): when things are computed, where they are kept, what is logged. For
# each the values that are known, or None where any will do. Left out on purpose, with all that
# is not looked into: what may change the model or its ends (hf_overrides, speculative_config,
# generation_config, logits_processors), what runs other code (worker_cls, compilation_config with
# its passes), what answers from another query's cache (kv_transfer_config,
# kv_offloading_size).
HARMLESS: Mapping[str, tuple[object, ...] | None] = {
    # how the scheduler fills a step
    "async_scheduling": None,
    "enable_chunked_prefill": None,
    "long_prefill_token_threshold": None,
    "long_prefill_token_threshold_adaptive": None,
    "max_num_active_seqs": None,
    "max_num_scheduled_tokens": None,
    "scheduler_reserve_full_isl": None,
    "stream_interval": None,
    "watermark": None,
    # memory
    "block_size": None,
    "cpu_offload_gb": None,
    "kv_cache_memory_bytes": None,
    "num_gpu_blocks_override": None,
    # the same arithmetic by another kernel, compiled in another way
    "attention_backend": (
        "FLASH_ATTN", "FLASHINFER", "TRITON_ATTN", "FLEX_ATTENTION", "CPU_ATTN",
    ),
    "cudagraph_capture_sizes": None,
    "disable_cascade_attn": None,
    "disable_custom_all_reduce": None,
    "enable_flashinfer_autotune": None,
    "max_cudagraph_capture_size": None,
    "optimization_level": None,
    "performance_mode": None,
    # processes and cores
    "distributed_timeout_seconds": None,
    "numa_bind": None,
    "numa_bind_cpus": None,
    "numa_bind_nodes": None,
    # loading and the end
    "download_dir": None,
    "max_parallel_loading_workers": None,
    "safetensors_load_strategy": None,
    "safetensors_prefetch_num_threads": None,
    "shutdown_timeout": None,
    "use_tqdm_on_load": None,
    # logs
    "aggregate_engine_logging": None,
    "cudagraph_metrics": None,
    "disable_log_stats": None,
    "enable_logging_iteration_details": None,
    "enable_mfu_metrics": None,
    "kv_cache_metrics": None,
    "kv_cache_metrics_sample": None,
    "log_level": None,
}  # fmt: skip


def departing_options(options: Mapping[str, object]) -> list[str]:
    """The options that are not known to be harmless, each as "NAME = VALUE"."""
    return [
        f"{name} = {repr(value)[:MOST_CHARS]}"
        for name, value in options.items()
        if name not in HARMLESS or value not in (HARMLESS[name] or (value,))
    ]
