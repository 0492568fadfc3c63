"""How facts are kept: frozen records, written by one writer, read back with one error."""

import math
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator

from vllm_loadgen import files
from vllm_loadgen.errors import BenchmarkError

# Raised when a file's meaning changes; a field that is added with a default does not raise it.
SCHEMA_VERSION = 1

# A figure that may be unknown: NaN here, null in the file.
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]


class Part(BaseModel):
    """A frozen piece of facts. Fields of a later version are ignored."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", protected_namespaces=(), populate_by_name=True
    )


class Facts(Part):
    """The content of one JSON file."""

    schema_version: int = SCHEMA_VERSION

    @field_validator("schema_version")
    @classmethod
    def _is_known(cls, version: int) -> int:
        if version > SCHEMA_VERSION:
            raise ValueError(f"schema version {version} is newer than this program's")
        return version

    @classmethod
    def read(cls, path: Path) -> Self:
        """The facts in a file.

        Raises:
            BenchmarkError: if it is missing, damaged or of a later version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            problem = error.strerror or type(error).__name__
        except ValidationError as error:
            problem = describe(error)
        raise BenchmarkError(f"{path} cannot be read: {problem}. Run again in a new folder.")

    @classmethod
    def read_if_there(cls, path: Path) -> Self | None:
        """The facts in a file, None where there is no such file."""
        return cls.read(path) if path.is_file() else None

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        files.write_json(path, self)


def describe(error: ValidationError) -> str:
    """The first fault that pydantic found, with its place, as one line."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else str(first["msg"])


def as_number(value: object) -> float | None:
    """A value of a JSON file; None if it is not a number, or an integer beyond any float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
