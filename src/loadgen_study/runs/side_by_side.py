"""Independent tests at once, each on devices of its own, into one run's folder.

A worker is a Ray actor that hosts one engine. It returns each test as bytes, since it may run on
another machine. As with tests one after another, finished tests are reused and each new one is
kept as soon as it is complete.
"""

import importlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from loadgen_study import progress
from loadgen_study.results.folders import portable
from loadgen_study.runs import workers
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.remote_worker import RemoteRunner, Setup, Step, TestArchive
from vllm_loadgen.errors import BenchmarkError, EngineError
from vllm_loadgen.redact import scrub

POLL_S = 0.5
STOP_S = 2.0
# run_test, share and stop.
CALLS_AT_ONCE = 3
TRIES = 2
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f} of {total} tests [{elapsed}{postfix}]"


@dataclass(frozen=True)
class Job:
    """Tests of one engine, one after another.

    Attributes:
        begin: gives the run that the tests belong to, when the job starts.
        end: takes the run and its problem (one line; empty if none); returns the final problem.
        unwanted: whether the job is skipped.
        work: makes further tests of the run before the steps, where jobs run one by one.
    """

    title: str
    steps: Sequence[Step]
    begin: Callable[[], LiveRun]
    end: Callable[[LiveRun, str], str]
    unwanted: Callable[[], bool] = lambda: False
    work: Callable[[LiveRun], object] | None = None


def make_tests(run: LiveRun, tests: Mapping[str, Mapping[str, object]]) -> None:
    """Performance tests of a run, by name with what they change: by its workers, if it has any.

    Raises:
        ParameterError: if a finished one was made in another way; none is made then.
        EngineError: of the first that failed; the others are made.
    """
    if not run.params.side_by_side or len(tests) < 2:
        for name, changes in tests.items():
            run.once(name, "performance", **changes)
        return
    found, problems = run.read(), []
    for name, changes in tests.items():
        if found.finished(name):
            run.check_same(name, found.test(name), run.test_params("performance", dict(changes)))

    def end(_: LiveRun, problem: str) -> str:
        if problem:
            problems.append(problem)
        return problem

    jobs = [
        Job(name, [Step(name, "performance", changes)], lambda: run, end)
        for name, changes in tests.items()
    ]
    side_by_side(run, jobs, keep_engines=True)
    if problems:
        raise EngineError(problems[0])


def one_by_one(run: LiveRun, jobs: Sequence[Job], say: Callable[[str], object]) -> None:
    """Run the jobs here, one after another, each with an engine of its own.

    Args:
        say: takes a line after each job.
    """
    run.close()  # two engines at once would measure each other
    for place, job in enumerate(jobs, 1):
        if job.unwanted():
            continue
        begin, problem = time.monotonic(), ""
        with job.begin() as own:
            try:
                if job.work is not None:
                    job.work(own)
                for step in job.steps:
                    own.once(step.name, step.mode, **step.changes)
            except BenchmarkError as error:
                problem = str(error).splitlines()[0]
        problem = job.end(own, problem)
        took = f"{time.monotonic() - begin:.0f} s"
        say(f"{place} of {len(jobs)}: {job.title}: {problem or took}")


def side_by_side(
    run: LiveRun,
    jobs: Sequence[Job],
    say: Callable[[str], object] = lambda _: None,
    keep_engines: bool = False,
) -> None:
    """Run the jobs in their order, as many at once as ``workers`` has room for.

    A lost worker's test is tried once more.

    Args:
        keep_engines: a worker's loaded engine takes its next job too; else each job loads its own.

    Raises:
        KeyboardInterrupt: after an interrupt; workers are ended, finished tests are kept.
    """
    run.close()  # its devices are wanted
    with ExitStack() as stack:
        total = sum(len(job.steps) for job in jobs)
        bar = stack.enter_context(progress.bar(total, "Side by side", unit="test", bar_format=BAR))
        _Pool(run, deque(jobs), stack, bar, say, keep_engines).run_all()


@dataclass
class _Active:
    """A job on a worker; ``steps`` are its missing tests, ``archive`` is of the first of them."""

    job: Job
    run: LiveRun
    steps: deque[Step]
    runner: Any = None
    archive: Any = None
    share: float = 0.0
    tries: int = 1


@dataclass
class _Pool:
    """The workers of one call; Ray starts with the first missing test.

    Attributes:
        stack: ends the workers and Ray. room: the most active jobs. done: number of ended tests.
        idle: workers whose engine can be used again.
    """

    run: LiveRun
    waiting: deque[Job]
    stack: ExitStack
    bar: Any
    say: Callable[[str], object]
    keep_engines: bool
    ray: Any = None
    samples: Any = None
    room: int = 1
    done: int = 0
    active: list[_Active] = field(default_factory=list)
    idle: list[Any] = field(default_factory=list)

    def run_all(self) -> None:
        """Run all jobs to their end."""
        while self.waiting or self.active:
            while self.waiting and len(self.active) < self.room:
                self._begin(self.waiting.popleft())
            if self.active:
                calls = [one.archive for one in self.active]
                ready, _ = self.ray.wait(calls, timeout=POLL_S)
                for one in [one for one in self.active if one.archive in ready]:
                    self._take(one, self._result(one))
            self._show()

    def _begin(self, job: Job) -> None:
        """Start a job's missing tests on a worker; a job without any ends here."""
        if job.unwanted():
            self.done += len(job.steps)
            return
        run, problem = job.begin(), ""
        steps: deque[Step] = deque()
        try:
            for step in job.steps:
                if run.made_before(step.name, step.mode, dict(step.changes)) is None:
                    # A worker has only its own tests: it cannot look for a searched rate.
                    rate = run.test_params(step.mode, dict(step.changes)).target_qps
                    changes = {**step.changes, "target_qps": rate}
                    steps.append(Step(step.name, step.mode, changes))
        except BenchmarkError as error:
            problem = str(error).splitlines()[0]
        self.done += len(job.steps) - len(steps)
        if problem or not steps:
            self._end(job, run, problem)
            return
        one = _Active(job, run, steps)
        one.runner = self.idle.pop() if self.idle else self._new_runner(one)
        self.active.append(one)
        self._run_next(one)

    def _new_runner(self, one: _Active) -> Any:
        if self.ray is None:
            self.bar.set_postfix_str("starting Ray")
            self.room = self.stack.enter_context(workers.connected(self.run.params))
            self.ray = importlib.import_module("ray")
            self.stack.callback(self._stop_all)
            self.samples = self.ray.put(self.run.samples)
        gpus = workers.devices(one.run.params)
        actor = self.ray.remote(RemoteRunner).options(
            num_cpus=1, num_gpus=gpus, max_concurrency=CALLS_AT_ONCE
        )
        return actor.remote(Setup.of(one.run), self.samples)

    def _run_next(self, one: _Active) -> None:
        one.archive, one.share = one.runner.run_test.remote(one.steps[0]), 0.0

    def _result(self, one: _Active) -> TestArchive | None:
        """The ended test; None if the worker was lost and may be replaced."""
        errors = self.ray.exceptions
        try:
            archive: TestArchive = self.ray.get(one.archive)
            return archive
        except errors.RayTaskError as error:  # raised by the worker's own code
            problem = f"{type(error.cause).__name__}: {error.cause}".splitlines()[0]
            return TestArchive(problem=portable(scrub(problem)))
        except errors.RayError as error:
            # Its text names machines.
            lost = f"its worker was lost {TRIES} times ({type(error).__name__})"
            return TestArchive(problem=lost) if one.tries >= TRIES else None

    def _take(self, one: _Active, archive: TestArchive | None) -> None:
        """Keep an ended test, then go on with the job's next one or end the job."""
        if archive is None:
            one.tries += 1
            one.runner = self._new_runner(one)
            self._run_next(one)
            return
        if archive.packed:
            one.run.adopt(one.steps[0].name, archive.packed, archive.log)
        self.done += len(one.steps) if archive.problem else 1
        one.steps.popleft()
        if one.steps and not archive.problem:
            self._run_next(one)
            return
        self.active.remove(one)
        self._end(one.job, one.run, archive.problem)
        if self.keep_engines and not archive.problem:
            self.idle.append(one.runner)
        else:
            self._stop([one.runner])

    def _end(self, job: Job, run: LiveRun, problem: str) -> None:
        self.say(f"{job.title}: {job.end(run, problem) or 'measured'}")

    def _show(self) -> None:
        """Redraw the bar with the workers' completed fractions."""
        calls = {one.runner.share.remote(): one for one in self.active}
        if calls:
            for call in self.ray.wait(list(calls), num_returns=len(calls), timeout=POLL_S)[0]:
                with suppress(self.ray.exceptions.RayError):
                    calls[call].share = self.ray.get(call)
        titles = ", ".join(one.job.title for one in self.active)
        self.bar.set_postfix_str(titles, refresh=False)
        self.bar.update(self.done + sum(one.share for one in self.active) - self.bar.n)

    def _stop(self, runners: Sequence[Any]) -> None:
        """End workers with their engines."""
        with suppress(self.ray.exceptions.RayError):
            if stops := [runner.stop.remote() for runner in runners]:
                self.ray.wait(stops, num_returns=len(stops), timeout=STOP_S)
        for runner in runners:
            with suppress(self.ray.exceptions.RayError):
                self.ray.kill(runner)

    def _stop_all(self) -> None:
        self._stop([*self.idle, *(one.runner for one in self.active)])
