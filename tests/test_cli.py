import pytest
from helpers import RESULT, ROOT, make_records, write_facts, write_test

from loadgen_study import RunParams, cli


def test_a_bad_parameter_is_one_line(capsys):
    assert cli.main(["report", "-p", "target_qsp", "1"]) == 1
    assert "target_qsp = 1: is not a parameter" in capsys.readouterr().err


def test_help_fits_a_screen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in (["--help"], ["report", "--help"], ["submission", "--help"]):
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main(arguments)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 100


def test_values_are_read_as_their_parameter_has_them(monkeypatch, tmp_path):
    given = {}

    def make_report(params, values):
        given["params"] = params
        return tmp_path

    monkeypatch.setattr("loadgen_study.report.make.make_report", make_report)
    monkeypatch.setattr("loadgen_study.report.make.summary_lines", lambda _: [])
    monkeypatch.delenv("VLLM_LOADGEN_COMMAND", raising=False)
    flags = {
        "chat_template": "off", "run_name": "2026-11-24", "target_qps": "auto",
        "sweep_qps": "[1, 2]", "model_revision": "null", "quantization": "fp8",
    }  # fmt: skip
    arguments = [part for name, value in flags.items() for part in ("-p", name, value)]
    assert cli.main(["report", *arguments]) == 0
    params = given["params"]
    assert params.chat_template is False
    assert (params.run_name, params.target_qps) == ("2026-11-24", "auto")
    assert (params.sweep_qps, params.model_revision) == ([1.0, 2.0], None)
    assert params.quantization == "fp8"


def test_text_that_is_no_yaml_is_refused_by_name(capsys):
    assert cli.main(["report", "-p", "sweep_qps", "["]) == 1
    assert "sweep_qps = '['" in capsys.readouterr().err


def test_a_run_that_is_none_has_no_report(tmp_path, capsys):
    assert cli.main(["render", str(tmp_path)]) == 1
    assert "holds no params.yaml" in capsys.readouterr().err


def test_a_submission_of_half_a_run_is_refused(tmp_path, capsys):
    folder = write_facts(tmp_path / "run", RunParams())
    write_test(folder / "performance", RESULT, make_records([(0, 0, 0, 1, 2, 9, 5)]))
    flags = ["--submitter", "me", "--system", "box", "--out", str(tmp_path / "tree")]
    assert cli.main(["submission", str(folder), *flags]) == 1
    captured = capsys.readouterr()
    assert "Would be refused: llama3.1-8b/Server: missing_check" in captured.out
    assert "performance lacks mlperf_log_summary.txt. Run the test again." in captured.err
    assert not (tmp_path / "tree").exists()


def test_no_error_shows_a_secret(monkeypatch, capsys):
    monkeypatch.setenv("MY_TOKEN", "abcd1234efgh")
    assert cli.main(["render", "/nowhere/abcd1234efgh"]) == 1
    assert "/nowhere/[secret]" in capsys.readouterr().err


def test_all_parameters_are_listed(capsys):
    assert cli.main(["parameters"]) == 0
    shown = capsys.readouterr().out
    assert all(f"| `{name}` |" in shown for name in RunParams.model_fields)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["doctor"], "params file = 'params/cpu.yaml'"),
        (["check", "outputs/example"], "outputs/example"),
        (["report", "--params", str(ROOT / "params" / "cpu.yaml")], "from within it"),
        (["render", str(ROOT / "outputs" / "example")], "from within it"),
    ],
)
def test_an_error_outside_of_the_checkout_says_so(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 1
    shown = capsys.readouterr().err
    assert words in shown
    assert "outside of the project's checkout" in shown
    assert shown.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_working_directory_that_was_removed_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr().err
    assert "The working directory does not exist any more" in shown
    assert shown.count("\n") == 1
