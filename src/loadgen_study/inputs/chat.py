"""A prompt as a chat turn, rendered by the checkpoint's own template.

A template is a program of the checkpoint's (Jinja, sandboxed by transformers): it may raise
anything, and may leave out the prompt that it is given.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

from vllm_loadgen.errors import ParameterError

CURE = "give chat_template False, or mend the template"
# The files of a template, and what they then contain; transformers' tokenizers read the first two,
# its processors the third.
TEMPLATE_FILES = {
    "chat_template.jinja": "",
    "tokenizer_config.json": '"chat_template"',
    "chat_template.json": '"chat_template"',
}
MOST_CHARS = 200  # of a template's own message
# What a chat template gets as today's date, so that prompts are the same on every day: the default
# in the chat templates of Llama 3.1 and 3.2.
TEMPLATE_DATE = date(2024, 7, 26)


class FixedClock:
    """Replaces the ``strftime_now`` that transformers gives to chat templates.

    Attributes:
        used: whether a template called it.
    """

    used = False

    def __call__(self, format: str) -> str:
        self.used = True
        return TEMPLATE_DATE.strftime(format)


def add_processor_template(tokenizer: Any, folder: Path) -> None:
    """Give a tokenizer without a chat template the one of its model's processor.

    Checkpoints that read pictures too may keep it in chat_template.json alone.
    """
    file = folder / "chat_template.json"
    if not getattr(tokenizer, "chat_template", None) and file.is_file():
        try:
            tokenizer.chat_template = json.loads(file.read_bytes())["chat_template"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            _refuse(f"{file.name} holds no template ({type(error).__name__})")


def render_chat(tokenizer: Any, prompt: str, clock: FixedClock, system: str = "") -> str:
    """The prompt as a user's turn, followed by what opens the answer.

    Args:
        clock: notes whether the template uses the date.
        system: the system's turn before it, if there is one.

    Raises:
        ParameterError: if the template is missing, fails, or leaves out words of the prompt.
    """
    if not getattr(tokenizer, "chat_template", None):
        _refuse("the model has no chat template", "give chat_template False")
    problem = ""
    # Templates of models that read pictures too may take parts of a turn, and no plain text; the
    # others print such parts as Python writes them.
    forms: tuple[Callable[[str], Any], ...] = (str, lambda text: [{"type": "text", "text": text}])
    for form in forms:
        turns = [{"role": "user", "content": form(prompt)}]
        if system:
            turns.insert(0, {"role": "system", "content": form(system)})
        try:
            text = tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, strftime_now=clock
            )
        except Exception as error:  # of any type, as from any program
            message = " ".join(str(error).split())[:MOST_CHARS]
            problem = problem or f"fails: {message or type(error).__name__}"
            continue
        whole = _holds(text, prompt) and _holds(text, system)
        if whole and "'type': 'text'" not in text.replace(prompt, ""):
            return str(text)
        problem = problem or "leaves out the prompt, or a part of it"
    _refuse(f"{_template(tokenizer)} {problem}")


def _holds(text: str, prompt: str) -> bool:
    """Whether a text has all words of the prompt: a template may strip it, or write it as JSON."""
    forms = (prompt, json.dumps(prompt, ensure_ascii=False)[1:-1])
    return any(" ".join(form.split()) in " ".join(text.split()) for form in forms)


def _template(tokenizer: Any) -> str:
    """The template in words, with its file's name where that is known."""
    folder = Path(getattr(tokenizer, "name_or_path", ""))
    for name, mark in TEMPLATE_FILES.items():
        with suppress(OSError, ValueError):
            if mark in (folder / name).read_text(encoding="utf-8"):
                return f"the model's chat template ({name})"
    return "the model's chat template"


def _refuse(problem: str, cure: str = CURE) -> NoReturn:
    raise ParameterError("chat_template", True, problem, cure)
