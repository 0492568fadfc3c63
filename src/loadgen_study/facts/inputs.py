"""What was measured, on what: model, dataset, environment, machine, engine."""

from pydantic import Field

from vllm_loadgen.records.base import Facts, Number, Part

WEIGHT_FILES = (".safetensors", ".bin")
TOKENIZED_BY_FILE, TOKENIZED_HERE = "the file (tok_input)", "this run"

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Experts(Part):
    """The routed experts of a mixture."""

    count: int  # in a layer
    per_token: int  # that a token is sent to
    parameters: int  # of all experts in all layers
    loaded_bytes: int | None = None  # of the same; None as ``Model.dtype``


class Weights(Part):
    """The decoder's weights; None where neither files nor transformers' class describe them."""

    parameters: int | None = None  # of all experts too; not the words that they may be packed into
    embedding_parameters: int | None = None  # of the table of tokens
    tied_embeddings: bool | None = None
    weight_bytes: int | None = None  # as loaded: in the type that is run, or quantized, with scales
    # Without embedding and head; with all experts.
    layer_parameters: int | None = None
    layer_bytes: int | None = None
    head_bytes: int | None = None  # of the output head
    experts: Experts | None = None
    stored_bytes: dict[str, int] = Field(default_factory=dict)  # of safetensors files, by type


class Attention(Part):
    """The layers that attend; None where they differ in more than their kind."""

    num_heads: int | None = None
    num_kv_heads: int | None = None
    head_dim: int | None = None  # the mean where keys and values differ
    kv_layers: int | None = None  # that keep the whole context; None in older files: all
    window_layers: int = 0  # that keep the last ``window`` tokens; other layers keep none
    window: int | None = None


class Model(Attention, Weights, Facts):
    """model.json: a checkpoint, of which the decoder is described (not what sees or hears)."""

    name: str
    revision: str | None = None
    architecture: str = "unknown"
    dtype: str | None  # that is run; None of a server's, with all bytes and ``multiplied_in``
    quantization: str | None = None  # the checkpoint's method, such as "awq"; None without
    multiplied_in: str | None = None  # type of quantized layers, or the method; None: ``dtype``
    hidden_size: int
    num_layers: int
    kv_values: int | None = None  # of a token in a layer; None: key and value for each head
    vocab_size: int
    max_position_embeddings: int | None = None
    eos_token_ids: tuple[int, ...] = ()  # that end an answer
    sha256: dict[str, str]  # of each file that decides the answers, hex, by file name

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
    """dataset.json: the samples."""

    name: str  # as the user gives it
    source: str  # where it came from
    samples: int  # that are used
    total_samples: int  # that it has
    checksum: str  # "sha256:..." of the file, or "fingerprint:..." of a hub's dataset
    prompts_sha256: str  # see ``Prompts.sha256``
    tokenized_by: str
    instruction: str | None  # None if the prompts came tokenized
    chat_template: bool
    template_date: str | None = None  # for a chat template that uses today's; None if it does not
    input_tokens: TokenLengths
    unscorable_references: int = 0  # to which no answer can score

    @property
    def scorable(self) -> bool:
        """Whether an answer to any of the samples can score."""
        return self.unscorable_references != self.samples

    @property
    def tokenized(self) -> bool:
        """Whether the file brought its prompts as token ids."""
        return self.instruction is None


class Cpu(Part):
    """The processor, as far as this process may use it."""

    model: str
    cores: int  # that it may run on
    memory_gib: float
    quota_cores: float | None = None  # CPU time of its control group (cpu.max); None: no limit


class Gpu(Part):
    """One NVIDIA GPU."""

    name: str
    memory_gib: float


class GitState(Part):
    """The checkout that ran; None of what is not known."""

    commit: str | None
    dirty: bool | None
    problem: str | None = None  # why they are not known


class Environment(Facts):
    """environment.json: what a stranger needs to know of the machine; no secrets."""

    python: str
    os: str
    cpu: Cpu
    gpus: tuple[Gpu, ...] = ()
    gpu_driver: str | None = None
    # What may change a result: versions of packages, and environment variables without secrets.
    packages: dict[str, str] = Field(default_factory=dict)
    variables: dict[str, str] = Field(default_factory=dict)
    git: GitState
    command: str = ""  # that the user called


class MachineLimits(Facts):
    """machine.json: what this machine was measured to do at most."""

    device: str  # "cpu" or "cuda"
    threads: int | None = None  # of PyTorch
    memory_bandwidth_gb_s: Number  # 10^9 bytes/s, read plus written by a large copy
    buffer_mib: int | None = None  # each side of that copy
    last_level_cache_mib: float | None = None  # of the device; 0 if not known
    # By type, 2 n^3 operations of an n x n product on random data.
    matrix_tflop_s: dict[str, float] = Field(default_factory=dict)
    asked_for: tuple[str, ...] = ()  # the types to measure; the device may lack some
    idle_power_w: dict[str, float] = Field(default_factory=dict)  # by source, before any test
