"""mlperf_log_accuracy.json: the answers that LoadGen logged, and whether they can be trusted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from vllm_loadgen.errors import BenchmarkError

ACCURACY_LOG = "mlperf_log_accuracy.json"
TOKEN_BYTES = 4  # the SUT hands LoadGen little-endian int32 ids
RERUN = "Run the test again"


def _token_ids(data: Any) -> np.ndarray:
    """Hex text of int32 values to an array of them: 4 bytes each, where a list takes up to 36."""
    if not isinstance(data, str):
        raise PydanticCustomError("hex", "data is not hex text")
    raw = bytes.fromhex(data)
    if len(raw) % TOKEN_BYTES:
        raise ValueError(f"holds {len(raw)} bytes, not whole int32 ids")
    return np.frombuffer(raw, "<i4")


TokenIds = Annotated[np.ndarray, BeforeValidator(_token_ids)]


class Answer(BaseModel):
    """One entry of mlperf_log_accuracy.json; token ids are int32."""

    model_config = ConfigDict(frozen=True, strict=True, arbitrary_types_allowed=True)

    seq_id: NonNegativeInt
    qsl_idx: NonNegativeInt
    tokens: TokenIds = Field(alias="data")
    # What was given to FirstTokenComplete; not logged in every mode.
    first_tokens: TokenIds | None = Field(None, alias="token_data")
    token_count: NonNegativeInt | None = None


def read_accuracy_log(path: Path) -> list[Answer]:
    """The entries of mlperf_log_accuracy.json, in its order, repeated samples included.

    Raises:
        BenchmarkError: if the file is missing, truncated, not LoadGen's or edited by hand.
    """
    try:
        answers = TypeAdapter(list[Answer]).validate_json(path.read_bytes())
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read ({error.strerror}). {RERUN}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ", ".join(f"entry {at}" if isinstance(at, int) else at for at in first["loc"])
        problem = f"{place}: {first['msg']}" if place else first["msg"]
        raise BenchmarkError(
            f"{path} is not a whole, unedited LoadGen accuracy log ({problem}). {RERUN}."
        ) from None
    if not answers:
        raise BenchmarkError(f"{path} holds no answers. {RERUN}.")
    return answers


def check_answers(answers: Sequence[Answer], vocab_size: int, path: Path) -> None:
    """Refuse what no run of this model can have logged.

    Raises:
        BenchmarkError: for an id outside the vocabulary, or a token_count that is not the
            number of ids. The official verification of TEST06 leaves the latter to LoadGen.
    """
    for answer in answers:
        where = f"{path}: the answer to sample {answer.qsl_idx}"
        bad = answer.tokens[(answer.tokens < 0) | (answer.tokens >= vocab_size)]
        if len(bad):
            raise BenchmarkError(
                f"{where} holds the token id {bad[0]}, outside the vocabulary of {vocab_size}. "
                f"The log was edited or is another model's. {RERUN}."
            )
        if answer.token_count is not None and answer.token_count != len(answer.tokens):
            raise BenchmarkError(
                f"{where} has token_count = {answer.token_count} but {len(answer.tokens)} ids. "
                f"The log was edited. {RERUN}."
            )


def one_per_sample(answers: Sequence[Answer], expected_samples: int, path: Path) -> list[Answer]:
    """One answer for each of the samples 0 to ``expected_samples`` - 1, by sample.

    Raises:
        BenchmarkError: if a sample is missing or unknown, or has two different answers.
    """
    found: dict[int, Answer] = {}
    for answer in answers:
        first = found.setdefault(answer.qsl_idx, answer)
        if not np.array_equal(first.tokens, answer.tokens):
            raise BenchmarkError(
                f"{path} holds two different answers to sample {answer.qsl_idx}: it was edited or "
                f"mixes runs. {RERUN} into a new folder."
            )
    unknown = sorted(set(found) - set(range(expected_samples)))
    if unknown:
        raise BenchmarkError(
            f"{path} answers sample {unknown[0]}, but the dataset has {expected_samples} samples. "
            "Score it with the dataset of its run."
        )
    missing = [index for index in range(expected_samples) if index not in found]
    if missing:
        raise BenchmarkError(
            f"{path} lacks {len(missing)} of {expected_samples} samples, first sample "
            f"{missing[0]}. {RERUN}, to its end."
        )
    return [found[index] for index in range(expected_samples)]
