"""What an engine is and what it answers when it scores: engine.json, and scores of tokens."""

from pydantic import Field, JsonValue

from vllm_loadgen.records.base import Facts, Number, Part


class EngineFacts(Facts):
    """engine.json: the engine, and what it made of the options that it may choose itself.

    Attributes:
        options: what it was told, beside the model. made: what it made of them, by the same names,
            where it tells; a structure is left out.
        load_s: until it could be asked; compile_s: of it; None: not compiled, or not told.
        connect_s: to a server that ran already, with the first short query.
        kv_cache_tokens: that its KV cache has room for, in each copy of the engine.
        preloaded: libraries that its processes load before all others.
        route: of a server, how it was asked. served_model: what it calls the model.
        token_ids: who told the ids of an answer's tokens, in words; None: the engine itself.
    """

    engine: str
    version: str | None = None
    options: dict[str, JsonValue] = Field(default_factory=dict)
    made: dict[str, JsonValue] = Field(default_factory=dict)
    load_s: float | None = None
    compile_s: float | None = None
    connect_s: float | None = None
    kv_cache_tokens: int | None = None
    preloaded: tuple[str, ...] = ()
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    chunked_prefill: bool | None = None
    prefix_caching: bool | None = None
    max_model_len: int | None = None
    dtype: str | None = None
    route: str | None = None
    served_model: str | None = None
    token_ids: str | None = None


class TokenScores(Part):
    """What an engine thinks of the tokens of an answer that it is given.

    Attributes:
        logprobs: natural logarithm of each token's probability, before any sampling.
        chosen: whether no other token was likelier.
    """

    logprobs: tuple[Number, ...]
    chosen: tuple[bool, ...]
