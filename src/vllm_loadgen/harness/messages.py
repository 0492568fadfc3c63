"""What goes over the pipe between ``session.py`` and ``worker.py``: commands in, events out."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from vllm_loadgen.http.redfish import Controller
from vllm_loadgen.params import TestParams
from vllm_loadgen.prompts import Prompts
from vllm_loadgen.records.engine import EngineFacts, TokenScores
from vllm_loadgen.records.result import Mode, Status


# Commands ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Prepare:
    """Import a module that the engine's start needs; answered by ``Prepared``."""

    module: str


@dataclass(frozen=True)
class Start:
    """Load the model; answered by ``Ready`` or ``Refused``.

    Attributes:
        log: where all that the process prints goes.
        key: for a server that wants one. The worker's environment has none, so that no log
            shows it.
        controller: that reads the machine's power, if the environment names one.
    """

    params: TestParams
    model_path: str
    log: Path
    key: str = field(default="", repr=False)
    controller: Controller | None = field(default=None, repr=False)

    @classmethod
    def of(cls, params: TestParams, model_path: Path | str, log: Path) -> "Start":
        """The command for a study's parameters, with the accounts that the environment holds.

        Raises:
            ParameterError: if REDFISH_URL cannot be used.
        """
        key = os.environ.get(params.engine_traits.key_variable, "").strip()
        own = TestParams.of(params)
        return cls(own, str(model_path), log.resolve(), key, Controller.of_environment())


@dataclass(frozen=True)
class RunTest:
    """Make one LoadGen test; answered by ``Progress`` now and then, and ``Ended`` or ``Refused``.

    Attributes:
        prompts: token ids of each sample, by QSL index.
        mode: "performance", "accuracy" or "compliance".
        folder: for logs, records and result.json.
        audit_config: LoadGen's audit.config, for a compliance test.
        numbers: the dataset's number of each prompt, when an earlier test has answered the others.
        resumed_samples: how many samples that test has answered.
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
    """Score answers (see ``Engine.score``); answered by ``Progress`` now and then, and ``Scored``.

    Attributes:
        prompts, answers: token ids, by sample.
        limit_s: timeout for one batch of answers, s.
        most_s: time for all batches, s; answers that would probably take longer are left out,
            from the end.
    """

    prompts: Prompts = field(repr=False)
    answers: list[list[int]] = field(repr=False)
    limit_s: float
    most_s: float = math.inf


@dataclass(frozen=True)
class Stop:
    """End the process; a test that runs is given up, and its records are kept."""


Command = Prepare | Start | RunTest | ScoreTokens | Stop


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
    """Counts of a running test, and means over its last queries; None before there are any."""

    issued: int
    done: int
    tokens: int
    ttft_ms: float | None = None
    tpot_ms: float | None = None


@dataclass(frozen=True)
class Ended:
    """A test ended; unless it is complete, the process ends as well."""

    status: Status
    message: str = ""


@dataclass(frozen=True)
class Scored:
    """Scores of answers, by sample, or why the engine gives none; it stays loaded."""

    answers: list[TokenScores] = field(repr=False)
    problem: str = ""


@dataclass(frozen=True)
class Refused:
    """A command could not be carried out."""

    message: str


Event = Prepared | Ready | Progress | Ended | Scored | Refused
