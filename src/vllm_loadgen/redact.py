"""Secrets of the environment, and how they stay out of what is written."""

import os

SECRET_WORDS = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL")


def secrets() -> list[str]:
    """Values of environment variables that look like secrets; never to be written anywhere."""
    values = [
        value
        for name, value in os.environ.items()
        if any(word in name.upper() for word in SECRET_WORDS) and len(value) >= 8
    ]
    return sorted(values, key=len, reverse=True)


def scrub(text: str) -> str:
    """``text`` without any of ``secrets``."""
    for value in secrets():
        text = text.replace(value, "[secret]")
    return text


def environment_without_secrets() -> dict[str, str]:
    """The environment for a process that must not print a secret, since it has none."""
    hidden = set(secrets())
    return {name: value for name, value in os.environ.items() if value not in hidden}


def holds_secret(value: object) -> bool:
    """Whether a secret of the environment stands in a value, however deep."""
    text = repr(value)
    return any(secret in text for secret in secrets())
