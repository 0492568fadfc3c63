import pytest
from helpers import echo_params, write_articles

from loadgen_study import LiveRun, cli

pytestmark = pytest.mark.process


@pytest.fixture
def params(tmp_path):
    """An echo run of twelve articles into an empty folder."""
    dataset = write_articles(tmp_path / "a.jsonl", 12)
    return echo_params(dataset=str(dataset), outputs=str(tmp_path / "out"), run_name="r")


def test_from_runs_to_a_submission(params, tmp_path, capsys):
    folders = []
    for scenario in ("Offline", "Server"):
        changed = params.changed(scenario=scenario, run_name=scenario)
        with LiveRun.start(changed) as run:
            run.perform("performance")
            run.perform("accuracy")
        run.score()
        folders.append(str(run.folder))
    out = tmp_path / "tree"
    flags = ["--submitter", "me", "--system", "box", "--out", str(out)]
    assert cli.main(["submission", *folders, *flags]) == 0
    assert "the echo engine answered: no model was run" in capsys.readouterr().out
    assert list(out.glob("open/me/results/box/*/Offline/performance/run_1/mlperf_log_detail.txt"))
    assert cli.main(["submission", *folders, *flags, "--division", "shut"]) == 1
    assert "division = 'shut'" in capsys.readouterr().err
