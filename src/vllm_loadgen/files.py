"""The one writer of a run's files: each is there whole or not at all, and JSON never holds NaN."""

from pathlib import Path

import pandas as pd
from pydantic_core import to_json


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all (a full disk leaves no half file)."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file; NaN and infinity, which JSON has not, become null.

    Args:
        value: a pydantic model, or plain values; numpy's numbers are taken as floats.
    """
    write_text(path, to_json(value, indent=2, inf_nan_mode="null", fallback=float).decode() + "\n")


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as parquet, without its index."""
    part = path.with_name(f"{path.name}.part")
    frame.to_parquet(part, index=False)
    part.replace(path)
