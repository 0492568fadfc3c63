import json

import pytest
from helpers import write_articles

from loadgen_study.benchmarks.llama3_1_8b import SUMMARIES
from loadgen_study.inputs import data
from loadgen_study.params import RunParams
from vllm_loadgen.errors import ParameterError


class Words:
    """A tokenizer of one token a word, with a chat template."""

    chat_template = "..."

    def apply_chat_template(self, turns, tokenize, add_generation_prompt, strftime_now):
        return f"<user> {turns[0]['content']} <assistant>"

    def encode(self, text, add_special_tokens):
        words = text.split()
        return list(range(len(words) + add_special_tokens))


def load(path, tokenizer=None, **changes):
    values = {"dataset": str(path), "instruction": "Shorten: {input}", "chat_template": "off"}
    params = RunParams.from_dict({**values, **changes})
    return data.load_samples(params, tokenizer or Words())


def test_instruction_template_and_facts(tmp_path):
    path = write_articles(tmp_path / "a.jsonl", 3)
    samples = load(path, chat_template="on")
    # <user> Shorten: + 6 words of the article + <assistant>
    assert [len(prompt) for prompt in samples.prompts] == [9, 9, 9]
    assert samples.references[2] == "Vote 2."
    assert samples.facts.input_tokens.model_dump() == {"min": 9, "mean": 9.0, "max": 9}
    assert samples.facts.checksum.startswith("sha256:")
    assert samples.facts.chat_template is True
    # Without the template the tokenizer adds its own special token.
    assert len(load(path).prompts[0]) == 8


def test_first_samples_only(tmp_path):
    samples = load(write_articles(tmp_path / "a.jsonl", 5), num_samples=2)
    assert len(samples) == samples.facts.samples == 2
    assert samples.facts.total_samples == 5


def test_mlcommons_file_is_used_as_it_is(tmp_path):
    rows = [
        {"instruction": "x", "input": "An article.", "tok_input": [5, 6, 7 + i], "output": "Ref."}
        for i in range(2)
    ]
    path = tmp_path / "cnn_eval.json"
    path.write_text(json.dumps(rows))
    samples = load(path)
    assert list(map(list, samples.prompts)) == [[5, 6, 7], [5, 6, 8]]
    assert samples.references == ["Ref.", "Ref."]
    assert samples.facts.tokenized_by == "the file (tok_input)"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_other_file_types(tmp_path, ending):
    import pandas as pd

    frame = pd.DataFrame({"article": ["One two."], "highlights": ["One."]})
    path = tmp_path / f"a.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    assert load(path).references == ["One."]


def test_bad_files_name_the_dataset(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('[{"article": "x", ')
    empty = write_articles(tmp_path / "hollow.jsonl", 2, article="", highlights="y")
    columns = write_articles(tmp_path / "columns.jsonl", 2, text="x")
    for path, words in (
        (broken, "cannot be read as json"),
        (columns, "it has the columns text"),
        (empty, "row 0 has nothing in the column article"),
        (tmp_path / "missing.jsonl", "there is no such file"),
        (tmp_path / "notes.txt", "there is no such file"),
    ):
        with pytest.raises(ParameterError, match=f"dataset = .*{words}"):
            load(path)


def test_too_many_samples(tmp_path):
    with pytest.raises(ParameterError, match="num_samples = 9: the dataset has 2"):
        load(write_articles(tmp_path / "a.jsonl", 2), num_samples=9)


def test_an_over_long_prompt_names_the_length_needed(tmp_path):
    path = write_articles(tmp_path / "a.jsonl", 2, article="w " * 50, highlights="y")
    with pytest.raises(ParameterError, match=r"max_model_len = 100: sample 0 needs 180 tokens"):
        load(path, max_model_len=100)


def test_a_chat_template_that_is_not_there(tmp_path):
    tokenizer = Words()
    tokenizer.chat_template = None
    with pytest.raises(ParameterError, match="chat_template = True"):
        load(write_articles(tmp_path / "a.jsonl", 1), tokenizer, chat_template="on")


def test_the_hubs_dataset_has_the_reference_prompt(monkeypatch):
    import datasets

    rows = datasets.Dataset.from_dict({"id": ["1"], "article": ["A b c"], "highlights": ["d"]})
    asked = []

    def load_dataset(*names, **options):
        asked.append((*names, options["split"]))
        return rows

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    params = RunParams(dataset="cnn_dailymail", chat_template="off")
    seen = []
    tokenizer = Words()
    monkeypatch.setattr(tokenizer, "encode", lambda text, **_: seen.append(text) or [1, 2])
    samples = data.load_samples(params, tokenizer)
    assert asked == [("abisee/cnn_dailymail", "3.0.0", "validation")]
    assert seen == [SUMMARIES.instruction.replace("{input}", "A b c")]
    assert samples.facts.checksum.startswith("fingerprint:")
    assert samples.references == ["d"]


def test_a_hub_that_cannot_be_reached_is_one_error(monkeypatch):
    import datasets

    def load_dataset(*_, **__):
        raise ConnectionError("with a token in it")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        ParameterError,
        match=r"dataset = 'cnn_dailymail': download from the Hugging Face Hub failed",
    ):
        data.load_samples(RunParams(dataset="cnn_dailymail"), Words())


def test_text_for_a_model_without_a_tokenizer(tmp_path):
    path = write_articles(tmp_path / "a.jsonl", 3)
    params = RunParams(dataset=str(path), load_format="dummy")
    with pytest.raises(ParameterError, match="it is text, and the model's folder holds no token"):
        data.load_samples(params, None)


@pytest.mark.parametrize("value", [5, ["a"], {"a": 1}, True, " "])
@pytest.mark.parametrize("column", ["article", "highlights"])
def test_articles_and_references_are_text(tmp_path, column, value):
    row = {"article": "A b.", "highlights": "C."} | {column: value}
    path = tmp_path / "odd.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(
        ParameterError, match=f"dataset = .*row 0 has no text in the column {column}"
    ):
        load(path)


@pytest.mark.parametrize("ids", ["1 2", ["a"], 3, [1, None], [[1]], [1.5, 2], [-1, 2], [1, 2**40]])
def test_token_ids_are_whole_numbers(tmp_path, ids):
    path = tmp_path / "odd.json"
    path.write_text(json.dumps([{"tok_input": ids, "output": "x"}]))
    with pytest.raises(ParameterError, match=r"dataset = .*row 0 has no token ids"):
        load(path)


def test_token_ids_are_those_of_the_model(tmp_path):
    path = tmp_path / "far.json"
    rows = [{"tok_input": ids, "output": "x"} for ids in ([1], [1, 49152, 50000])]
    path.write_text(json.dumps(rows))
    samples = load(path)
    with pytest.raises(ParameterError, match="sample 1 holds the token id 50000"):
        data.check_ids(samples, 49152, str(path))


def test_a_name_with_wildcards_is_that_file_alone(tmp_path):
    write_articles(tmp_path / "brk1.jsonl", 1)
    write_articles(tmp_path / "starA.jsonl", 3)
    for name, count in (("brk[1].jsonl", 2), ("star*.jsonl", 4)):
        samples = load(write_articles(tmp_path / name, count))
        assert len(samples) == count
        assert samples.facts.name == name


@pytest.mark.parametrize("name", ["~nosuchuser/x.jsonl", "x" * 5000])
def test_names_that_no_system_takes_are_no_files(name):
    with pytest.raises(ParameterError, match=r"dataset = .*there is no such file"):
        load(name)


def test_the_type_of_a_file_is_told_in_any_case(tmp_path):
    assert len(load(write_articles(tmp_path / "U.JSONL", 2))) == 2
    with pytest.raises(ParameterError, match=r"files of type \.txt are not read"):
        load(write_articles(tmp_path / "t.txt", 2))


@pytest.mark.parametrize("text", ["null", 'null\n{"article": "a", "highlights": "b"}', "[null]"])
def test_a_row_of_nothing_does_not_end_the_process(tmp_path, text):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(ParameterError, match="dataset = "):
        load(path)


def test_a_line_may_hold_what_ends_lines_elsewhere(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = {"article": "The council\u2028voted.", "highlights": "A vote."}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\r\n")
    assert load(path).texts == [row["article"]]


def test_references_that_rouge_cannot_score_are_counted(tmp_path):
    path = tmp_path / "mixed.jsonl"
    rows = [{"article": "A b.", "highlights": text} for text in ("A.", "建桥。", "...", "7")]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert load(path).facts.unscorable_references == 2
    assert load(path, num_samples=1).facts.unscorable_references == 0
