"""A compliance test of MLCommons: its audit.config, the verdict on its log, the checker's file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadgen_study.accuracy.log import ACCURACY_LOG, Answer, read_accuracy_log
from loadgen_study.facts.scores import Compliance, ComplianceStatus, Score
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.files import write_text
from vllm_loadgen.harness.log import DETAIL
from vllm_loadgen.traits import Scenario

AUDIT_FOUND = "Found Audit Config file"
PERFORMANCE_MODE = 2  # of audit.config
LOG_SEED = 720381539243781796  # of every audit.config


@dataclass(frozen=True)
class Audited:
    """The facts of a run that a compliance test needs.

    Attributes:
        scenario: LoadGen's.
        eos_token_ids: all ids that end an answer (Llama 3.1 has three).
        samples: of the test's data.
        score: computes figures by metric from one answer for each sample, by sample.
    """

    scenario: Scenario
    eos_token_ids: Sequence[int]
    samples: int
    score: Callable[[Sequence[Answer]], Score]


@dataclass(frozen=True)
class ComplianceTest:
    """One compliance test.

    Attributes:
        name: MLCommons', and its folder in a submission.
        settings: of its audit.config, by LoadGen's keys, from the number of samples.
        verdict_file: what the checker reads. passed: its line there that means a pass.
        judge: the verdict on the answers in a log. Its path is for messages.
        folder: of the test in a run.
        logs_all: whether every answer is logged; MLCommons truncates such a log.
    """

    name: str
    settings: Callable[[int], Mapping[str, int]]
    verdict_file: str
    passed: str
    judge: Callable[[Sequence[Answer], Path, Audited], Compliance]
    folder: str
    logs_all: bool = False

    def write_audit_config(self, folder: Path, samples: int) -> Path:
        """Write the audit.config into the test's folder; its path is for ``run_test``.

        Never write it into the working directory: LoadGen reads it there if it is given no other
        path, and then turns every test into this one.

        Args:
            samples: of the test's data.
        """
        path = folder / "audit.config"
        settings = {
            "mode": PERFORMANCE_MODE,
            "accuracy_log_rng_seed": LOG_SEED,
            **self.settings(samples),
            "min_duration": 0,
            "sample_concatenate_permutation": 0,
        }
        write_text(path, "".join(f"*.*.{key} = {value}\n" for key, value in settings.items()))
        return path

    def recorded(self, folder: Path) -> ComplianceStatus | None:
        """The verdict file's verdict, as the checker reads it; None without a file."""
        path = folder / self.verdict_file
        if not path.is_file():
            return None
        return "PASS" if self.passed in path.read_text(encoding="utf-8") else "FAIL"

    def verify(self, folder: Path, audited: Audited) -> Compliance:
        """Judge the logs in the test's folder and write the verdict file next to them.

        Args:
            folder: with mlperf_log_accuracy.json and mlperf_log_detail.txt.

        Raises:
            BenchmarkError: if the logs are damaged, or not of this test.
        """
        self._check_audit(folder / DETAIL)
        log = folder / ACCURACY_LOG
        found = self.judge(read_accuracy_log(log), log, audited)
        write_text(folder / self.verdict_file, "\n".join(found.lines) + "\n")
        return found

    def _check_audit(self, path: Path) -> None:
        cure = f"Run {self.name}."
        try:
            found = AUDIT_FOUND in path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise BenchmarkError(f"{path} cannot be read ({error.strerror}). {cure}") from None
        if not found:
            raise BenchmarkError(f"{path} is of a run without audit.config. {cure}")
