"""``python tests/mutations.py``: each trap of src/README.md, sprung on purpose, fails a test.

A mutation replaces a text of src by another, in a copy. The tests named with it run on the copy;
if they pass, or the text is no longer there, the mutation is printed and the exit status is 1.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 240  # a test that hangs has noticed
SUT, STUDY = "src/vllm_loadgen", "src/loadgen_study"


class Mutation(NamedTuple):
    """A fault: the file, what is replaced by what, and the tests that should fail."""

    trap: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = (
    Mutation("LoadGen's clock is the system's", f"{SUT}/harness/watch.py",
             "time.time() - clock_s - self.duration_s", "0.0", "tests/harness/test_watch.py"),
    Mutation("mlperf.conf is read once a process", f"{SUT}/harness/loadgen.py",
             'FromConfig("", params.benchmark, params.scenario, 0)',
             'FromConfig("", params.benchmark, params.scenario, 1)',
             "tests/harness/test_loadgen.py"),
    Mutation("a misspelt key is ignored", f"{SUT}/harness/loadgen.py",
             "if not math.isclose(taken, value * factor, rel_tol=1e-6):", "if False:",
             "tests/harness/test_loadgen.py"),
    Mutation("fewer samples must be declared", f"{SUT}/harness/loadgen.py",
             'values["performance_sample_count_override"] = drawn', "pass",
             "tests/harness/test_loadgen.py"),
    Mutation("VALID in spite of logged errors", f"{STUDY}/rules/verdict.py",
             "if result.num_errors:", "if False:", "tests/rules"),
    Mutation("VALID in spite of answers without a token", f"{STUDY}/rules/verdict.py",
             'if found and name != "one token"), "")', 'if False), "")',
             "tests/rules tests/report/test_first_screen.py"),
    Mutation("completions before first tokens", f"{SUT}/harness/sut.py",
             "        if firsts:\n            self._tell_firsts(firsts)\n        if dones:\n"
             "            self._tell_dones(dones)\n",
             "        if dones:\n            self._tell_dones(dones)\n        if firsts:\n"
             "            self._tell_firsts(firsts)\n", "tests/harness/test_sut.py"),
    Mutation("a query that is refused is never completed", f"{SUT}/harness/sut.py",
             "        if refused:\n", "        if False:\n", "tests/harness/test_sut.py"),
    Mutation("longest first beyond one pass", f"{SUT}/harness/sut.py",
             "one_pass = self.records.input_tokens, len(self._prompts)",
             "one_pass = self.records.input_tokens, 10**9", "tests/harness/test_sut.py"),
    Mutation("a schedule that does not fit is used", f"{SUT}/harness/loadgen.py",
             "return due if plausible else None", "return due", "tests/harness/test_loadgen.py"),
    Mutation("two answers to one sample", f"{STUDY}/accuracy/log.py",
             "if not np.array_equal(first.tokens, answer.tokens):", "if False:", "tests/accuracy"),
    Mutation("token_count is not the number of ids", f"{STUDY}/accuracy/log.py",
             "answer.token_count != len(answer.tokens)", "False", "tests/accuracy tests/rules"),
    Mutation("prefix caching is vLLM's default", f"{SUT}/params.py",
             "enable_prefix_caching: bool = of_engine(False",
             "enable_prefix_caching: bool = of_engine(True", "tests/test_params.py tests/rules"),
    Mutation("of two cores one is reserved", f"{SUT}/engines/vllm.py",
             "        reserved = 0\n", "        reserved = 1\n", "tests/engines/test_cores.py"),
    Mutation("a pooled connection dies after 5 s", f"{SUT}/http/client.py",
             "KEEP_ALIVE_S = 3.0", "KEEP_ALIVE_S = 30.0", "tests/engines/test_openai.py"),
    Mutation("aiohttp has 100 connections", f"{SUT}/http/client.py",
             "limit=0,", "limit=100,", "tests/engines/test_openai.py"),
    Mutation("a redirect takes the key elsewhere", f"{SUT}/http/client.py",
             "json=asked, allow_redirects=False", "json=asked, allow_redirects=True",
             "tests/engines/test_openai.py"),
    Mutation("a dead server owes least", f"{SUT}/http/client.py",
             "server.aside_until = time.monotonic() + ASIDE_S", "pass",
             "tests/engines/test_openai.py"),
    Mutation("Ollama wraps a prompt twice", f"{SUT}/http/probe.py",
             "raise EngineError(WRAPS)", "pass", "tests/engines/test_dialects.py"),
    Mutation("a checkpoint's code is run unasked", f"{SUT}/checkpoint.py",
             "from_pretrained(folder, trust_remote_code=trust_remote_code)",
             "from_pretrained(folder, trust_remote_code=True)", "tests/inputs/test_own_code.py"),
    Mutation("a chat template calls the clock", f"{STUDY}/inputs/chat.py",
             "return TEMPLATE_DATE.strftime(format)", "return date.today().strftime(format)",
             "tests/inputs/test_chat.py"),
    Mutation("TTFT counts from the issue", f"{STUDY}/analysis/metrics.py",
             '(at_ns["first_token"] - at_ns["scheduled"])',
             '(at_ns["first_token"] - at_ns["issued"])',
             "tests/analysis tests/test_golden.py"),
    Mutation("a Server test's first query is counted", f"{STUDY}/analysis/metrics.py",
             "(len(done) - server) * rate", "len(done) * rate", "tests/analysis"),
    Mutation("a refused query counts as answered", f"{STUDY}/analysis/metrics.py",
             'return frame["done_s"].notna() & (frame["output_tokens"] > 0)',
             'return frame["done_s"].notna()', "tests/analysis"),
    Mutation("JSON has no NaN", f"{SUT}/files.py",
             'inf_nan_mode="null"', 'inf_nan_mode="constants"',
             "tests/facts tests/test_packaging.py tests/results"),
    Mutation("a file cut short is read as whole", f"{STUDY}/params.py",
             "if cls.names()[-1] not in values:", "if False:",
             "tests/test_params.py tests/test_damage.py tests/results"),
    Mutation("a csv row without its last quote is read", f"{STUDY}/inputs/rows.py",
             ', strict=True)', ')', "tests/inputs/test_rows.py"),
    Mutation("the prompts' hash leaves a token out", f"{SUT}/prompts.py",
             'digest.update(self.ids.astype("<i4").tobytes())', "pass", "tests/inputs"),
    Mutation("a secret is written", f"{SUT}/redact.py", "text = text.replace(value, MARK)", "pass",
             "tests/test_redact.py"),
    Mutation("a killed test is read as complete", f"{STUDY}/results/test.py",
             '"status": "interrupted"', '"status": "complete"',
             "tests/results"),
)  # fmt: skip


def caught(mutation: Mutation, copy: Path) -> str:
    """Nothing if a test failed; otherwise why the mutation was not noticed."""
    path = copy / mutation.file
    text = path.read_text(encoding="utf-8")
    if mutation.old not in text:
        return "its text is not in src any more"
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m",
               "not engine and not notebook and not browser", *mutation.tests.split()]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(copy / "src")}
    try:
        done = subprocess.run(command, cwd=copy, env=env, capture_output=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return ""
    finally:
        path.write_text(text, encoding="utf-8")
    return "" if done.returncode == 1 else f"its tests ended with {done.returncode}"


def main() -> int:
    """Spring each trap, or those whose name holds a word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="", help="only traps whose name holds it")
    word = parser.parse_args().word
    chosen = [one for one in MUTATIONS if word in one.trap]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        kept = shutil.ignore_patterns(".venv*", ".git", "__pycache__", ".*_cache", ".hypothesis")
        shutil.copytree(ROOT, copy, ignore=kept)
        missed = 0
        for one in chosen:
            why = caught(one, copy)
            missed += bool(why)
            print(f"{'MISSED' if why else 'caught'}  {one.trap}{f': {why}' if why else ''}",
                  flush=True)  # fmt: skip
    print(f"{len(chosen) - missed} of {len(chosen)} mutations are caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
