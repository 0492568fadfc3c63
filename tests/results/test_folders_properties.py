"""No folder of a path leaves the machine, in whatever encoding a file has the path."""

import html
import json
import re
import shlex
from html.entities import codepoint2name
from itertools import product
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen_study import share
from loadgen_study.report.embed import PLAIN
from loadgen_study.results.folders import portable, portable_path, without_paths

pytestmark = pytest.mark.slow

ODD = " '\"`äÖß市😀[](){}<>&%+#;,=@!$^~-_.:|\\"


def named_entities(text):
    names = {code: f"&{name};" for code, name in codepoint2name.items()}
    return text.translate(names)


def lower_percent(text):
    return "".join(f"%{byte:02x}" if byte in b" %'\"" or byte > 127 else chr(byte)
                   for byte in text.encode())  # fmt: skip


def escaped_slashes(text):
    return json.dumps(text).replace("/", "\\/")


def folded_yaml(text):
    return yaml.safe_dump({"dataset": text}, width=20, allow_unicode=True)


def in_download(text):
    return html.escape(quote(json.dumps({"text/html": html.escape(text)}), safe=PLAIN))


def backslashes(text):
    return re.sub(r"([^\w/.~-])", r"\\\1", text)


ENCODINGS = {
    "plain": str,
    "percent": lambda text: quote(text),
    "percent, all": lambda text: quote(text, safe=""),
    "percent, lower case": lower_percent,
    "percent, twice": lambda text: quote(quote(text)),
    "percent, + for blank": lambda text: quote_plus(text, safe="/"),
    "URL": lambda text: f"file://{quote(text)}",
    "JSON": json.dumps,
    "JSON, UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON, escaped slashes": escaped_slashes,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "HTML": html.escape,
    "HTML, names": named_entities,
    "HTML, numbers": lambda text: text.encode("ascii", "xmlcharrefreplace").decode(),
    "HTML in JSON": lambda text: json.dumps(html.escape(text)),
    "JSON in HTML": lambda text: html.escape(json.dumps(text)),
    "shell": shlex.quote,
    "shell, backslashes": backslashes,
    "shell in JSON in HTML": lambda text: html.escape(json.dumps(shlex.quote(text))),
    "shell in HTML in JSON": lambda text: json.dumps(html.escape(shlex.quote(text))),
    "Python": repr,
    "ASCII": ascii,
    "YAML": folded_yaml,
    "YAML, ASCII": lambda text: yaml.safe_dump([text], width=1000),
    "YAML in JSON": lambda text: json.dumps(folded_yaml(text)),
    "a report's download": in_download,
}
odd = st.text(ODD, max_size=4)
# A name with a letter at each end: what is beside a path in a text is no part of it.
folders = st.builds("x{}zebra{}x".format, odd, odd)
places = st.sampled_from(["data", "home", "srv", "opt"])
names = st.builds("g{}g.csv".format, odd)
paths = st.builds("/{}/{}/{}/{}".format, places, folders, folders, names)
around = st.sampled_from(["{}", "-p dataset {} -p seed 1", "<td>{}</td>", "x = {}\n", "see {}: no"])


@settings(max_examples=20)
@given(path=paths, text=around)
def test_a_known_path_is_replaced_whole(path, text):
    for encoding in ENCODINGS.values():
        seen, found = without_paths(text.format(encoding(path)), [Path(path)])
        assert found
        if not path.startswith("/home/"):  # of which it is ~ and the rest
            assert "zebra" not in seen
        assert without_paths(seen, [Path(path)]) == (seen, [])


@settings(max_examples=8)
@given(name=folders, rest=names)
def test_the_project_and_the_home_are_replaced_whole(name, rest, tmp_path_factory):
    base = tmp_path_factory.getbasetemp() / "zebra's ä"
    project = base / name / "project"
    (project / "notebooks").mkdir(parents=True, exist_ok=True)
    (project / "pyproject.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("HOME", str(base / name))
        for path, encoding in product((project / rest, base / name / rest), ENCODINGS.values()):
            seen, found = without_paths(f"see {encoding(str(path))}")
            assert found
            assert "zebra" not in seen
            assert without_paths(seen) == (seen, [])
        assert portable_path(str(project / rest)) == rest
        assert portable_path(str(base / name / rest)) == f"~/{rest}"


@given(
    place=places,
    inner=folders.filter(lambda name: not set("<>`") & set(name)),
    name=names.filter(lambda name: not set("<>`") & set(name)),
    quoted=st.sampled_from([shlex.quote, repr]),
)
def test_a_path_in_quotes_is_replaced_whole_though_nobody_knows_it(place, inner, name, quoted):
    seen = portable(f"-p dataset {quoted(f'/{place}/{inner} x/{name}')} -p seed 1")
    assert "zebra" not in seen
    assert without_paths(seen) == (seen, [])


@pytest.mark.parametrize("suffix", [".txt", ".json", ".yaml", ".html", ".ipynb"])
@settings(max_examples=20)
@given(path=paths)
def test_check_finds_and_clean_removes_it_from_each_kind_of_file(tmp_path_factory, suffix, path):
    text = "".join(f"of {encoding(path)}\n" for encoding in ENCODINGS.values())
    file = tmp_path_factory.mktemp("run") / f"a{suffix}"
    match suffix:
        case ".json":
            file.write_text(json.dumps({"a": [text], text: 1}))
        case ".ipynb":
            output = {"output_type": "stream", "name": "stdout", "text": [text, text]}
            file.write_text(json.dumps({"cells": [{"source": text, "outputs": [output]}]}))
        case ".yaml":
            file.write_text(yaml.safe_dump({"dataset": text}))
        case _:
            file.write_text(text)
    known = [Path(path)]
    assert {leak.kind for leak in share.check(file, known)} == {"absolute path"}
    assert share.clean(file, known) == []
    if not path.startswith("/home/"):
        assert "zebra" not in file.read_text()
