"""MLPerf Inference for LLMs in notebooks: vLLM as LoadGen's system under test."""

__version__ = "0.1.0"
