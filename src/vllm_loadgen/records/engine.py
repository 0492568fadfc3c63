"""What an engine is and what it answers when it scores: engine.json, and scores of tokens."""

from typing import Literal

from pydantic import Field, JsonValue

from vllm_loadgen.records.base import Facts, Number, Part


class EngineFacts(Facts):
    """engine.json: the engine, its options, and the values that it runs with.

    Attributes:
        options: given to it, without the model.
        effective_options: their values in the engine, by the same names; without structures.
        load_s: time until the engine takes queries; compile_s: its share for compilation, or None.
        connect_s: to a server that ran already, with the first short query.
        kv_cache_tokens: capacity of the KV cache of each copy of the engine.
        preloaded: libraries that its processes load before all others.
        route: of a server, the kind of request. served_model: the server's name of the model.
        prefix_caching: None: not known. cache_seen_by: how that of a server is known; None: it is
            an option of the engine here.
        token_ids: source of the answers' token ids, in words; None: the engine itself.
    """

    engine: str
    version: str | None = None
    options: dict[str, JsonValue] = Field(default_factory=dict)
    effective_options: dict[str, JsonValue] = Field(default_factory=dict, alias="made")
    load_s: float | None = None
    compile_s: float | None = None
    connect_s: float | None = None
    kv_cache_tokens: int | None = None
    preloaded: tuple[str, ...] = ()
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    chunked_prefill: bool | None = None
    prefix_caching: bool | None = None
    cache_seen_by: Literal["metrics", "probe"] | None = None
    max_model_len: int | None = None
    dtype: str | None = None
    route: str | None = None
    served_model: str | None = None
    token_ids: str | None = None


class TokenScores(Part):
    """Scores that an engine gives to the tokens of an answer.

    Attributes:
        logprobs: natural logarithm of each token's probability, before any sampling.
        chosen: whether no other token was likelier.
    """

    logprobs: tuple[Number, ...]
    chosen: tuple[bool, ...]
