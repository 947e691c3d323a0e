"""The part of DynamoDB that a lease table needs: one table's items, and the operations on them.

A table has a hash key of type S and no range key. Numbers are kept as they came.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.standin.expressions import Expressions, Item
from tests.standin.wire import Answer, Operation, Params, ServiceError, Subject, invalid, json_answer, not_found

if TYPE_CHECKING:
    from tests.standin.world import World


@dataclass(frozen=True, slots=True)
class Written:
    """A write that took effect: when (on the stand-in's monotonic clock), who made it, and the item as it left it.

    `item` None: it deleted the item.
    """

    at_s: float
    access_key: str
    key: str
    item: Item | None


class Table:
    """Items by the value of their key attribute.

    `creating`: so many DescribeTable answers still say CREATING; until then its items cannot be touched. `page_items`:
    the most that one page of a Scan looks at.
    """

    def __init__(self, name: str, key_attribute: str, *, creating: int = 0) -> None:
        self.name = name
        self.key_attribute = key_attribute
        self.creating = creating
        self.page_items = 1000
        self.items: dict[str, Item] = {}

    def in_scan_order(self) -> list[str]:
        """The keys in an order that is stable and not that of writing, as a hash table's is."""
        return sorted(self.items, key=_scan_place)


def _scan_place(key: str) -> tuple[int, str]:
    return zlib.crc32(key.encode()), key


def _table(world: World, params: Params) -> Table:
    """The table that the request names, ready for use."""
    table = world.tables.get(params["TableName"])
    if table is None or table.creating > 0:
        raise not_found("Requested resource not found")
    return table


def _key(table: Table, attributes: Item) -> str:
    value = attributes.get(table.key_attribute)
    if value is None:
        raise invalid("One of the required keys was not given a value")
    text = value.get("S")
    if not isinstance(text, str):
        raise invalid("One or more parameter values were invalid: Type mismatch for key")
    return text


# --- tables ---------------------------------------------------------------------------------------------------------


def create_table(world: World, params: Params, access_key: str) -> Answer:
    name = params["TableName"]
    if name in world.tables:
        raise ServiceError("ResourceInUseException", f"Table already exists: {name}")
    keys = {one["KeyType"]: one["AttributeName"] for one in params["KeySchema"]}
    if set(keys) != {"HASH"}:
        raise invalid("The stand-in knows tables with a hash key and no range key")
    table = world.tables[name] = Table(name, keys["HASH"], creating=world.creating_describes)
    return json_answer({"TableDescription": _describe(world, table)})


def describe_table(world: World, params: Params, access_key: str) -> Answer:
    table = world.tables.get(params["TableName"])
    if table is None:
        raise not_found(f"Requested resource not found: Table: {params['TableName']} not found")
    description = _describe(world, table)
    table.creating = max(0, table.creating - 1)
    return json_answer({"Table": description})


def delete_table(world: World, params: Params, access_key: str) -> Answer:
    table = _table(world, params)
    del world.tables[table.name]
    return json_answer({"TableDescription": _describe(world, table)})


def list_tables(world: World, params: Params, access_key: str) -> Answer:
    return json_answer({"TableNames": sorted(world.tables)})


def _describe(world: World, table: Table) -> dict[str, Any]:
    described: dict[str, Any] = {
        "TableName": table.name,
        "TableArn": world.arn("dynamodb", f"table/{table.name}"),
        "TableStatus": "CREATING" if table.creating > 0 else "ACTIVE",
        "KeySchema": [{"AttributeName": table.key_attribute, "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": table.key_attribute, "AttributeType": "S"}],
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        "CreationDateTime": round(world.clock.wall(), 3),
        "ItemCount": len(table.items),
        "TableSizeBytes": 0,
    }
    stream = world.latest_stream(table.name)
    if stream is not None:
        described |= {"LatestStreamArn": stream.arn, "LatestStreamLabel": stream.label}
        if stream.enabled:
            described["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": stream.view_type.value}
    return described


# --- items ----------------------------------------------------------------------------------------------------------


def get_item(world: World, params: Params, access_key: str) -> Answer:
    table = _table(world, params)
    item = table.items.get(_key(table, params["Key"]))
    return json_answer({} if item is None else {"Item": item})


def put_item(world: World, params: Params, access_key: str) -> Answer:
    return _write(world, params, access_key, params["Item"], lambda expressions: lambda item: dict(params["Item"]))


def update_item(world: World, params: Params, access_key: str) -> Answer:
    update = params.get("UpdateExpression")
    return _write(world, params, access_key, params["Key"], lambda expressions: expressions.update(update))


def delete_item(world: World, params: Params, access_key: str) -> Answer:
    return _write(world, params, access_key, params["Key"], lambda expressions: lambda item: {})


def _write(
    world: World, params: Params, access_key: str, keys: Item, parse: Callable[[Expressions], Callable[[Item], Item]]
) -> Answer:
    """One conditional write: what `parse` makes of the item replaces it, an empty result deletes it."""
    table = _table(world, params)
    key = _key(table, keys)
    expressions = Expressions(params)
    condition = expressions.condition(params.get("ConditionExpression"))
    change = parse(expressions)
    expressions.check_all_used()
    old = table.items.get(key)
    if not condition(old or {}):
        wanted = old is not None and params.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        members = {"Item": old} if wanted else {}
        raise ServiceError("ConditionalCheckFailedException", "The conditional request failed", members=members)
    base = old or {table.key_attribute: keys[table.key_attribute]}
    new = change(base)
    if not new:
        table.items.pop(key, None)
    elif new.get(table.key_attribute) != base[table.key_attribute]:
        raise invalid(f"Cannot update attribute {table.key_attribute}. This attribute is part of the key")
    else:
        table.items[key] = new
    journal = world.journals.get(table.name)
    if journal is not None:
        journal.append(Written(world.clock.monotonic(), access_key, key, new or None))
    return json_answer(_returned(params.get("ReturnValues", "NONE"), old or {}, new))


def _returned(wanted: str, old: Item, new: Item) -> dict[str, Item]:
    match wanted:
        case "ALL_OLD":
            attributes = old
        case "ALL_NEW":
            attributes = new
        case "UPDATED_OLD":
            attributes = {name: value for name, value in old.items() if new.get(name) != value}
        case "UPDATED_NEW":
            attributes = {name: value for name, value in new.items() if old.get(name) != value}
        case _:
            attributes = {}
    return {"Attributes": attributes} if attributes else {}


def scan(world: World, params: Params, access_key: str) -> Answer:
    table = _table(world, params)
    expressions = Expressions(params)
    wanted = expressions.condition(params.get("FilterExpression"))
    expressions.check_all_used()
    keys = table.in_scan_order()
    after = params.get("ExclusiveStartKey")
    if after is not None:
        place = _scan_place(_key(table, after))
        keys = [key for key in keys if _scan_place(key) > place]
    size = min(params.get("Limit", table.page_items), table.page_items)
    page = [table.items[key] for key in keys[:size]]
    found = [item for item in page if wanted(item)]
    answer: dict[str, Any] = {"Items": found, "Count": len(found), "ScannedCount": len(page)}
    if len(page) == size:  # as the service: the page that fills the limit names where to go on, even if nothing follows
        answer["LastEvaluatedKey"] = {table.key_attribute: page[-1][table.key_attribute]}
    return json_answer(answer)


def _subject(world: World, params: Params) -> Subject:
    name = str(params.get("TableName", ""))
    table = world.tables.get(name)
    keys = params.get("Key") or params.get("Item") or {}
    key = keys.get(table.key_attribute, {}).get("S", "") if table else ""
    return Subject(table=name, key=str(key))


OPERATIONS: Final = {
    "CreateTable": Operation(_subject, create_table),
    "DescribeTable": Operation(_subject, describe_table),
    "DeleteTable": Operation(_subject, delete_table),
    "ListTables": Operation(_subject, list_tables),
    "GetItem": Operation(_subject, get_item),
    "PutItem": Operation(_subject, put_item),
    "UpdateItem": Operation(_subject, update_item),
    "DeleteItem": Operation(_subject, delete_item),
    "Scan": Operation(_subject, scan),
}
