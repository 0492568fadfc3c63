"""Parameters from YAML files and command lines: each value is read as its parameter's type.

YAML 1.1 turns the text 1.10 into a number, yes into a boolean and 2026-11-24 into a date. A
parameter that takes text keeps the text itself.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from vllm_loadgen.errors import ParameterError

# The types of parameters, by their names.
Types = Mapping[str, Any]
# A line of user.conf, such as: *.Server.target_qps = 1.0
_USER_CONF = re.compile(r"^[ \t]*([\w*.-]+)\.(\w+|\*)\.(\w+)[ \t]*=[ \t]*(\S+)", re.MULTILINE)
_NULLS = ("", "~", "null", "Null", "NULL", "None")
_TAG = "tag:yaml.org,2002:"
CURE = "give a YAML file of 'name: value' lines, such as params/cpu.yaml"


class KeyTwice(ValueError):
    """A YAML mapping has a key twice."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that a mapping has twice; the last one would win silently."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    where = f"lines {lines[key.value]} and {line}"
                    raise KeyTwice(f"gives {key.value} twice ({where})")
                lines[key.value] = line
        return node


def kinds(annotation: Any) -> set[Any]:
    """The types that an annotation allows, without their constraints."""
    if get_origin(annotation) is Annotated:
        return kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set[Any]().union(*map(kinds, get_args(annotation)))
    return {get_origin(annotation) or annotation}


def takes_text(annotation: Any) -> bool:
    """Whether a parameter of this type takes any text, or nothing but certain words."""
    found = kinds(annotation) - {NoneType}
    return str in found or found == {Literal}


def plain_yaml(text: str, types: Types | None = None) -> Any:
    """The plain values in a YAML text.

    Args:
        types: of the values of the outermost mapping, by name.

    Raises:
        KeyTwice: if a mapping has a key twice.
        ValueError: if it is not YAML, or holds other objects or a reference to itself.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if isinstance(node, yaml.MappingNode) and types is not None:
            _keep_text(node, types)
        values = loader.construct_document(node) if node is not None else None
        json.dumps(values, default=str)
    except KeyTwice:
        raise
    except Exception as error:  # of many types: "!!bool x" is a KeyError, "!!int ''" an IndexError
        raise ValueError(str(error) or type(error).__name__) from None
    return values


def _keep_text(node: yaml.MappingNode, types: Types) -> None:
    """Tag the unquoted values by the types of their parameters."""
    for key, value in node.value:
        quoted = not isinstance(value, yaml.ScalarNode) or value.style
        if not quoted and key.value in types and (kind := _kind(value.value, types[key.value])):
            value.tag = _TAG + kind


def _kind(text: str, annotation: Any) -> Literal["null", "str"] | None:
    """How a parameter of this type reads an unquoted text; None: as YAML does."""
    if NoneType in kinds(annotation) and text in _NULLS:
        return "null"
    return "str" if takes_text(annotation) else None


def value_in(text: str, annotation: Any) -> Any:
    """A value of a command line, read like the same text without quotes in a file.

    What is not YAML stays text, which the parameter's own check refuses.
    """
    if kind := _kind(text, annotation):
        return text if kind == "str" else None
    try:
        return plain_yaml(text)
    except ValueError:
        return text


def read_file(path: str | Path, types: Types, keys: Mapping[str, str]) -> dict[str, Any]:
    """The parameters in a YAML file.

    Args:
        types: of the parameters, by name.
        keys: parameters by LoadGen's names in user.conf, where these are others.

    Raises:
        ParameterError: if there is no such file, or it holds something else.
    """

    def refused(problem: str, cure: str = CURE) -> ParameterError:
        return ParameterError("params file", str(path), " ".join(problem.split()), cure)

    try:
        text = Path(path).read_text(encoding="utf-8")
        if names := _user_conf(text, types, keys):
            raise refused("is LoadGen's user.conf", f"give its values in YAML: {names}")
        values = plain_yaml(text, types)
    except KeyTwice as error:
        raise refused(str(error), "leave one of them out") from None
    except OSError as error:
        raise refused(f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise refused(str(error)) from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise refused("holds no parameters")
    for name, own in keys.items():
        if name in values and own in values:
            raise refused(f"gives {own} twice (also as {name})", "leave one of them out")
    return values


def _user_conf(text: str, types: Types, keys: Mapping[str, str]) -> str:
    """The lines of LoadGen's user.conf as parameters; empty if the text is something else.

    Of several scenarios the first is taken: a run has one. Settings without a parameter are listed.
    """
    found = _USER_CONF.findall(text)
    scenario = next((scenario for _, scenario, _, _ in found if scenario != "*"), "")
    values = {"scenario": scenario} if scenario else {}
    for _, of, key, value in found:
        if of in ("*", scenario):
            values[keys.get(key, key)] = _share(value) if "percentile" in key else value
    others = ", ".join(name for name in values if name not in types)
    known = ", ".join(f"{name}: {value}" for name, value in values.items() if name in types)
    return f"{known} (no parameter here: {others})" if others else known


def _share(percent: str) -> str:
    """A percentile of user.conf (99) as a share (0.99)."""
    try:
        return f"{float(percent) / 100:.6g}"
    except ValueError:
        return percent
