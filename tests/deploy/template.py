"""A CloudFormation template, evaluated as far as this one needs it: what comes of it with some parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

# Pseudo parameters, and the attributes of resources: for each some text that tells what it was.
PSEUDO = {
    "AWS::Region": "eu-west-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::StackName": "stack",
}
NO_VALUE = object()


def read(path: Path) -> dict[str, Any]:
    """The template; each short form (`!Ref x`) as an object with its long name."""
    yaml: Any = import_module("yaml")

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # there are no types for it
        """Knows the tags."""

    def long_form(loader: Any, suffix: str, node: Any) -> dict[str, Any]:
        if isinstance(node, yaml.ScalarNode):
            value = loader.construct_scalar(node)
        elif isinstance(node, yaml.SequenceNode):
            value = loader.construct_sequence(node, deep=True)
        else:
            value = loader.construct_mapping(node, deep=True)
        return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}

    Loader.add_multi_constructor("!", long_form)
    template: dict[str, Any] = yaml.load(path.read_text("utf-8"), Loader)
    return template


class Evaluated:
    """The template with these parameters, the others at their defaults."""

    def __init__(self, template: Mapping[str, Any], **parameters: str) -> None:
        self._template = template
        unknown = parameters.keys() - template["Parameters"].keys()
        assert not unknown, unknown
        self._parameters = {
            name: parameters.get(name, str(about.get("Default", f"<{name}>")))
            for name, about in template["Parameters"].items()
        }
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::Sub": self._sub,
            "Fn::GetAtt": self._attribute,
            "Fn::If": self._if,
            "Fn::Equals": lambda pair: self.value(pair[0]) == self.value(pair[1]),
            "Fn::Not": lambda one: not self.value(one[0]),
            "Fn::Select": lambda pair: self.value(pair[1])[int(pair[0])],
            "Fn::Split": lambda pair: self.value(pair[1]).split(pair[0]),
        }

    def resources(self) -> dict[str, Any]:
        """The properties of all that is made, by name."""
        return {
            name: self.value(about.get("Properties", {}))
            for name, about in self._template["Resources"].items()
            if "Condition" not in about or self._condition(about["Condition"])
        }

    def value(self, node: Any) -> Any:
        if isinstance(node, dict):
            if len(node) == 1 and (function := self._functions.get(next(iter(node)))):
                return function(next(iter(node.values())))
            values = {name: self.value(each) for name, each in node.items()}
            return {name: each for name, each in values.items() if each is not NO_VALUE}
        if isinstance(node, list):
            return [each for each in map(self.value, node) if each is not NO_VALUE]
        return node

    def _condition(self, name: str) -> bool:
        return bool(self.value(self._template["Conditions"][name]))

    def _if(self, parts: list[Any]) -> Any:
        name, then, otherwise = parts
        return self.value(then if self._condition(name) else otherwise)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if (made := self._template["Resources"].get(name, {})).get("Type") == "AWS::DynamoDB::Table":
            return self.value(made["Properties"]["TableName"])
        return self._parameters.get(name, PSEUDO.get(name, f"<{name}>"))

    def _attribute(self, name: str) -> Any:
        """What a resource was given, or some text for what AWS gives it."""
        resource, _, attribute = name.partition(".")
        given = self._template["Resources"][resource]["Properties"]
        return self.value(given[attribute]) if attribute in given else f"<{name}>"

    def _sub(self, text: str | list[Any]) -> str:
        pattern, names = (text, {}) if isinstance(text, str) else text
        return re.sub(r"\$\{([\w:]+)\}", lambda match: self._name(match[1], names), pattern)

    def _name(self, name: str, names: Mapping[str, Any]) -> str:
        return str(self.value(names[name]) if name in names else self._ref(name))
