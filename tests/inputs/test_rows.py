"""Data files as people have them: rows and checksum of the same bytes, or one line of error."""

import gzip
import hashlib
import json
import os
import pickle

import pandas as pd
import pytest

from loadgen_study.benchmarks.llama3_1_8b import SUMMARIES
from loadgen_study.inputs.rows import read_rows
from vllm_loadgen.errors import ParameterError

WANTED = SUMMARIES.data
ROWS = [{"article": "Größe: 5.", "highlights": "Groß."}, {"article": "B.", "highlights": "C."}]
TEXT = {
    "json": json.dumps(ROWS, ensure_ascii=False),
    "jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    "csv": "article,highlights\nGröße: 5.,Groß.\nB.,C.\n",
}
FORMATS = [*TEXT, "parquet"]


def write(path, rows):
    """A file of these rows in the format of its ending."""
    frame = pd.DataFrame(rows)
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".parquet":
            frame.to_parquet(path)
        case _:
            frame.to_json(path, orient="records", lines=path.suffix == ".jsonl")
    return path


def refused(path, *words):
    with pytest.raises(ParameterError) as caught:
        read_rows(str(path), WANTED)
    message = str(caught.value)
    assert message.startswith("dataset = ")
    assert "\n" not in message
    for word in words:
        assert word in message


def columns(path):
    return read_rows(str(path), WANTED)[0]


@pytest.mark.parametrize("ending", FORMATS)
def test_rows_and_checksum_are_of_the_same_bytes(tmp_path, ending):
    """A file that is replaced under the same name, size and time."""
    path = tmp_path / f"d.{ending}"
    for text in ("old text", "new text"):
        write(path, [{"article": text, "highlights": text}])
        os.utime(path, (1, 1))
        found, checksum = read_rows(str(path), WANTED)
        assert found == {"article": [text], "highlights": [text]}
        assert checksum == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize(
    "cell",
    ["None", "NA", "null", "NULL", "nan", "N/A", "#N/A", "007", "1.10", "true", "1e5", "inf"],
)
def test_a_cell_of_csv_is_text_as_written(tmp_path, cell):
    path = tmp_path / "d.csv"
    path.write_text(f"article,highlights\n{cell},{cell}\n")
    assert columns(path) == {"article": [cell], "highlights": [cell]}


@pytest.mark.parametrize("row", [",b", '"",b', "a", "a,", " ,b"])
def test_an_empty_cell_alone_is_missing(tmp_path, row):
    path = tmp_path / "d.csv"
    path.write_text(f"article,highlights\nx,y\n{row}\n")
    refused(path, "row 1", "in the column")


@pytest.mark.parametrize("ending", ["json", "jsonl"])
@pytest.mark.parametrize("unused", [[7, "1a"], [10**30, None], [{"a": 1}, [1]], ["", "\ud83d"]])
def test_an_unused_column_may_hold_anything(tmp_path, ending, unused):
    path = tmp_path / f"d.{ending}"
    rows = [row | {"id": value} for row, value in zip(ROWS, unused, strict=True)]
    path.write_text(json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows)))
    assert columns(path)["highlights"] == ["Groß.", "C."]


def test_the_unused_columns_of_other_files_may_hold_anything(tmp_path):
    (tmp_path / "d.csv").write_text("id,article,highlights,m\n7,a,b,\n1a,a,b\n")
    assert set(columns(tmp_path / "d.csv")) == {"article", "highlights"}
    odd = {"id": [b"\xff", None], "m": [{"a": 1}, {"a": None}]}
    frame = pd.DataFrame(ROWS).assign(**odd)
    frame.to_parquet(tmp_path / "d.parquet")
    assert set(columns(tmp_path / "d.parquet")) == {"article", "highlights"}


@pytest.mark.parametrize("ending", TEXT)
@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_another_encoding_is_named_with_its_cure(tmp_path, ending, encoding):
    path = tmp_path / f"d.{ending}"
    path.write_bytes(TEXT[ending].encode(encoding))
    name = encoding.upper() if "utf" in encoding else "Windows-1252"
    refused(path, name, "Save it as UTF-8", f"iconv -f {name.upper()}")


@pytest.mark.parametrize("ending", TEXT)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_byte_order_mark_and_windows_lines_change_nothing(tmp_path, ending, newline):
    path = tmp_path / f"d.{ending}"
    path.write_bytes(TEXT[ending].replace("\n", newline).encode("utf-8-sig"))
    assert columns(path) == {
        name: [row[name] for row in ROWS] for name in ("article", "highlights")
    }


@pytest.mark.parametrize("ending", FORMATS)
def test_what_is_no_data_file_is_named(tmp_path, ending):
    for content, words in (
        (b"", "it is empty"),
        (b" \n\n", "it is empty"),
        (gzip.compress(b"x"), "compressed by gzip"),
        (b"PK\x03\x04...", "Excel"),
    ):
        path = tmp_path / f"d.{ending}"
        path.write_bytes(content)
        refused(path, words)
    refused(tmp_path, "it is a folder")
    packed = tmp_path / f"d.{ending}.gz"
    packed.write_bytes(gzip.compress(b"x"))
    refused(packed, "compressed by gzip", "Unpack it")


def test_a_pickle_is_never_read(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    path = tmp_path / "open_orca.pkl"
    path.write_bytes(pickle.dumps([Trap()]))
    refused(path, "reading one runs the code in it", "docker run --rm --network none")
    assert not (tmp_path / "sprung").exists()


def test_a_parquet_file_by_another_name(tmp_path):
    write(tmp_path / "d.parquet", ROWS).rename(tmp_path / "d.csv")
    refused(tmp_path / "d.csv", "parquet", "Name it .parquet")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def read_bytes(path):
        raise PermissionError(13, "Permission denied", str(path))

    write(tmp_path / "d.csv", ROWS)
    monkeypatch.setattr("pathlib.Path.read_bytes", read_bytes)
    refused(tmp_path / "d.csv", "it cannot be read (Permission denied)")


# json ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("orient", ["columns", "index", "split", "table", "values"])
def test_columns_of_pandas_are_not_rows(tmp_path, orient):
    path = tmp_path / "d.json"
    pd.DataFrame(ROWS).to_json(path, orient=orient)
    refused(path, "orient='records'")
    if orient == "columns":
        refused(path, "columns, not rows")


@pytest.mark.parametrize(
    "value",
    [
        {"article": ["a", "b"], "highlights": ["c", "d"]},
        {"tok_input": [[1], [2]], "output": ["c", "d"]},
        {"data": ROWS},
        {"version": 1, "data": ROWS},
        {"splits": {"train": ROWS}},
    ],
)
def test_an_object_around_the_rows_is_refused(tmp_path, value):
    path = tmp_path / "d.json"
    path.write_text(json.dumps(value))
    refused(path, "Save a list of rows")


@pytest.mark.parametrize("text", ["5", '"x"', "null", "[1]", "[[1, 2]]", '{"article": "a"}\n7'])
def test_a_row_is_an_object(tmp_path, text):
    path = tmp_path / "d.json"
    path.write_text(text)
    refused(path, "row ", "is not an object")


def test_rows_may_follow_each_other_over_several_lines(tmp_path):
    path = tmp_path / "d.json"
    path.write_text("\n".join(json.dumps(row, indent=1) for row in ROWS))
    assert columns(path)["article"] == ["Größe: 5.", "B."]


def test_a_broken_line_is_named_by_its_number(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(ROWS[0]) + '\n{"article": x}\n')
    refused(path, "line 2 column 13")


def test_half_a_character_is_no_text(tmp_path):
    path = tmp_path / "d.json"
    path.write_text('[{"article": "a \\ud83d b", "highlights": "c"}]')
    refused(path, "row 0 has no text in the column article")


def test_the_text_beside_token_ids_may_be_missing(tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps([{"tok_input": [1], "output": "x", "input": 5, "id": 1}]))
    assert columns(path) == {"tok_input": [[1]], "output": ["x"], "input": [5]}


# csv ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "article"),
    [
        ('article,highlights\n"a\nb, ""c""",d\n', 'a\nb, "c"'),
        ('article,highlights\r\n"a\r\nb",d\r\n', "a\r\nb"),
        ('\ufeff"article","highlights"\na,d\n', "a"),
        ("article,highlights\n\na,d\n \n", "a"),
        ("article,highlights,x,x\na,d\n", "a"),
        ("article,highlights\na,d,,\n", "a"),
        (",highlights,article\n0,d,a\n", "a"),
        (f"article,highlights\n{'w' * 200_000},d\n", "w" * 200_000),
    ],
)
def test_csv_as_programs_write_it(tmp_path, text, article):
    path = tmp_path / "d.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert columns(path) == {"article": [article], "highlights": ["d"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("article;highlights\na;b\n", "separated by ';'"),
        ("article\thighlights\na\tb\n", "separated by '\\t'"),
        ("article,highlights,article\na,b,c\n", "the column article twice"),
        ("article,highlights\na,b,c\n", "line 2 has 3 cells, and the header 2"),
        ('article,highlights\n"a\nb",c\nd,e,f\n', "line 4 has 3 cells"),
        ('article,highlights\na,b\n"c,d\ne,f\n', "the row in line 3 cannot be read"),
        ("article, highlights\na, b\n", "the columns article, ' highlights'"),
        ("article,highlights\n", "it has no rows"),
        (",".join(f"column {n}" for n in range(99)) + "\n", "and 91 more"),
    ],
)
def test_a_csv_that_would_be_misread_is_refused(tmp_path, text, words):
    path = tmp_path / "d.csv"
    path.write_text(text)
    refused(path, words)
