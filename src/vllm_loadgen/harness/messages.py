"""What goes over the pipe between ``session.py`` and ``worker.py``: commands in, events out."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from vllm_loadgen.params import TestParams
from vllm_loadgen.prompts import Prompts
from vllm_loadgen.records.engine import EngineFacts, TokenScores
from vllm_loadgen.records.result import Mode, Status


# Commands ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Prepare:
    """Import what vLLM's start needs; answered by ``Prepared``."""


@dataclass(frozen=True)
class Start:
    """Load the model; answered by ``Ready`` or ``Refused``.

    Attributes:
        log: where all that the process prints goes.
    """

    params: TestParams
    model_path: str
    log: Path
    # For the server that is asked. The worker's environment has none, so that no log shows one.
    key: str = field(default="", repr=False)


@dataclass(frozen=True)
class RunTest:
    """Make one LoadGen test; answered by ``Progress`` now and then, and ``Ended`` or ``Refused``.

    Attributes:
        prompts: token ids of each sample, by QSL index.
        folder: for logs, records and result.json.
        audit_config: LoadGen's audit.config, for a compliance test.
        numbers: which samples of the dataset the prompts are, when an earlier test has answered
            the others.
    """

    params: TestParams
    prompts: Prompts = field(repr=False)
    mode: Mode
    folder: Path
    audit_config: Path | None = None
    numbers: list[int] | None = field(default=None, repr=False)
    resumed_samples: int = 0


@dataclass(frozen=True)
class ScoreTokens:
    """Tell how likely answers are; answered by ``Progress`` now and then, and ``Scored``.

    Attributes:
        prompts, answers: token ids, by sample.
        limit_s: some answers that take longer are not waited for.
        most_s: no more are asked for if they would probably end later than this.
    """

    prompts: Prompts = field(repr=False)
    answers: list[list[int]] = field(repr=False)
    limit_s: float
    most_s: float = math.inf


@dataclass(frozen=True)
class Abort:
    """Give the test up; answered by the end of the process."""


@dataclass(frozen=True)
class Stop:
    """End the process."""


Command = Prepare | Start | RunTest | ScoreTokens | Abort | Stop


# Events -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Prepared:
    """What could be imported is imported."""


@dataclass(frozen=True)
class Ready:
    """The engine is loaded."""

    engine: EngineFacts


@dataclass(frozen=True)
class Progress:
    """How far a test is; the means are of its last queries, None before there are any."""

    issued: int
    done: int
    tokens: int
    ttft_ms: float | None = None
    tpot_ms: float | None = None


@dataclass(frozen=True)
class Ended:
    """A test ended; unless it is complete, so does the process."""

    status: Status
    message: str = ""


@dataclass(frozen=True)
class Scored:
    """How likely answers are, by sample, or why the engine does not tell; it stays loaded."""

    answers: list[TokenScores] = field(repr=False)
    problem: str = ""


@dataclass(frozen=True)
class Refused:
    """A command could not be carried out."""

    message: str


Event = Prepared | Ready | Progress | Ended | Scored | Refused
