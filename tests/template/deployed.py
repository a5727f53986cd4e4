"""The template as CloudFormation gets it: transformed by SAM, conditions and parameters resolved.

References to resources stay as they are (`{"Ref": "Spool"}`), for a test to compare with.
"""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any, cast

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from tests import ROOT

REQUIRED = {
    "RelayBaseUrl": "https://relay.example.com",
    "OtelExportUrl": "https://greptimedb.example.com",
}
"""The only parameters without a default."""

_NOTHING = object()


@functools.cache
def _source() -> dict[str, Any]:
    return cast("dict[str, Any]", yaml_parse((ROOT / "template.yaml").read_text("utf-8")))


def source() -> dict[str, Any]:
    """The template as it is written."""
    return copy.deepcopy(_source())


def transformed(path: Path = ROOT / "template.yaml") -> dict[str, Any]:
    """A template as SAM's transform leaves it, its code packaged as `s3://bucket/LOGICAL_ID.zip`."""
    template = yaml_parse(path.read_text("utf-8"))
    for name, resource in template["Resources"].items():
        for key in {"CodeUri", "ContentUri"} & resource.get("Properties", {}).keys():
            resource["Properties"][key] = f"s3://bucket/{name}.zip"
    # With a session of its own: the transform itself would ask the machine for a region.
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name="eu-central-1"))
    return cast("dict[str, Any]", translator.translate(template, {}))


@functools.cache
def _transformed() -> dict[str, Any]:
    return transformed()


def everything() -> dict[str, Any]:
    """All resources of the transformed template, conditions unresolved."""
    return cast("dict[str, Any]", copy.deepcopy(_transformed()["Resources"]))


def deployed(**parameters: str) -> dict[str, Any]:
    """The resources that a deployment with these parameters makes, the defaults filled in."""
    template = _transformed()
    values = {name: spec.get("Default") for name, spec in template["Parameters"].items()}
    unknown = (REQUIRED | parameters).keys() - values.keys()
    if unknown:
        raise KeyError(f"the template has no parameter {sorted(unknown)}")
    resolve = _Resolver(template["Conditions"], values | REQUIRED | parameters)
    return {
        name: resolve(resource)
        for name, resource in template["Resources"].items()
        if "Condition" not in resource or resolve.condition(resource["Condition"])
    }


def of_type(resources: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The properties of the resources of one type, by logical id."""
    return {
        name: resource.get("Properties", {})
        for name, resource in resources.items()
        if resource["Type"] == kind
    }


class _Resolver:
    """CloudFormation's conditions, as far as the template uses them."""

    def __init__(self, conditions: dict[str, Any], values: dict[str, Any]) -> None:
        self._conditions = conditions
        self._values = values

    def condition(self, name: str) -> bool:
        return self._is(self._conditions[name])

    def _is(self, expression: dict[str, Any]) -> bool:
        [(function, arguments)] = expression.items()
        match function:
            case "Condition":
                return self.condition(arguments)
            case "Fn::Equals":
                left, right = (self(argument) for argument in arguments)
                return str(left) == str(right)
            case "Fn::Not":
                return not self._is(arguments[0])
            case "Fn::And":
                return all(self._is(argument) for argument in arguments)
        raise NotImplementedError(function)

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list):
            resolved = [self(item) for item in value]
            return [item for item in resolved if item is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Ref"}:
            if value["Ref"] == "AWS::NoValue":
                return _NOTHING
            return self._values.get(value["Ref"], value)
        if value.keys() == {"Fn::If"}:
            name, then, otherwise = value["Fn::If"]
            return self(then if self.condition(name) else otherwise)
        if value.keys() == {"Fn::Join"} and isinstance(self(value["Fn::Join"][1]), str):
            return self(value["Fn::Join"][1])  # a list parameter that is empty, or has one item
        resolved_items = ((key, self(item)) for key, item in value.items())
        return {key: item for key, item in resolved_items if item is not _NOTHING}
