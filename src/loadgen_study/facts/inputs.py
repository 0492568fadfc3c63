"""What was measured, on what: model, dataset, environment, machine, engine."""

from pydantic import Field

from vllm_loadgen.records.base import Facts, Number, Part

WEIGHT_FILES = (".safetensors", ".bin")
TOKENIZED_BY_FILE, TOKENIZED_HERE = "the file (tok_input)", "this run"

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Experts(Part):
    """The routed experts of a mixture.

    Attributes:
        count: in a layer. per_token: of them, that a token is sent to.
        parameters, loaded_bytes: of all experts in all layers; bytes None as ``Model.dtype``.
    """

    count: int
    per_token: int
    parameters: int
    loaded_bytes: int | None = None


class Model(Facts):
    """model.json: a checkpoint, of which the decoder is described (not what sees or hears).

    What is not known is None: of weights that neither files nor transformers' class describe, of
    attention that is not the same in all layers that attend.

    Attributes:
        parameters: of all weights, each expert too; not the words that they may be packed into.
        embedding_parameters: of the table of tokens.
        dtype: the type it is run in; None of a server's, with all bytes and ``multiplied_in``.
        weight_bytes: of all parameters as they are loaded: in that type, or as the checkpoint has
            them quantized, with scales.
        layer_parameters, layer_bytes: of these without embedding and head. head_bytes: of the
            output head. None in older files, which know dense models that are not quantized.
        experts: None without.
        quantization: the checkpoint's method, such as "awq"; None without.
        multiplied_in: the type that quantized layers multiply in, if that is not ``dtype``; the
            method where it is not known.
        stored_bytes: of all tensors in the safetensors files, by type; empty without such files.
        num_heads, num_kv_heads, head_dim: of each layer that attends; head_dim is the mean where
            keys and values differ.
        kv_values: that a token leaves in a layer; None: a key and a value for each of the heads.
        kv_layers: that keep keys and values of the whole context; None in older files: all.
        window_layers: that keep those of the last ``window`` tokens alone. Other layers keep none:
            their state is not described.
        eos_token_ids: the ids that end an answer.
        sha256: of each file that decides the answers, hex, by file name.
    """

    name: str
    revision: str | None = None
    architecture: str = "unknown"
    parameters: int | None
    embedding_parameters: int | None
    tied_embeddings: bool | None
    dtype: str | None
    weight_bytes: int | None
    layer_parameters: int | None = None
    layer_bytes: int | None = None
    head_bytes: int | None = None
    experts: Experts | None = None
    quantization: str | None = None
    multiplied_in: str | None = None
    stored_bytes: dict[str, int] = Field(default_factory=dict)
    hidden_size: int
    num_layers: int
    num_heads: int | None
    num_kv_heads: int | None
    head_dim: int | None
    kv_values: int | None = None
    kv_layers: int | None = None
    window_layers: int = 0
    window: int | None = None
    vocab_size: int
    max_position_embeddings: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    sha256: dict[str, str]

    @property
    def not_known(self) -> str:
        """What limits would need and is not known: "weights", "attention", both, or nothing."""
        parts = {"weights": self.weight_bytes, "attention": self.num_heads}
        return " and ".join(name for name, value in parts.items() if value is None)

    @property
    def weights_sha256(self) -> dict[str, str]:
        """Of the weight files alone: configuration files carry library versions."""
        return {name: sha for name, sha in self.sha256.items() if name.endswith(WEIGHT_FILES)}

    @property
    def other_sha256(self) -> dict[str, str]:
        """Of the other files: configuration, tokenizer, chat template."""
        return {name: sha for name, sha in self.sha256.items() if not name.endswith(WEIGHT_FILES)}

    @property
    def active_parameters(self) -> int | None:
        """Parameters that a token is computed with: all, but of experts those it is sent to."""
        if self.experts is None or self.parameters is None:
            return self.parameters
        idle = self.experts.count - self.experts.per_token
        return self.parameters - self.experts.parameters * idle // self.experts.count

    @property
    def size_text(self) -> str:
        """How many parameters it has, in words."""
        if self.parameters is None:
            return "number of parameters not known"
        return f"{self.parameters / 1e9:.3g} billion parameters"

    @property
    def dtype_bytes(self) -> int:
        """Bytes of a number in the type that is run."""
        return DTYPE_BYTES.get(self.dtype or "", 2)

    def served(self) -> "Model":
        """The same model on a server that runs already, of whose types and bytes nothing is known.

        Its shape is that of the configuration here.
        """
        experts = self.experts and self.experts.model_copy(update={"loaded_bytes": None})
        unknown = ("dtype", "weight_bytes", "layer_bytes", "head_bytes", "multiplied_in")
        return self.model_copy(update={**dict.fromkeys(unknown), "experts": experts})


class TokenLengths(Part):
    """Tokens of the prompts."""

    min: int
    mean: float
    max: int


class Dataset(Facts):
    """dataset.json: the samples.

    Attributes:
        name: what a user calls it. source: where it came from.
        samples, total_samples: that were used, that it has.
        checksum: "sha256:..." of the file, or "fingerprint:..." of a hub's dataset.
        tokenized_by: the file or this run, in words.
        prompts_sha256: of the prompts' token ids (``Prompts.sha256``); None in older files.
        instruction: None if the prompts came tokenized.
        template_date: given to a chat template that asks for today's; None if it does not ask.
        unscorable_references: in which ROUGE finds no token (``scores.scorable``); None in older
            files.
    """

    name: str
    source: str
    samples: int
    total_samples: int
    checksum: str
    prompts_sha256: str | None = None
    tokenized_by: str
    instruction: str | None
    chat_template: bool
    template_date: str | None = None
    input_tokens: TokenLengths
    unscorable_references: int | None = None

    @property
    def scorable(self) -> bool:
        """Whether ROUGE can score an answer to any of the samples."""
        return self.unscorable_references != self.samples

    @property
    def tokenized(self) -> bool:
        """Whether the file brought its prompts as token ids."""
        return self.instruction is None


class Cpu(Part):
    """The processor, as far as this process may use it.

    Attributes:
        cores: that it may run on. quota_cores: CPU time that its control group allows, in cores
            (cgroup's cpu.max); None without such a limit.
    """

    model: str
    cores: int
    memory_gib: float
    quota_cores: float | None = None


class Gpu(Part):
    """One NVIDIA GPU."""

    name: str
    memory_gib: float


class GitState(Part):
    """The checkout that ran.

    Attributes:
        commit, dirty: None where they are not known.
        problem: why they are not known; None in older files.
    """

    commit: str | None
    dirty: bool | None
    problem: str | None = None


class Environment(Facts):
    """environment.json: what a stranger needs to know of the machine; no secrets.

    Attributes:
        packages: versions of those that may change a result.
        variables: environment variables that may change a result, by name; those with secrets are
            left out. None in older files.
        command: what was called.
    """

    python: str
    os: str
    cpu: Cpu
    gpus: tuple[Gpu, ...] = ()
    gpu_driver: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    variables: dict[str, str] | None = None
    git: GitState
    command: str = ""


class MachineLimits(Facts):
    """machine.json: what this machine was measured to do at most.

    Attributes:
        device: "cpu" or "cuda". threads: of PyTorch.
        memory_bandwidth_gb_s: 10^9 bytes/s, read plus written by a large copy.
        buffer_mib: each side of that copy. last_level_cache_mib: of the device; 0 if not known.
        matrix_tflop_s: by type, 2 n^3 operations of an n x n product on random data.
        asked_for: the types that were to be measured; the device has not each of them.
    """

    device: str
    threads: int | None = None
    memory_bandwidth_gb_s: Number
    buffer_mib: int | None = None
    last_level_cache_mib: float | None = None
    matrix_tflop_s: dict[str, float] = Field(default_factory=dict)
    asked_for: tuple[str, ...] = ()
