"""What the harness reads of a checkpoint itself: its tokenizer, and how many token ids it has.

A checkpoint may bring code along, which transformers and vLLM run only where that is allowed.
"""

import json
import logging
from pathlib import Path
from typing import Any

from vllm_loadgen.errors import ParameterError

CHECKPOINT_CURE = "fetch the checkpoint again, or give another model"
TOKENIZER_CURE = "give a folder with a tokenizer's files"
CURE = "read that code, and give trust_remote_code True to run it, or give another model"
# The files whose auto_map may name the checkpoint's code for a class of transformers.
MAPS = {
    "AutoTokenizer": ("tokenizer_config.json", "config.json"),
    "AutoConfig": ("config.json",),
    "AutoModelForCausalLM": ("config.json",),
}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object.

    Raises:
        ParameterError: if the file cannot be read or holds something else.
    """
    try:
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
        return values
    except (OSError, ValueError, RecursionError) as error:
        problem = f"{path.name} cannot be read: {error}"
        raise ParameterError("model", str(path.parent), problem, CHECKPOINT_CURE) from None


def vocab_size(folder: Path, trust_remote_code: bool = False) -> int:
    """How many token ids a checkpoint's model has.

    Raises:
        ParameterError: if config.json cannot be read or lacks it.
    """
    config = read_json(folder / "config.json")
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for name in ("vocab_size", "padded_vocab_size"):
            if isinstance(size := part.get(name), int):
                return size
    from transformers import AutoConfig

    try:  # config.json leaves out what is its class's default
        whole = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        return int(whole.get_text_config().vocab_size)
    except Exception as error:  # of any type, by what the file holds
        problem = f"config.json has no vocab_size ({type(error).__name__})"
        raise ParameterError("model", str(folder), problem, CHECKPOINT_CURE) from None


def load_tokenizer(folder: Path, trust_remote_code: bool = False) -> Any:
    """The checkpoint's tokenizer, one of transformers'.

    Raises:
        ParameterError: if the folder has none, or one that is code of the checkpoint's own and may
            not be run.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:
        if not trust_remote_code:
            refuse_own_code(folder, "AutoTokenizer", "AutoConfig")
        detail = " ".join(str(error).replace(str(folder), folder.name).split())[:200]
        problem = f"no tokenizer could be read ({type(error).__name__}: {detail})"
        raise ParameterError("model", str(folder), problem, TOKENIZER_CURE) from None


def own_code(folder: Path, name: str) -> str | None:
    """The checkpoint's own class for a class of transformers', such as "AutoTokenizer".

    Returns:
        "FILE.py (CLASS)", with the repository in front where the code lies in another one; None
        if the checkpoint brings no such class.
    """
    for file in MAPS[name]:
        mapped = read_json(folder / file).get("auto_map") if (folder / file).is_file() else None
        found = mapped.get(name) if isinstance(mapped, dict) else mapped
        if isinstance(found, list):  # a slow and a fast tokenizer, either of which may be null
            found = next((one for one in reversed(found) if one), None)
        if isinstance(found, str) and "." in found:
            module, _, class_name = found.rpartition(".")
            return f"{module.replace('--', ': ')}.py ({class_name})"
    return None


def check_engine(folder: Path) -> None:
    """Refuse a checkpoint whose config.json vLLM can read only by the checkpoint's own code.

    vLLM has classes of its own for some that transformers does not know.

    Raises:
        ParameterError: if it is one.
    """
    if own_code(folder, "AutoConfig") is None:
        return
    from vllm.transformers_utils.config import get_config

    logging.disable()  # vLLM tries twice, and logs each failure
    try:
        get_config(folder, trust_remote_code=False)
    except Exception:  # of any type, by what the file holds
        refuse_own_code(folder, "AutoConfig")
    finally:
        logging.disable(logging.NOTSET)


def refuse_own_code(folder: Path, *names: str) -> None:
    """Raise an error that names the checkpoint's own code, if it brings any of these classes.

    Raises:
        ParameterError: for the first of them.
    """
    for name in names:
        if code := own_code(folder, name):
            problem = f"the checkpoint's {name} is code of its own: {code}"
            raise ParameterError("trust_remote_code", False, problem, CURE)
