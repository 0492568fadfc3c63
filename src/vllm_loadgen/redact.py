"""Secrets, by value and by shape, and how they stay out of what is written."""

import os
import re

from vllm_loadgen.spellings import spelled

SECRET_WORDS = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL")
MARK = "[secret]"
OF_ENVIRONMENT = "value of an environment variable"
# Shapes by which issuers let their secrets be found, as secret scanners have them. None of them is
# a hash or a commit, and none is found within a word or within the base64 of an image.
SHAPES = {
    "Hugging Face token": r"(?:hf|api_org)_[A-Za-z0-9]{30,}",
    "OpenAI or Anthropic key": r"sk-(?:(?:ant|proj|svcacct|admin|or)-[\w-]{20,}|[A-Za-z0-9]{20,})",
    "AWS access key": r"(?<![+/])(?:AKIA|ASIA)[A-Z0-9]{16}(?![\w+/=])",
    "GitHub token": r"gh[opusr]_[A-Za-z0-9]{30,}|github_pat_\w{22,}",
    "GitLab token": r"glpat-[\w-]{20,}",
    "Slack token": r"xox[abeoprs]-[A-Za-z0-9-]{10,}",
    "Google API key": r"(?<![+/])AIza[\w-]{35}(?![\w+/=])",
    "JSON web token": r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
    # To its end, or as far as its base64 goes.
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?s:.{0,20000}?-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\s]*)",
}
_SHAPES = {kind: re.compile(rf"(?<!\w)(?:{shape})") for kind, shape in SHAPES.items()}


def secrets() -> list[str]:
    """Values of environment variables that look like secrets; never to be written anywhere."""
    values = [
        value
        for name, value in os.environ.items()
        if any(word in name.upper() for word in SECRET_WORDS) and len(value) >= 8
    ]
    return sorted(values, key=len, reverse=True)


def secrets_in(text: str) -> list[tuple[str, str]]:
    """The secrets in a text, repeated ones too: (what it is, the secret)."""
    found = []
    for value in secrets():
        found += [(OF_ENVIRONMENT, form) for form in re.findall(spelled(value), text)]
    for kind, shape in _SHAPES.items():
        found += [(kind, match.group()) for match in shape.finditer(text)]
    return found


def scrub(text: str) -> str:
    """``text`` without any secret."""
    for _, value in sorted(secrets_in(text), key=lambda one: len(one[1]), reverse=True):
        text = text.replace(value, MARK)
    return text


def environment_without_secrets() -> dict[str, str]:
    """The environment of a process that must not be able to print a secret."""
    hidden = set(secrets())
    return {name: value for name, value in os.environ.items() if value not in hidden}


def holds_secret(value: object) -> bool:
    """Whether a value contains a secret, however deep."""
    return bool(secrets_in(repr(value)))
