"""Chat templates of checkpoints, rendered by transformers' own code."""

import json

import pytest

from loadgen_study.inputs.chat import FixedClock, add_processor_template, render_chat
from vllm_loadgen.errors import ParameterError

PROMPT = "Summarize:\n The town's “council” voted.  "
PLAIN = "<u>{{ messages[0]['content'] | trim }}</u>"
PARTS = "<u>{% for part in messages[0]['content'] %}{{ part['text'] }}{% endfor %}</u>"


class Tokenizer:
    """A tokenizer that renders as transformers' do."""

    def __init__(self, folder, template=None):
        self.name_or_path, self.chat_template = str(folder), template

    def apply_chat_template(self, turns, tokenize, add_generation_prompt, **given):
        from transformers import PreTrainedTokenizerFast
        from transformers.utils.chat_template_utils import render_jinja_template

        template = PreTrainedTokenizerFast.get_chat_template(self)
        return render_jinja_template([turns], chat_template=template, **given)[0][0]


@pytest.mark.process
@pytest.mark.parametrize(
    ("template", "text"),
    [
        (PLAIN, f"<u>{PROMPT.strip()}</u>"),
        (PARTS, f"<u>{PROMPT}</u>"),
        (
            "{{ messages | tojson }}",
            json.dumps([{"role": "user", "content": PROMPT}], ensure_ascii=False),
        ),
        ({"default": PLAIN, "rag": "{{ 1 }}"}, f"<u>{PROMPT.strip()}</u>"),
    ],
)
def test_a_template_that_holds_the_prompt(tmp_path, template, text):
    assert render_chat(Tokenizer(tmp_path, template), PROMPT, FixedClock()) == text


@pytest.mark.process
def test_a_system_prompt_is_a_turn_before(tmp_path):
    turns = "{% for turn in messages %}[{{ turn['role'] }}] {{ turn['content'] }}{% endfor %}"
    found = render_chat(Tokenizer(tmp_path, turns), "Ask.", FixedClock(), "Be kind.")
    assert found == "[system] Be kind.[user] Ask."
    deaf = Tokenizer(tmp_path, "{{ messages[-1]['content'] }}")
    with pytest.raises(ParameterError, match="leaves out the prompt, or a part of it"):
        render_chat(deaf, "Ask.", FixedClock(), "Be kind.")


@pytest.mark.process
def test_a_template_that_asks_for_the_date_gets_the_same_on_every_day(tmp_path):
    clock = FixedClock()
    dated = Tokenizer(tmp_path, "{{ strftime_now('%d %b %Y') }}: " + PARTS)
    render_chat(Tokenizer(tmp_path, PLAIN), PROMPT, clock)
    assert not clock.used
    assert render_chat(dated, PROMPT, clock) == f"26 Jul 2024: <u>{PROMPT}</u>"
    assert clock.used


@pytest.mark.process
@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('A system message must come first') }}", "A system message must come"),
        ("{% for x in %}", "Expected an expression"),
        ("{{ nothing.there }}", "'nothing' is undefined"),
        ("{{ messages[0]['content'] + 1 }}", "can only concatenate str"),
        ({"rag": PLAIN, "tool_use": PLAIN}, "no default"),
        (5, "fails"),
        ("", "no chat template"),
        (" ", "leaves out the prompt"),
        ("<u></u>", "leaves out the prompt"),
        ("{{ messages[0]['content'][:12] }}", "leaves out the prompt"),
    ],
)
def test_a_template_that_fails_is_one_line_with_its_file(tmp_path, template, words):
    (tmp_path / "chat_template.jinja").write_text("...", encoding="utf-8")
    with pytest.raises(ParameterError, match="chat_template = True") as caught:
        render_chat(Tokenizer(tmp_path, template), PROMPT, FixedClock())
    told = str(caught.value)
    assert words in told
    assert "ive chat_template False" in told
    assert "\n" not in told
    assert template == "" or "(chat_template.jinja)" in told


@pytest.mark.parametrize("file", ["tokenizer_config.json", "chat_template.json"])
def test_the_file_of_a_template(tmp_path, file):
    (tmp_path / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    (tmp_path / file).write_text('{"chat_template": "{{ 1 }}"}', encoding="utf-8")
    tokenizer = Tokenizer(tmp_path, "x")
    tokenizer.apply_chat_template = lambda *_, **__: ""
    with pytest.raises(ParameterError, match=f"\\({file}\\) leaves out"):
        render_chat(tokenizer, PROMPT, FixedClock())


def test_a_processors_template_is_the_tokenizers(tmp_path):
    tokenizer, file = Tokenizer(tmp_path), tmp_path / "chat_template.json"
    add_processor_template(tokenizer, tmp_path)
    assert tokenizer.chat_template is None
    file.write_text(json.dumps({"chat_template": PLAIN}), encoding="utf-8")
    add_processor_template(tokenizer, tmp_path)
    assert tokenizer.chat_template == PLAIN
    for damaged in ("{", "[]", "{}"):
        file.write_text(damaged, encoding="utf-8")
        with pytest.raises(ParameterError, match=r"chat_template\.json holds no template"):
            add_processor_template(Tokenizer(tmp_path), tmp_path)
