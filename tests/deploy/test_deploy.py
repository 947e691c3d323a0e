"""What is deployed fits what is deployed: variables, ports, probes, permissions and events are those of the daemon."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

from poller import events
from poller.aws.errors import iam_action
from poller.aws.lease_rows import KEY
from poller.cli import COMMANDS
from poller.inspect.policy import Home, Keys, policy
from poller.model import TRIM_HORIZON
from poller.observe.http import standard_pages
from poller.provision import RECEIVES_MAX
from poller.settings import Settings, load
from poller.settings.sources import variables
from tests.deploy.template import Evaluated, read
from tests.faults.harness import Site
from tests.standin import World

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "config/deploy"
TEMPLATE = read(DEPLOY / "cloudformation.yml")
TERRAFORM = "\n".join(path.read_text("utf-8") for path in sorted((DEPLOY / "terraform").glob("*.tf")))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
LEAST = {"TableName": "Uploads", "QueueName": "jobs", "DeadLetterQueueName": "letters", "Image": "poller:1"}
EVERYTHING = {
    **LEAST,
    "CreateTable": "true",
    "DeadLetterBucket": "large-letters",
    "QueueKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/1",
    "Filter": '{"eventName": ["INSERT"]}',
    "StartPosition": "2026-11-23T08:00:00Z",
    "LogLevel": "debug",
    "ScraperSecurityGroup": "sg-1",
    "NamespaceId": "ns-1",
    "AlarmTopicArn": "arn:aws:sns:eu-west-1:123456789012:alarms",
}
STOPS_WITHIN_S = 10  # docs/architecture.md, README.md


def resources(**parameters: str) -> dict[str, Any]:
    return Evaluated(TEMPLATE, **{**LEAST, **parameters}).resources()


def container(**parameters: str) -> dict[str, Any]:
    (only,) = resources(**parameters)["TaskDefinition"]["ContainerDefinitions"]
    assert isinstance(only, dict)
    return only


def environment(**parameters: str) -> dict[str, str]:
    """The daemon's in such a task, those of the image included."""
    image = dict(re.findall(r"\b(POLLER_\w+)=(\S+)", DOCKERFILE))
    return image | {one["Name"]: one["Value"] for one in container(**parameters)["Environment"]}


def settings(**parameters: str) -> Settings:
    return load(environment(**parameters), None)


def actions(**parameters: str) -> set[str]:
    (role,) = resources(**parameters)["TaskRole"]["Policies"]
    return {action for statement in role["PolicyDocument"]["Statement"] for action in statement["Action"]}


def image_says(instruction: str) -> str:
    """The arguments of the only such instruction of the Dockerfile."""
    (line,) = re.findall(rf"^{instruction} (.*)$", DOCKERFILE, re.MULTILINE)
    return str(line)


# --- the task ---------------------------------------------------------------------------------------------------------


def test_every_variable_is_a_setting_and_the_daemon_starts_with_them() -> None:
    loaded = settings()
    assert (loaded.stream.table_name, loaded.lease_table) == ("Uploads", "Uploads-leases")
    assert [(route.queue, route.dead_letter_queue, route.filter) for route in loaded.routes] == [
        ("jobs", "letters", None)
    ]
    assert loaded.stream.start_position.kind == TRIM_HORIZON
    assert not loaded.lease.create


def test_every_parameter_gets_where_it_belongs() -> None:
    loaded = settings(**{**EVERYTHING, "LeaseTableName": "Leases"})
    assert loaded.lease_table == "Leases"
    assert loaded.routes[0].filter == ('{"eventName": ["INSERT"]}',)
    assert loaded.routes[0].dead_letter_bucket == "large-letters"
    assert loaded.stream.start_position.timestamp_ms == 1_795_420_800_000
    assert loaded.log.level == "debug"


def test_the_task_is_as_restricted_as_the_image_allows() -> None:
    ours = container(LaunchType="EC2")
    assert ours["ReadonlyRootFilesystem"] is True
    assert ours["Privileged"] is False
    assert ours["User"] == image_says("USER")
    assert ours["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert ours["DockerSecurityOptions"] == ["no-new-privileges"]
    assert "DockerSecurityOptions" not in container(LaunchType="FARGATE")


def test_the_task_is_probed_as_the_image_is() -> None:
    options, _, command = image_says("HEALTHCHECK").partition(" CMD ")
    check = container()["HealthCheck"]
    assert check["Command"] == ["CMD", *json.loads(command)]
    assert check["Command"][1] == "poller"
    assert check["Command"][2] in COMMANDS
    told = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "retries": "Retries"}
    assert {name: int(value.rstrip("s")) for name, value in re.findall(r"--([\w-]+)=(\S+)", options)} == {
        name: check[key] for name, key in told.items()
    }


def test_the_task_has_time_to_leave_in_order() -> None:
    assert STOPS_WITHIN_S < container()["StopTimeout"] <= 120  # Fargate's own bound
    assert image_says("STOPSIGNAL") == "SIGTERM"


def test_metrics_are_where_prometheus_is_sent() -> None:
    made = resources(**EVERYTHING)
    port, loaded = settings().http.port, settings().http
    assert loaded.host == "0.0.0.0"
    assert [mapping["ContainerPort"] for mapping in container()["PortMappings"]] == [port]
    assert int(image_says("EXPOSE")) == port
    labels = container()["DockerLabels"]
    assert int(labels["PROMETHEUS_EXPORTER_PORT"]) == port
    assert labels["PROMETHEUS_EXPORTER_PATH"] in standard_pages(bytes)
    (rule,) = made["SecurityGroup"]["SecurityGroupIngress"]
    assert (rule["FromPort"], rule["ToPort"], rule["SourceSecurityGroupId"]) == (port, port, "sg-1")
    (job,) = read(DEPLOY / "prometheus.yml")["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert (found["port"], found["names"]) == (port, [f"{made['Discovery']['Name']}.NAMESPACE"])


def test_two_stacks_can_share_a_namespace() -> None:
    names = [
        resources(**EVERYTHING, **other)["Discovery"]["Name"] for other in ({}, {"DiscoveryName": "poller-orders"})
    ]
    assert names == ["poller", "poller-orders"]
    assert "= var.discovery_name" in block("aws_service_discovery_service", "poller")


def test_without_a_scraper_nobody_comes_in() -> None:
    assert resources()["SecurityGroup"]["SecurityGroupIngress"] == []
    assert not {"Discovery", "Table"} & resources().keys()


def test_a_deploy_starts_the_new_workers_first_and_goes_back_by_itself() -> None:
    how = resources()["Service"]["DeploymentConfiguration"]
    assert (how["MinimumHealthyPercent"], how["MaximumPercent"]) == (100, 200)
    assert how["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}


# --- what it may do ---------------------------------------------------------------------------------------------------


def allowed(document: dict[str, Any]) -> set[tuple[str, str]]:
    """What a policy allows, as pairs of an action and a resource."""

    def listed(one: str | list[str]) -> list[str]:
        return [one] if isinstance(one, str) else one

    return {
        (action, resource)
        for statement in document["Statement"]
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }


@pytest.mark.parametrize("parameters", [LEAST, EVERYTHING, {**EVERYTHING, "LeaseTableName": "Leases"}])
def test_the_role_allows_what_poller_iam_policy_says_and_nothing_else(parameters: dict[str, str]) -> None:
    (role,) = resources(**parameters)["TaskRole"]["Policies"]
    key = parameters.get("QueueKeyArn")
    needed = policy(settings(**parameters), Home("eu-west-1", "123456789012"), "run", Keys([key] if key else []))
    assert allowed(role["PolicyDocument"]) == allowed(needed)


async def test_a_daemon_at_work_calls_nothing_that_the_role_does_not_allow(
    world: World, aws_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", world.url)
    site = Site(world)
    site.queue.refuse(contains='"poison"', sender_fault=True)
    site.upload("poison")
    expected = site.uploads(2)
    async with site.running():
        await site.until_received(expected)
        await site.until(lambda: bool(site.dead_letters.arrived))
        await site.until(site.settled)
    called = {iam_action(operation) for operation in world.calls.counts()}
    assert called - {"dynamodb:CreateTable"} <= actions()


def test_every_resource_of_the_role_is_named() -> None:
    (role,) = resources(**EVERYTHING)["TaskRole"]["Policies"]
    named = [statement["Resource"] for statement in role["PolicyDocument"]["Statement"]]
    flat = [one for each in named for one in (each if isinstance(each, list) else [each])]
    assert all(one.startswith("arn:aws:") for one in flat)
    assert [one for one in flat if one.endswith("*")] == [
        "arn:aws:dynamodb:eu-west-1:123456789012:table/Uploads/stream/*",
        "arn:aws:s3:::large-letters/Uploads/default/*",
    ]
    assert "arn:aws:sqs:eu-west-1:123456789012:letters" in flat


# --- tables, queues, alarms -------------------------------------------------------------------------------------------


def test_tables_and_queues_are_made_as_poller_init_makes_them() -> None:
    made = resources(**EVERYTHING)
    assert made["LeaseTable"]["KeySchema"] == [{"AttributeName": KEY, "KeyType": "HASH"}]
    assert made["LeaseTable"]["TableName"] == settings().lease_table
    assert made["Table"]["StreamSpecification"] == {"StreamViewType": "NEW_IMAGE"}
    assert made["Queue"]["RedrivePolicy"]["maxReceiveCount"] == RECEIVES_MAX
    assert made["DeadLetterQueue"]["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert "FifoQueue" not in made["Queue"]


def test_a_fifo_queue_is_known_by_its_name() -> None:
    made = resources(QueueName="jobs.fifo", DeadLetterQueueName="letters.fifo")
    assert made["Queue"]["FifoQueue"] is made["DeadLetterQueue"]["FifoQueue"] is True


def test_what_is_there_is_left_alone() -> None:
    made = resources(LeaseTableName="Leases", CreateQueues="false")
    assert not {"Table", "LeaseTable", "Queue", "DeadLetterQueue"} & made.keys()


def test_what_cannot_be_made_again_outlives_the_stack() -> None:
    for name in ("Table", "LeaseTable", "Queue", "DeadLetterQueue", "LogGroup"):
        about = TEMPLATE["Resources"][name]
        # What a first attempt leaves behind when it is rolled back would fail every further one by its name.
        assert about["DeletionPolicy"] == "RetainExceptOnCreate", name
        assert about["UpdateReplacePolicy"] == "Retain", name


def references(node: Any) -> set[str]:
    """The resources and parameters that a part of the template names, which are there before it."""
    if isinstance(node, dict):
        named = {str(node[kind]).partition(".")[0] for kind in ("Ref", "Fn::GetAtt") if kind in node}
        return named.union(*map(references, node.values()))
    return set[str]().union(*map(references, node)) if isinstance(node, list) else set()


def test_no_worker_starts_before_what_the_stack_makes_for_it() -> None:
    """It would end with exit code 2, and ECS take the service back after a few of them."""
    ours = TEMPLATE["Resources"]
    assert "TaskDefinition" in references(ours["Service"])
    assert {"Table", "LeaseTable", "Queue", "DeadLetterQueue", "TaskRole"} <= references(ours["TaskDefinition"])


def test_the_alarms_look_for_lines_that_the_daemon_logs() -> None:
    patterns = [one["FilterPattern"] for one in resources().values() if "FilterPattern" in one]
    assert sorted(patterns) == ['{ $.event = "data_lost" }', '{ $.level = "error" }']
    assert events.DataLost.name() == "data_lost"
    assert events.DataLost.level == "error"


def test_every_alarm_tells_the_topic_and_none_without_one() -> None:
    def alarms(**parameters: str) -> dict[str, Any]:
        return {name: one for name, one in resources(**parameters).items() if "ComparisonOperator" in one}

    assert len(alarms()) == 5
    assert all(one["AlarmActions"] == [EVERYTHING["AlarmTopicArn"]] for one in alarms(**EVERYTHING).values())
    assert not [name for name, one in alarms().items() if "AlarmActions" in one]


# --- the same in Terraform --------------------------------------------------------------------------------------------


def written(pattern: str) -> set[str]:
    return set(re.findall(pattern, TERRAFORM))


def test_the_terraform_module_sets_the_same_variables() -> None:
    assert written(r"\b((?:POLLER|AWS)_\w+)\s+=") - {"POLLER_POLLING__IDLE_MAX"} == {
        one["Name"] for one in container(**EVERYTHING)["Environment"]
    }
    assert {"POLLER_POLLING__IDLE_MAX", *written(r"\b(POLLER_\w+)\s+=")} <= set(variables().values())


def test_the_terraform_module_allows_the_same() -> None:
    assert written(r'"((?:dynamodb|sqs|s3|kms):\w+)"') == actions(**EVERYTHING)


def test_the_terraform_module_has_the_same_container() -> None:
    ours = container()
    for name, value in {
        "stopTimeout": ours["StopTimeout"],
        "command": ours["HealthCheck"]["Command"],
        "interval": ours["HealthCheck"]["Interval"],
        "timeout": ours["HealthCheck"]["Timeout"],
        "retries": ours["HealthCheck"]["Retries"],
        "startPeriod": ours["HealthCheck"]["StartPeriod"],
        "user": ours["User"],
        "readonlyRootFilesystem": ours["ReadonlyRootFilesystem"],
        "containerPort": ours["PortMappings"][0]["ContainerPort"],
        "from_port": 9464,
        "PROMETHEUS_EXPORTER_PORT": ours["DockerLabels"]["PROMETHEUS_EXPORTER_PORT"],
        "PROMETHEUS_EXPORTER_PATH": ours["DockerLabels"]["PROMETHEUS_EXPORTER_PATH"],
    }.items():
        assert re.search(rf"\b{name}\s+= {re.escape(json.dumps(value))}", TERRAFORM), name


def test_the_terraform_module_has_the_same_alarms() -> None:
    ours = [one for one in resources(TableName="${var.table_name}").values() if "ComparisonOperator" in one]
    blocks = re.findall(r'^resource "aws_cloudwatch_metric_alarm" .*?^}', TERRAFORM, re.MULTILINE | re.DOTALL)
    keys = {"metric_name": "MetricName", "comparison_operator": "ComparisonOperator", "statistic": "Statistic",
            "period": "Period", "evaluation_periods": "EvaluationPeriods", "treat_missing_data": "TreatMissingData",
            "namespace": "Namespace", "alarm_description": "AlarmDescription"}  # fmt: skip

    def told(block: str, name: str) -> str:
        (value,) = re.findall(rf'^  {name}\s+= "?(.*?)"?$', block, re.MULTILINE)
        return str(value)

    assert sorted([told(block, name) for name in keys] for block in blocks) == sorted(
        [str(one[key]) for key in keys.values()] for one in ours
    )


def block(kind: str, name: str) -> str:
    (found,) = re.findall(rf'^resource "{kind}" "{name}" .*?^}}', TERRAFORM, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_terraform_module_starts_no_worker_before_what_it_makes_for_it() -> None:
    (listed,) = re.findall(r"depends_on = \[(.*?)\]", block("aws_ecs_service", "poller"), re.DOTALL)
    assert {one.strip() for one in listed.split(",") if one.strip()} == {
        "aws_dynamodb_table.table",
        "aws_dynamodb_table.leases",
        "aws_sqs_queue.queue",
        "aws_sqs_queue.dead_letters",
        "aws_iam_role_policy.task",
        "aws_iam_role_policy_attachment.execution",
    }


def test_the_terraform_module_keeps_what_cannot_be_made_again() -> None:
    for kind, name in (
        ("aws_dynamodb_table", "table"),
        ("aws_dynamodb_table", "leases"),
        ("aws_sqs_queue", "queue"),
        ("aws_sqs_queue", "dead_letters"),
        ("aws_cloudwatch_log_group", "poller"),
    ):
        assert "prevent_destroy = true" in block(kind, name), name


def test_every_variable_of_the_terraform_module_is_used_and_explained() -> None:
    declared = written(r'variable "(\w+)" \{')
    assert declared == written(r"\bvar\.(\w+)")
    assert TERRAFORM.count("description = ") >= len(declared)


def test_terraform_finds_the_module_written_as_it_writes_it() -> None:
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("needs terraform")
    done = subprocess.run(
        [terraform, "fmt", "-check", "-recursive", str(DEPLOY / "terraform")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# --- without containers -----------------------------------------------------------------------------------------------


def unit() -> dict[str, dict[str, str]]:
    parser = RawConfigParser(strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # as the standard library documents it
    parser.read(DEPLOY / "poller.service", "utf-8")
    return {section: dict(parser[section]) for section in parser.sections()}


def test_the_unit_runs_the_daemon_and_lets_it_leave_in_order() -> None:
    service = unit()["Service"]
    program, command = shlex.split(service["ExecStart"])
    assert (Path(program).name, command) == ("poller", "run")
    assert command in COMMANDS
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["KillSignal"] == "SIGTERM"
    assert int(service["TimeoutStopSec"].rstrip("s")) > STOPS_WITHIN_S
    assert service["RestartPreventExitStatus"] == "2"
    named = re.findall(r"\b(POLLER_\w+)=", service["Environment"])
    assert set(named) <= set(variables().values())


def test_the_unit_gives_nothing_away() -> None:
    service = unit()["Service"]
    for name in ("NoNewPrivileges", "DynamicUser", "MemoryDenyWriteExecute", "PrivateDevices", "RestrictNamespaces"):
        assert service[name] == "yes", name
    assert (service["CapabilityBoundingSet"], service["ProtectSystem"]) == ("", "strict")


def test_the_unit_leaves_the_metrics_of_the_process_their_source() -> None:
    # With ProcSubset=pid there is no /proc/stat, and prometheus_client then tells nothing of the process at all.
    assert unit()["Service"].get("ProcSubset", "all") == "all"
    alerts = (ROOT / "config/prometheus/alerts.yml").read_text("utf-8")
    assert "poller_process_start_time_seconds" in alerts


def test_systemd_finds_the_unit_well_protected() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None and os.environ.get("CI") == "true":
        pytest.fail("needs systemd-analyze (skipped on a user's machine, required in CI)", pytrace=False)
    if analyze is None:
        pytest.skip("needs systemd-analyze, of Debian's package systemd")
    command = [analyze, "security", "--offline=yes", "--threshold=20", str(DEPLOY / "poller.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_no_fault_in_the_scrape_settings(promtool: str) -> None:
    command = [promtool, "check", "config", str(DEPLOY / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
