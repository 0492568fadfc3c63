"""vLLM's options that leave answers and rules alone; any other one is a departure."""

from collections.abc import Mapping

MOST_CHARS = 80
# By name of EngineArgs (0.32): when things are computed, where they are kept, what is logged. Left
# out on purpose, with all that is not looked into: what may change the model or its ends
# (hf_overrides, speculative_config, generation_config, logits_processors), what runs other code
# (worker_cls, compilation_config with its passes), what answers from another query's cache
# (kv_transfer_config, kv_offloading_size).
HARMLESS = (
    # how the scheduler fills a step
    "async_scheduling", "enable_chunked_prefill", "long_prefill_token_threshold",
    "long_prefill_token_threshold_adaptive", "max_num_active_seqs", "max_num_scheduled_tokens",
    "scheduler_reserve_full_isl", "stream_interval", "watermark",
    # memory
    "block_size", "cpu_offload_gb", "kv_cache_memory_bytes", "num_gpu_blocks_override",
    # the same arithmetic by another kernel, compiled in another way
    "attention_backend", "cudagraph_capture_sizes", "disable_cascade_attn",
    "disable_custom_all_reduce", "enable_flashinfer_autotune", "max_cudagraph_capture_size",
    "optimization_level", "performance_mode",
    # processes and cores
    "distributed_timeout_seconds", "numa_bind", "numa_bind_cpus", "numa_bind_nodes",
    # loading and the end
    "download_dir", "max_parallel_loading_workers", "safetensors_load_strategy",
    "safetensors_prefetch_num_threads", "shutdown_timeout", "use_tqdm_on_load",
    # logs
    "aggregate_engine_logging", "cudagraph_metrics", "disable_log_stats",
    "enable_logging_iteration_details", "enable_mfu_metrics", "kv_cache_metrics",
    "kv_cache_metrics_sample", "log_level",
)  # fmt: skip
# Another value than these may be code of a plugin's.
ATTENTION_BACKENDS = ("FLASH_ATTN", "FLASHINFER", "TRITON_ATTN", "FLEX_ATTENTION", "CPU_ATTN")


def departing_options(options: Mapping[str, object]) -> list[str]:
    """The options that are not known to be harmless, each as "NAME = VALUE"."""
    return [
        f"{name} = {repr(value)[:MOST_CHARS]}"
        for name, value in options.items()
        if name not in HARMLESS or (name == "attention_backend" and value not in ATTENTION_BACKENDS)
    ]
