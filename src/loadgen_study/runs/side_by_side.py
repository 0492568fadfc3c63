"""Independent tests at once, each on devices of its own, into one run's folder.

A worker is a Ray actor: a process with its engine. It makes one test after another and gives each
back as bytes, since on another machine the run's folder need not be there. What holds for tests one
after another holds here: finished ones are not made again, each is kept as soon as it is whole.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from loadgen_study import progress
from loadgen_study.results.folders import portable
from loadgen_study.runs.far_side import Bench, Made, Setup, Step
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.workers import Workers, connected, devices
from vllm_loadgen.errors import BenchmarkError, EngineError
from vllm_loadgen.redact import scrub

LOOK_S = 0.5
STOP_S = 2.0
# A test, how far it is, and its end.
CALLS_AT_ONCE = 3
TRIES = 2
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f} of {total} tests [{elapsed}{postfix}]"


@dataclass(frozen=True)
class Job:
    """Tests of one engine, one after another.

    Attributes:
        begin: gives the run that they belong to, when there is room for it.
        end: takes the run, and why it was given up (a line; empty if it was not); gives back the
            same, or what became of it afterwards.
        engine: jobs of the same name may share a loaded one; empty: each loads its own.
        unwanted: whether it is no longer worth while.
    """

    title: str
    steps: Sequence[Step]
    begin: Callable[[], LiveRun]
    end: Callable[[LiveRun, str], str]
    engine: str = ""
    unwanted: Callable[[], bool] = lambda: False


@dataclass
class _Running:
    """A job with its worker.

    Attributes:
        left: its tests that are not made. call: of the first of them. asked: how far that is.
    """

    job: Job
    run: LiveRun
    left: deque[Step]
    bench: Any = None
    call: Any = None
    asked: Any = None
    share: float = 0.0
    tries: int = 1


def make_tests(run: LiveRun, tests: Mapping[str, Mapping[str, object]]) -> None:
    """Performance tests of a run, by name with what they change: by its workers, if it has any.

    Raises:
        ParameterError: if one was made before in another way; none is made.
        EngineError: of the first that failed; the others are made.
    """
    if not run.params.side_by_side or len(tests) < 2:
        for name, changes in tests.items():
            run.once(name, "performance", **changes)
        return
    found, problems = run.read(), []
    for name, changes in tests.items():
        if found.finished(name):
            run.check_same(name, found.test(name), run.asked("performance", dict(changes)))

    def end(_: LiveRun, problem: str) -> str:
        if problem:
            problems.append(problem)
        return problem

    jobs = [
        Job(name, [Step(name, "performance", changes)], lambda: run, end, engine="the run's")
        for name, changes in tests.items()
    ]
    side_by_side(run, jobs)
    if problems:
        raise EngineError(problems[0])


def one_by_one(run: LiveRun, jobs: Sequence[Job], say: Callable[[str], object]) -> None:
    """Make the jobs here, one after another, each with an engine of its own.

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
                for step in job.steps:
                    own.once(step.name, step.mode, **step.changes)
            except BenchmarkError as error:
                problem = str(error).splitlines()[0]
        problem = job.end(own, problem)
        took = f"{time.monotonic() - begin:.0f} s"
        say(f"{place} of {len(jobs)}: {job.title}: {problem or took}")


def side_by_side(
    run: LiveRun, jobs: Sequence[Job], say: Callable[[str], object] = lambda _: None
) -> None:
    """Make the jobs, in their order, as many at once as ``workers`` has room for.

    A worker that is lost is tried once more.

    Raises:
        KeyboardInterrupt: after an interrupt; workers are ended, what was finished is kept.
    """
    run.close()  # its devices are wanted
    with ExitStack() as stack:
        tests = sum(len(job.steps) for job in jobs)
        shown = stack.enter_context(
            progress.bar(tests, "Side by side", unit="test", bar_format=BAR)
        )
        floor = _Floor(run, stack, shown, say)
        waiting = deque(jobs)
        while waiting or floor.running:
            while waiting and floor.has_room:
                floor.take(waiting)
            floor.look(waiting)


class _Floor:
    """Where the workers are.

    Args:
        stack: ends them, and what was started for them.
    """

    def __init__(
        self,
        run: LiveRun,
        stack: ExitStack,
        shown: "tqdm[Any]",
        say: Callable[[str], object],
    ) -> None:
        self._run, self._stack, self._shown, self._say = run, stack, shown, say
        self._workers: Workers | None = None
        self._samples: Any = None
        self._made = 0
        self.running: list[_Running] = []

    @property
    def has_room(self) -> bool:
        """Whether one more may start; before the first it is not known, and there is."""
        return self._workers is None or len(self.running) < self._workers.at_once

    def take(self, waiting: "deque[Job]") -> None:
        """Begin the next job, unless nothing of it is missing."""
        if one := self._begun(waiting.popleft()):
            if self._workers is None:
                self._connect()
            self._hire(one)
            self.running.append(one)

    def look(self, waiting: "deque[Job]") -> None:
        """Wait a moment for the workers, if there are any, and take in what has come."""
        if self.running:
            self._take_in(waiting)
        done = self._made + sum(one.share for one in self.running)
        titles = ", ".join(one.job.title for one in self.running)
        self._shown.set_postfix_str(titles, refresh=False)
        self._shown.update(done - self._shown.n)

    def _take_in(self, waiting: "deque[Job]") -> None:
        ray = self._ray
        ready, _ = ray.wait([one.call for one in self.running], timeout=LOOK_S)
        for one in [one for one in self.running if one.call in ready]:
            self._after(one, waiting)
        for one in self.running:
            with suppress(ray.exceptions.RayError):
                if ray.wait([one.asked], timeout=0)[0]:
                    one.share = ray.get(one.asked)
                    one.asked = one.bench.share.remote()

    def _begun(self, job: Job) -> _Running | None:
        """A job with those of its tests that are missing; None if there are none."""
        if job.unwanted():
            self._made += len(job.steps)
            return None
        run, problem = job.begin(), ""
        left: deque[Step] = deque()
        try:
            for step in job.steps:
                if run.made_before(step.name, step.mode, dict(step.changes)) is None:
                    rate = run.asked(step.mode, dict(step.changes)).target_qps
                    changes = {**step.changes, "target_qps": rate}
                    left.append(Step(step.name, step.mode, changes))
        except BenchmarkError as error:
            problem = str(error).splitlines()[0]
        self._made += len(job.steps) - len(left)
        if left and not problem:
            return _Running(job, run, left)
        self._end(job, run, problem)
        return None

    def _end(self, job: Job, run: LiveRun, problem: str) -> None:
        self._say(f"{job.title}: {job.end(run, problem) or 'measured'}")

    def _connect(self) -> None:
        self._shown.set_postfix_str("starting Ray")
        self._workers = self._stack.enter_context(connected(self._run.params))
        self._stack.callback(self._dismiss_all)
        self._samples = self._ray.put(self._run.samples)

    @property
    def _ray(self) -> Any:
        assert self._workers is not None  # there is a worker
        return self._workers.ray

    def _hire(self, one: _Running) -> None:
        """A worker for this job, and its first test."""
        bench = self._ray.remote(Bench).options(
            num_cpus=1, num_gpus=devices(one.run.params), max_concurrency=CALLS_AT_ONCE
        )
        one.bench = bench.remote(Setup.of(one.run), self._samples)
        self._ask(one)

    def _ask(self, one: _Running) -> None:
        one.call = one.bench.make.remote(one.left[0])
        one.asked, one.share = one.bench.share.remote(), 0.0

    def _after(self, one: _Running, waiting: "deque[Job]") -> None:
        """After a test, however it ended: it is kept; then the job's next, or another job."""
        made = self._result(one)
        if made is None:  # lost
            one.tries += 1
            self._hire(one)
            return
        if made.packed:
            one.run.adopt(one.left[0].name, made.packed, made.log)
        self._made += len(one.left) if made.problem else 1
        one.left.popleft()
        if one.left and not made.problem:
            self._ask(one)
            return
        self.running.remove(one)
        self._end(one.job, one.run, made.problem)
        while not made.problem and waiting and one.job.engine == waiting[0].engine != "":
            if following := self._begun(waiting.popleft()):
                following.bench = one.bench
                self._ask(following)
                self.running.append(following)
                return
        self._dismiss([one])

    def _result(self, one: _Running) -> Made | None:
        """What a worker gave back; None if it was lost and may be tried again."""
        errors = self._ray.exceptions
        try:
            made: Made = self._ray.get(one.call)
            return made
        except errors.RayTaskError as error:  # raised by the worker's own code
            cause = error.cause
            return Made(problem=portable(scrub(f"{type(cause).__name__}: {cause}".splitlines()[0])))
        except errors.RayError as error:
            # Its text names machines.
            lost = f"its worker was lost {TRIES} times ({type(error).__name__})"
            return Made(problem=lost) if one.tries >= TRIES else None

    def _dismiss(self, leaving: Sequence[_Running]) -> None:
        """End workers with their engines."""
        ray = self._ray
        with suppress(ray.exceptions.RayError):
            stops = [one.bench.stop.remote() for one in leaving]
            if stops:
                ray.wait(stops, num_returns=len(stops), timeout=STOP_S)
        for one in leaving:
            with suppress(ray.exceptions.RayError):
                ray.kill(one.bench)

    def _dismiss_all(self) -> None:
        leaving, self.running = self.running, []
        self._dismiss(leaving)
