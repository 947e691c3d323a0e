"""The stand-in's lease table, as boto3 sees it: conditional writes, expressions, scans."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.standin import World
from tests.standin.clients import Clients

Item = dict[str, Any]
TABLE = "leases"


@pytest.fixture
def aws(world: World, clients: Callable[..., Clients]) -> Clients:
    world.table(TABLE)
    return clients(world.url)


async def put(aws: Clients, item: Item, **more: Any) -> None:
    await to_thread(aws.dynamodb.put_item, TableName=TABLE, Item=item, **more)


async def get(aws: Clients, key: str = "k") -> Item | None:
    answer = await to_thread(aws.dynamodb.get_item, TableName=TABLE, Key={"leaseKey": {"S": key}}, ConsistentRead=True)
    return answer.get("Item")


async def update(aws: Clients, text: str, *, key: str = "k", values: Item | None = None, **more: Any) -> Item:
    """Returns the attributes as they are afterwards."""
    if values:
        more["ExpressionAttributeValues"] = values
    answer = await to_thread(
        aws.dynamodb.update_item,
        TableName=TABLE,
        Key={"leaseKey": {"S": key}},
        UpdateExpression=text,
        ReturnValues="ALL_NEW",
        **more,
    )
    return answer["Attributes"]


async def error_of(call: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        await call
    return dict(caught.value.response)


async def code_of(call: Any) -> str:
    return str((await error_of(call))["Error"]["Code"])


async def test_a_table_is_created_once_and_is_active_after_a_while(
    world: World, clients: Callable[..., Clients]
) -> None:
    world.creating_describes = 1
    dynamodb = clients(world.url).dynamodb
    schema: dict[str, Any] = {
        "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    assert await code_of(to_thread(dynamodb.describe_table, TableName=TABLE)) == "ResourceNotFoundException"
    await to_thread(dynamodb.create_table, TableName=TABLE, **schema)
    assert await code_of(to_thread(dynamodb.create_table, TableName=TABLE, **schema)) == "ResourceInUseException"
    assert await code_of(to_thread(dynamodb.scan, TableName=TABLE)) == "ResourceNotFoundException"
    states = [(await to_thread(dynamodb.describe_table, TableName=TABLE))["Table"]["TableStatus"] for _ in range(2)]
    assert states == ["CREATING", "ACTIVE"]
    await to_thread(dynamodb.delete_table, TableName=TABLE)
    assert (await to_thread(dynamodb.list_tables))["TableNames"] == []


async def test_an_item_comes_back_as_it_was_put(aws: Clients) -> None:
    item: Item = {
        "leaseKey": {"S": "k"},
        "n": {"N": "1.50"},
        "parents": {"SS": ["a", "b"]},
        "state": {"B": b"\x00\xff"},
    }
    assert await get(aws) is None
    await put(aws, item)
    assert await get(aws) == item


async def test_a_put_may_be_made_conditional_on_absence_and_shows_what_is_there(aws: Clients) -> None:
    absent = "attribute_not_exists(leaseKey)"
    await put(aws, {"leaseKey": {"S": "k"}, "owner": {"S": "me"}}, ConditionExpression=absent)
    error = await error_of(
        put(
            aws,
            {"leaseKey": {"S": "k"}},
            ConditionExpression=absent,
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    )
    assert error["Error"]["Code"] == "ConditionalCheckFailedException"
    assert error["Item"] == {"leaseKey": {"S": "k"}, "owner": {"S": "me"}}


async def test_an_update_sets_adds_and_removes_at_once(aws: Clients) -> None:
    await put(aws, {"leaseKey": {"S": "k"}, "counter": {"N": "7"}, "old": {"S": "x"}, "set": {"SS": ["a"]}})
    after = await update(
        aws,
        "SET #c = #c + :one, made = if_not_exists(made, :zero) ADD #set :more, hits :one REMOVE old, nothing",
        values={":one": {"N": "1"}, ":zero": {"N": "0"}, ":more": {"SS": ["b"]}},
        ExpressionAttributeNames={"#c": "counter", "#set": "set"},
    )
    assert after == {
        "leaseKey": {"S": "k"},
        "counter": {"N": "8"},
        "made": {"N": "0"},
        "set": {"SS": ["a", "b"]},
        "hits": {"N": "1"},
    }
    assert await get(aws) == after


async def test_deleting_from_a_set_leaves_no_empty_set(aws: Clients) -> None:
    await put(aws, {"leaseKey": {"S": "k"}, "set": {"SS": ["a", "b"]}})
    assert (await update(aws, "DELETE set :a", values={":a": {"SS": ["a"]}}))["set"] == {"SS": ["b"]}
    assert "set" not in await update(aws, "DELETE set :b", values={":b": {"SS": ["b"]}})


async def test_an_update_makes_the_item_where_there_is_none(aws: Clients) -> None:
    await update(aws, "SET a = :a", values={":a": {"S": "x"}})
    assert await get(aws) == {"leaseKey": {"S": "k"}, "a": {"S": "x"}}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("counter = :five", True),
        ("counter = :five_point_zero", True),
        ("counter <> :five", False),
        ("counter < :five OR counter >= :five", True),
        ("counter > :five", False),
        ("attribute_exists(counter) AND attribute_not_exists(absent)", True),
        ("NOT attribute_exists(counter)", False),
        ("not (counter = :five and owner = :me)", False),
        ("counter = :me OR (owner = :me AND counter <= :five)", True),
        ("absent = :five", False),
        ("absent <> :five", True),
        ("NOT absent = :five", True),
        ("absent < :five", False),
        ("counter < :me", False),
        ("parents = :parents", True),
        ("#owner = :me", True),
    ],
)
async def test_conditions_hold_as_in_dynamodb(aws: Clients, condition: str, holds: bool) -> None:
    """The expectations were taken from DynamoDB Local 3.3.1."""
    item: Item = {"leaseKey": {"S": "k"}, "counter": {"N": "5"}, "owner": {"S": "me"}, "parents": {"SS": ["a", "b"]}}
    await put(aws, item)
    values = {":five": {"N": "5"}, ":five_point_zero": {"N": "5.0"}, ":me": {"S": "me"}, ":parents": {"SS": ["b", "a"]}}
    words = condition.replace("(", " ").replace(")", " ").split()
    more: dict[str, Any] = {"ConditionExpression": condition}
    if used := {name: value for name, value in values.items() if name in words}:
        more["ExpressionAttributeValues"] = used
    if "#owner" in words:
        more["ExpressionAttributeNames"] = {"#owner": "owner"}
    if holds:
        await put(aws, item, **more)
    else:
        assert await code_of(put(aws, item, **more)) == "ConditionalCheckFailedException"


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("SET a = :missing", {}),
        ("SET #missing = :a", {"values": {":a": {"S": "x"}}}),
        ("SET a = :a", {"values": {":a": {"S": "x"}, ":unused": {"S": "x"}}}),
        ("SET a = :a, a = :a", {"values": {":a": {"S": "x"}}}),
        ("SET a = :a SET b = :a", {"values": {":a": {"S": "x"}}}),
        ("SET a = absent + :n", {"values": {":n": {"N": "1"}}}),
        ("SET leaseKey = :a", {"values": {":a": {"S": "x"}}}),
        ("ADD a :a", {"values": {":a": {"S": "x"}}}),
        ("SET a == :a", {"values": {":a": {"S": "x"}}}),
        ("SET a = :a", {"values": {":a": {"S": "x"}}, "ConditionExpression": "a = :a AND"}),
        ("SET a = :a", {"values": {":a": {"S": "x"}}, "ConditionExpression": "begins_with(a, :a)"}),
    ],
)
async def test_a_faulty_expression_is_refused_and_changes_nothing(aws: Clients, text: str, more: Item) -> None:
    assert await code_of(update(aws, text, **more)) == "ValidationException"
    assert await get(aws) is None


async def test_a_delete_may_be_conditional_and_may_show_what_it_deleted(aws: Clients) -> None:
    await put(aws, {"leaseKey": {"S": "k"}, "counter": {"N": "5"}})

    async def delete(counter: str) -> Item:
        answer = await to_thread(
            aws.dynamodb.delete_item,
            TableName=TABLE,
            Key={"leaseKey": {"S": "k"}},
            ConditionExpression="#c = :c",
            ExpressionAttributeNames={"#c": "counter"},
            ExpressionAttributeValues={":c": {"N": counter}},
            ReturnValues="ALL_OLD",
        )
        return answer["Attributes"]

    assert await code_of(delete("4")) == "ConditionalCheckFailedException"
    assert (await delete("5"))["counter"] == {"N": "5"}
    assert await get(aws) is None


@pytest.mark.parametrize("by_server", [True, False])
async def test_a_scan_comes_in_pages(world: World, aws: Clients, by_server: bool) -> None:
    table = world.table(TABLE)
    for number in range(7):
        table.items[f"k{number}"] = {"leaseKey": {"S": f"k{number}"}}
    more: dict[str, Any] = {} if by_server else {"Limit": 3}
    table.page_items = 3 if by_server else 1000
    found: list[str] = []
    sizes: list[int] = []
    while True:
        page = await to_thread(aws.dynamodb.scan, TableName=TABLE, ConsistentRead=True, **more)
        found += [item["leaseKey"]["S"] for item in page["Items"]]
        sizes.append(page["Count"])
        if "LastEvaluatedKey" not in page:
            break
        more["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    assert sizes == [3, 3, 1]
    assert sorted(found) == [f"k{number}" for number in range(7)]
    assert found != sorted(found)


async def test_a_scan_may_be_filtered(world: World, aws: Clients) -> None:
    for name in ("a", "b"):
        world.table(TABLE).items[name] = {"leaseKey": {"S": name}, "owner": {"S": name}}
    page = await to_thread(
        aws.dynamodb.scan,
        TableName=TABLE,
        FilterExpression="#o = :b",
        ExpressionAttributeNames={"#o": "owner"},
        ExpressionAttributeValues={":b": {"S": "b"}},
    )
    assert [item["leaseKey"]["S"] for item in page["Items"]] == ["b"]
    assert (page["Count"], page["ScannedCount"]) == (1, 2)


@pytest.mark.parametrize("key", [{"id": {"S": "k"}}, {"leaseKey": {"N": "1"}}])
async def test_a_key_of_another_name_or_type_is_refused(aws: Clients, key: Item) -> None:
    assert await code_of(to_thread(aws.dynamodb.get_item, TableName=TABLE, Key=key)) == "ValidationException"


async def test_the_log_of_calls_names_table_and_key(world: World, aws: Clients) -> None:
    await put(aws, {"leaseKey": {"S": "k"}})
    await code_of(put(aws, {"leaseKey": {"S": "k"}}, ConditionExpression="attribute_not_exists(leaseKey)"))
    calls = world.calls.of("PutItem")
    assert {(call.subject.table, call.subject.key) for call in calls} == {(TABLE, "k")}
    assert [call.outcome for call in calls] == ["OK", "ConditionalCheckFailedException"]


async def test_a_journal_tells_who_wrote_what_and_in_which_order(world: World, clients: Callable[..., Clients]) -> None:
    journal = world.keep_journal(TABLE)
    world.table(TABLE)
    one, other = clients(world.url, access_key="one"), clients(world.url, access_key="other")
    await put(one, {"leaseKey": {"S": "k"}})
    await update(other, "SET leaseOwner = :o", values={":o": {"S": "other"}})
    refused = other.dynamodb.update_item
    with pytest.raises(ClientError):
        await to_thread(
            refused,
            TableName=TABLE,
            Key={"leaseKey": {"S": "k"}},
            UpdateExpression="REMOVE leaseOwner",
            ConditionExpression="attribute_not_exists(leaseKey)",
        )
    await to_thread(one.dynamodb.delete_item, TableName=TABLE, Key={"leaseKey": {"S": "k"}})
    assert [(written.access_key, written.item) for written in journal] == [
        ("one", {"leaseKey": {"S": "k"}}),
        ("other", {"leaseKey": {"S": "k"}, "leaseOwner": {"S": "other"}}),
        ("one", None),
    ]
    assert [written.at_s for written in journal] == sorted(written.at_s for written in journal)
