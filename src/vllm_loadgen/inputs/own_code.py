"""Code that a checkpoint brings along: transformers and vLLM run it only where that is allowed."""

import logging
from pathlib import Path

from vllm_loadgen.errors import ParameterError
from vllm_loadgen.inputs.config import read_json

CURE = "read that code, and give trust_remote_code True to run it, or give another model"
# The files whose auto_map names the code of a class of transformers'.
MAPS = {
    "AutoTokenizer": ("tokenizer_config.json", "config.json"),
    "AutoConfig": ("config.json",),
    "AutoModelForCausalLM": ("config.json",),
}


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
    """Refuse a checkpoint whose config.json vLLM reads by the checkpoint's own code alone.

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
