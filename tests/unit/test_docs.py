"""The documents say what the code does: variables, keys, events, parameters, commands, links."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from samtranslator.yaml_helper import yaml_parse

from local.stack import CREDENTIALS, PASSED_ON
from relay_metrics import settings as settings_package
from relay_metrics.deliver.report import DestinationReport
from relay_metrics.entry.event import Event
from relay_metrics.errors import SettingsError
from relay_metrics.settings import destinations, environment, relays, settings
from scripts.package import launch_link
from tests import ROOT
from tests.template.deployed import source
from tests.template.test_functions import CONTRACT

CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text("utf-8")
DEPLOYING = (ROOT / "docs" / "deploying.md").read_text("utf-8")
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
TEMPLATE = source()
OF_THE_STACK = {"SECRET_ID", "SPOOL_QUEUE_URL"}
"""Variables whose value the stack itself gives."""

PROGRAMS = {
    *("make", "sam", "aws", "cat", "rm", "git", "jq", "base64", "gunzip", "uname", "sed"),
    *("output", "arn"),  # functions of the shell that docs/failures.md makes
    ".venv/bin/pytest",
}
MADE = {"secret.json", "dist/template.yaml"}
"""By the reader, or by a command before."""
OF_BACKFILL = {"STACK", "FROM", "TO", "RELAYS", "MODELS", "SCANS", "DRY_RUN"}
"""Variables of `make backfill`."""
OF_MAKE = {"ARGS", "BUCKET", "PREFIX", "VICTORIAMETRICS", "CHROMIUM", *OF_BACKFILL}

AWS_OPTIONS = {"region", "query", "output", "cli-binary-format", "cli-read-timeout"}
"""Options that every command of the AWS CLI has."""
AWS_OWN = {("s3", "cp"), ("logs", "tail")}
"""Commands that the AWS CLI makes of several operations, or under another name."""


def section(text: str, heading: str) -> str:
    """What is under a heading, up to the next one of its level or above."""
    level = heading.partition(" ")[0]
    after = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{1,{len(level)}}} ", after, maxsplit=1)[0]


def table(text: str, first_column: str) -> list[list[str]]:
    """The rows of every table whose first column is called so; code marks taken off."""
    rows: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")] if line[:1] == "|" else []
        if not cells:
            inside = False
        elif cells[0] == first_column:
            inside = True
        elif inside and set(cells[0]) != {"-"}:
            # an empty last cell would be lost to the strip above, but each ends in a sentence
            rows.append([cell.strip("`") for cell in cells])
    return rows


def names(text: str, first_column: str) -> list[str]:
    """The names in a table's first column, several in one cell parted."""
    return [name.strip("` ") for row in table(text, first_column) for name in row[0].split(",")]


def blocks(text: str, language: str) -> Iterator[str]:
    """The fenced blocks of a language, also inside lists."""
    for indent, body in re.findall(rf"(?ms)^( *)```{language}\n(.*?)^ *```$", text):
        yield "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))


def of_the_template() -> dict[str, str]:
    """The parameter that each variable of the functions is set from."""
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    return {
        name: value["Ref"]
        for name, value in variables.items()
        if value.get("Ref") in TEMPLATE["Parameters"]
    } | {"SECRET_ID": "SecretArn"}


def test_every_variable_is_there_with_its_parameter_and_default() -> None:
    rows = {row[0]: row[1:3] for row in table(CONFIGURATION, "variable") if len(row) == 4}
    assert rows.keys() == CONTRACT.keys()
    parameters = of_the_template()
    for name, (parameter, default) in rows.items():
        assert parameter == parameters.get(name, ""), name
        if name not in {"RELAY_BASE_URL", "OTEL_EXPORT_URL"}:
            assert default == (CONTRACT[name] or ""), name


def test_the_bounds_of_every_number_are_there() -> None:
    rows = {row[0]: row[3] for row in table(CONFIGURATION, "variable") if len(row) == 4}
    numbers = [name for name in CONTRACT if str(CONTRACT[name] or "").isdigit()]
    assert len(numbers) >= 11
    for name in numbers:
        with pytest.raises(SettingsError) as caught:
            environment({name: "-1000000000"})
        assert rows[name].endswith(f". {str(caught.value).partition(' from ')[2]}"), name


def test_every_parameter_is_in_one_of_the_two_documents() -> None:
    others = {row[0]: row[1] for row in table(DEPLOYING, "parameter")}
    variables = [row[1] for row in table(CONFIGURATION, "variable") if len(row) == 4 and row[1]]
    assert sorted([*others, *variables]) == sorted(TEMPLATE["Parameters"])
    for name, default in others.items():
        assert default == str(TEMPLATE["Parameters"][name]["Default"]), name


@pytest.mark.parametrize(
    ("first_column", "known"),
    [
        (
            "key",
            {*settings_package._SECRET, *relays.keys_of_one_relay()} - {"relays", "destinations"},
        ),
        ("key of a relay", {*relays.keys_of_listed_relay()}),
        ("key of a destination", {*destinations._DESTINATION}),
    ],
)
def test_every_key_of_the_secret_is_there(first_column: str, known: set[str]) -> None:
    listed = names(CONFIGURATION, first_column)
    assert len(listed) == len(set(listed))
    assert set(listed) == known


@pytest.mark.parametrize("text", [*blocks(section(CONFIGURATION, "## The secret"), "json")])
def test_every_example_of_a_secret_is_one(text: str) -> None:
    variables = {"OTEL_EXPORT_URL": "https://greptimedb.example.com", "SECRET_ID": "it"}
    if "relays" not in json.loads(text):
        variables["RELAY_BASE_URL"] = "https://relay.example.com"
    read = settings(environment(variables), text)
    assert len(read.relays) == len(json.loads(text).get("relays", [None]))
    assert len(read.destinations) == 1 + len(json.loads(text).get("destinations", []))
    assert read.warnings == ()


def test_the_hint_for_greptimedb_is_a_header_that_is_taken() -> None:
    [text] = blocks((ROOT / "docs" / "greptimedb.md").read_text("utf-8"), "json")
    assert environment({"OTEL_EXPORT_HEADERS": text})


def test_a_query_of_the_logs_asks_for_what_is_in_them() -> None:
    """The lines `relay` and `destination` hold what the report does, of which there is a sample."""
    [report] = [json.loads(text) for text in blocks(section(CONFIGURATION, "## Events"), "json")]
    known = {
        f"{what}.{name}" for what in ("relay", "destination") for name in report[f"{what}s"][0]
    }
    assert DestinationReport("default").report().keys() == report["destinations"][0].keys()
    asked = {
        field
        for path in (ROOT / "docs/operations.md", ROOT / "docs/greptimedb.md")
        for query in re.findall(r"(?m)^(?: {4}|```text\n)(filter @message (?:.*\n)+?)(?=\n|```)",
                                path.read_text("utf-8"))
        for field in re.findall(r"\b(?:relay|destination)\.\w+", query)
    }  # fmt: skip
    assert {"relay.error", "destination.write_cost"} <= asked <= known


def test_the_changelog_says_how_many_parameters_there_were_and_are() -> None:
    before = yaml_parse((ROOT / "tests/e2e/releases/1.0.0.yaml").read_text("utf-8"))["Parameters"]
    said = (
        f"**{len(TEMPLATE['Parameters'])} parameters of the template in place of {len(before)}.**"
    )
    assert said in (ROOT / "CHANGELOG.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("operations.md", "{alarm} of its {CollectorFunction} seconds"),
        ("backfill.md", "the collector's code and {BackfillFunction} s"),
        ("relays.md", "under ten seconds. It has {CollectorFunction}."),
        ("cost.md", "{memory} MB"),
    ],
)
def test_a_document_says_the_numbers_of_the_template(document: str, says: str) -> None:
    resources = TEMPLATE["Resources"]
    numbers = {
        name: resource["Properties"]["Timeout"]
        for name, resource in resources.items()
        if "Timeout" in resource.get("Properties", {})
    }
    numbers["alarm"] = resources["CollectorSlowAlarm"]["Properties"]["Threshold"] // 1000
    numbers["memory"] = TEMPLATE["Parameters"]["MemorySize"]["Default"]
    assert says.format(**numbers) in (ROOT / "docs" / document).read_text("utf-8")


def test_every_event_is_there_with_its_file() -> None:
    rows = table(section(CONFIGURATION, "## Events"), "event")
    files = [ROOT / row[1] for row in rows]
    redriver = ROOT / "events" / "redrive.json"
    assert f"`{redriver.relative_to(ROOT)}`" in CONFIGURATION
    assert {*files, redriver, ROOT / "events" / "env.json"} == set(ROOT.glob("events/*.json"))
    for row, file in zip(rows, files, strict=True):
        event, written = json.loads(row[0]), json.loads(file.read_text("utf-8"))
        assert event.keys() <= written.keys()
        assert Event.of(written).action == event.get("action", "collect")


def test_the_variables_of_one_machine_are_there() -> None:
    rows = table(section(CONFIGURATION, "## On one machine"), "variable")
    assert {row[0]: re.split("[`,]", row[1])[0] for row in rows} == CREDENTIALS
    assert {*PASSED_ON} == CONTRACT.keys() - OF_THE_STACK


def targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text("utf-8")))


def scripts() -> Iterator[tuple[str, str]]:
    """What the documents give a shell: in blocks of its own, and in the middle of a sentence."""
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        for block in blocks(text, "sh"):
            yield path.name, block
        for inline in re.findall(r"`((?:make|sam|aws) [^`]+)`", text):
            yield path.name, inline.replace("\n", " ")


def commands_of(script: str) -> Iterator[list[str]]:
    """The commands of a script, as their words, those in pipes and substitutions too."""
    script = re.sub(r"(?s)<<'END'\n.*?\nEND\n", "\n", script.replace("\\\n", " "))
    functions = set(re.findall(r"(?m)^(\w+)\(\) \{", script))
    script = re.sub(r"(?m)^\w+\(\) \{", "", script)
    # what stands in $(…) is a word of one command, and a command of its own
    for inner in re.findall(r"\$\(([^()]*)\)", script):
        yield from commands_of(inner)
    script = re.sub(r"\$\([^()]*\)", "…", script)
    for line in script.splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if set(word) <= set("|&;"):
                if command and command[0] not in {"}", *functions}:
                    yield command
                command = []
            else:
                command.append(word)


def commands() -> Iterator[Any]:
    """Every command of the documents, as its words."""
    for name, script in scripts():
        for command in commands_of(script):
            yield pytest.param(command, id=f"{name}: {' '.join(command)}")


def of_the_outputs() -> Iterator[Any]:
    """The commands that the stack prints."""
    for name, output in TEMPLATE["Outputs"].items():
        value = output["Value"].get("Fn::Sub", "") if isinstance(output["Value"], dict) else ""
        text = value if isinstance(value, str) else value[0]
        if name.endswith("Command"):
            yield pytest.param(shlex.split(text), id=name)


def of_the_workflow() -> Iterator[Any]:
    """The commands of the sample of a GitHub Actions workflow."""
    workflow = yaml_parse((ROOT / "docs/examples/deploy.yml").read_text("utf-8"))
    for step in workflow["jobs"]["deploy"]["steps"]:
        if "run" in step:
            command = re.sub(r"\$\{\{.*?\}\}", "…", step["run"])
            yield pytest.param(shlex.split(command), id=f"deploy.yml: {command}")


def test_the_workflow_builds_validates_and_deploys_with_a_role_that_it_assumes() -> None:
    workflow = yaml_parse((ROOT / "docs/examples/deploy.yml").read_text("utf-8"))
    assert workflow["permissions"]["id-token"] == "write"
    commands = [words.values[0] for words in of_the_workflow()]
    assert [words[:2] for words in commands[:3]] == [
        ["sam", "build"],
        ["sam", "validate"],
        ["sam", "deploy"],
    ]
    role = [step for step in workflow["jobs"]["deploy"]["steps"] if "with" in step][-1]["with"]
    assert role.keys() == {"role-to-assume", "aws-region"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="the commands are for a shell")
def test_a_shell_can_read_every_block() -> None:
    script = "\n".join(script for _, script in scripts())
    read = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert read.stderr == ""


@pytest.mark.parametrize("words", [*commands(), *of_the_workflow(), *of_the_outputs()])
def test_a_command_names_only_what_exists(words: list[str]) -> None:
    set_before = [word for word in words if re.match(r"[A-Z_]+=", word)]
    if len(set_before) == len(words):
        return  # a variable of the shell
    program, *arguments = [word for word in words if word not in set_before]
    assert program in PROGRAMS
    if program == "make":
        assert set(arguments) <= targets()
        names = {word.partition("=")[0] for word in set_before}
        assert names <= {*CREDENTIALS, *PASSED_ON, *OF_MAKE}
    if program == "aws":
        _aws(arguments)
    if program == "output":
        assert arguments[0] in TEMPLATE["Outputs"]
    if program == "sam":
        if "invoke" in arguments[:2] and len(arguments) > 2:
            assert arguments[2] in TEMPLATE["Resources"]
        overridden = re.findall(r"(?m)^([A-Z][A-Za-z0-9]+)=", "\n".join(words))
        assert set(overridden) <= TEMPLATE["Parameters"].keys()
    for word in words:
        name = word.removeprefix("file://")
        if name.endswith((".json", ".yaml", ".py")) and name not in MADE:
            assert (ROOT / name).exists()


def _aws(arguments: list[str]) -> None:
    """Hold a command of the AWS CLI to the operation that it is made of."""
    service, operation, *rest = arguments
    if (service, operation) in AWS_OWN:
        return
    model = botocore.session.Session().get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    shape = model.operation_model(operations[operation]).input_shape
    assert shape is not None
    if not rest:
        return  # its name alone, in a sentence
    options = {word.removeprefix("--") for word in rest if word.startswith("--")}
    assert options <= {*AWS_OPTIONS, *(xform_name(name, "-") for name in shape.members)}
    assert {xform_name(name, "-") for name in shape.required_members} <= options


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "docs/deploying.md"])
def test_sam_local_s_command_chooses_this_machine_s_processor(path: Path) -> None:
    [words] = set(re.findall(r'"(Architecture=\S.*?)"', path.read_text("utf-8")))
    for machine, architecture in (("x86_64", "x86_64"), ("aarch64", "arm64"), ("arm64", "arm64")):
        script = f'uname() {{ echo {machine}; }}; echo "{words}"'
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == f"Architecture={architecture}\n"


@pytest.mark.parametrize("output", ["FillSecretCommand", "CheckCommand"])
def test_the_readme_shows_the_commands_that_the_stack_prints(output: str) -> None:
    value = TEMPLATE["Outputs"][output]["Value"]["Fn::Sub"]
    printed = value if isinstance(value, str) else value[0]
    shown = printed.replace("--region ${AWS::Region} ", "").replace("${Arn}", "ARN")
    shown = shown.replace("${CollectorFunction}", "NAME")
    assert shown in (ROOT / "README.md").read_text("utf-8")


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", path.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_link_leads_somewhere(path: Path) -> None:
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", path.read_text("utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_launch_link_is_the_one_that_a_package_is_opened_by() -> None:
    assert f"    {launch_link('my-bucket/relay-metrics', 'eu-central-1')}\n" in DEPLOYING


def test_the_readme_leads_to_every_document() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for path in ROOT.glob("docs/*.md"):
        assert f"](docs/{path.name}" in readme, path.name
