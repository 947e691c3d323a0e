"""The filter: what matches, what is refused and with which words, and what it says of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from poller.decide.filter import DEFAULT_PATTERN, Filter, Finding, PatternError, compile_filter
from poller.decide.pattern import CHARACTERS_MAX, DEPTH_MAX, NODES_MAX, WILDCARDS_MAX


def completed(event_name: str = "MODIFY", **more: Any) -> dict[str, Any]:
    new = {"phase": {"S": "FILE_UPLOAD_COMPLETE"}, **more}
    return {"eventID": "1", "eventName": event_name, "dynamodb": {"Keys": {"id": {"S": "a"}}, "NewImage": new}}


def item(**attributes: Any) -> dict[str, Any]:
    return {"eventName": "MODIFY", "dynamodb": {"NewImage": attributes}}


def wants(pattern: object, record: dict[str, Any]) -> bool:
    return compile_filter([pattern]).matches(record)


def new_image(**attributes: Any) -> dict[str, Any]:
    return {"dynamodb": {"NewImage": attributes}}


# --- what matches -----------------------------------------------------------------------------------------------------


def test_the_default_pattern_wants_a_modification_to_the_completed_phase() -> None:
    default = compile_filter([DEFAULT_PATTERN])

    assert default.matches(completed())
    assert not default.matches(completed("INSERT"))
    assert not default.matches(item(phase={"S": "CREATED"}))


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"eventName": "MODIFY"},
        {"eventName": "REMOVE", "dynamodb": {"Keys": {"id": {"S": "a"}}}},
        item(),
        item(phase={"N": "1"}),
        item(phase={"S": 5}),
        item(phase="FILE_UPLOAD_COMPLETE"),
        item(phase={"S": {"S": "FILE_UPLOAD_COMPLETE"}}),
        {"eventName": "MODIFY", "dynamodb": "FILE_UPLOAD_COMPLETE"},
        {"eventName": "MODIFY", "dynamodb": None},
        {"eventName": ["MODIFY", ["INSERT"]], "dynamodb": [[], 5, None]},
    ],
)
def test_what_is_missing_or_of_another_type_is_no_match_and_no_error(record: dict[str, Any]) -> None:
    assert not compile_filter([DEFAULT_PATTERN]).matches(record)


# Pattern, value at "k" ("absent": none), verdict. Every row was put to AWS's own engine, event-ruler 2.0.1, and agrees.
ABSENT = "absent"
RULER: list[tuple[str, Any, bool]] = [
    ('["a"]', "a", True),
    ('["a"]', "b", False),
    ('["a", "b"]', "b", True),
    ('["a"]', ABSENT, False),
    ('["a"]', ["b", "a"], True),
    ('["a"]', [["b"], [["a"]]], True),
    ('["a"]', [], False),
    ('["a"]', {"a": "a"}, False),
    ('[""]', "", True),
    ("[5]", 5.0, True),
    ("[5.0]", 5, True),
    ("[5]", "5", False),
    ('["5"]', 5, False),
    ("[true]", True, True),
    ("[true]", 1, False),
    ("[1]", True, False),
    ("[true]", "true", False),
    ("[null]", None, True),
    ("[null]", ABSENT, False),
    ('["null"]', None, False),
    ('[{"prefix": "ab"}]', "abc", True),
    ('[{"prefix": "ab"}]', "cab", False),
    ('[{"prefix": ""}]', "x", True),
    ('[{"prefix": ""}]', 5, False),
    ('[{"suffix": "bc"}]', "abc", True),
    ('[{"suffix": "bc"}]', "bcd", False),
    ('[{"prefix": {"equals-ignore-case": "AB"}}]', "abc", True),
    ('[{"suffix": {"equals-ignore-case": "Bc"}}]', "aBC", True),
    ('[{"equals-ignore-case": "aLiCe"}]', "Alice", True),
    ('[{"equals-ignore-case": "alice"}]', "alices", False),
    ('[{"equals-ignore-case": "É"}]', "é", True),
    ('[{"wildcard": "a*c"}]', "abbc", True),
    ('[{"wildcard": "a*c"}]', "ac", True),
    ('[{"wildcard": "a*a"}]', "a", False),
    ('[{"wildcard": "*"}]', "", True),
    ('[{"wildcard": "*.pdf"}]', "x.pdf.gz", False),
    ('[{"wildcard": "*a*b*"}]', "xaxbx", True),
    ('[{"wildcard": "*a*b*"}]', "xbxax", False),
    ('[{"wildcard": "*ab*ba*"}]', "aba", False),
    (r'[{"wildcard": "a\\*b"}]', "a*b", True),
    (r'[{"wildcard": "a\\*b"}]', "axb", False),
    (r'[{"wildcard": "a\\\\*"}]', "a\\b", True),
    ('[{"wildcard": "abc"}]', "abc", True),
    ('[{"anything-but": "a"}]', "b", True),
    ('[{"anything-but": "a"}]', "a", False),
    ('[{"anything-but": "a"}]', 5, True),
    ('[{"anything-but": "a"}]', None, True),
    ('[{"anything-but": "a"}]', ABSENT, False),
    ('[{"anything-but": "a"}]', [], False),
    ('[{"anything-but": "a"}]', ["a", "b"], True),
    ('[{"anything-but": "a"}]', {"x": "b"}, False),
    ('[{"anything-but": ["a", "b"]}]', "b", False),
    ('[{"anything-but": 5}]', 5.0, False),
    ('[{"anything-but": [5, 6]}]', 7, True),
    ('[{"anything-but": {"prefix": "a"}}]', "ab", False),
    ('[{"anything-but": {"prefix": ["a", "b"]}}]', "c", True),
    ('[{"anything-but": {"suffix": ".png"}}]', "x.png", False),
    ('[{"anything-but": {"equals-ignore-case": ["A", "b"]}}]', "B", False),
    ('[{"anything-but": {"wildcard": "*/lib/*"}}]', "/usr/lib/x", False),
    ('[{"anything-but": {"wildcard": "*/lib/*"}}]', "/usr/bin/x", True),
    ('[{"numeric": ["=", 3.018e2]}]', 301.8, True),
    ('[{"numeric": [">", 0, "<=", 5]}]', 5, True),
    ('[{"numeric": [">", 0, "<=", 5]}]', 0, False),
    ('[{"numeric": ["<", 10]}]', "5", False),
    ('[{"exists": true}]', None, True),
    ('[{"exists": true}]', {"x": 1}, False),
    ('[{"exists": true}]', ABSENT, False),
    ('[{"exists": false}]', ABSENT, True),
    ('[{"exists": false}]', {"x": 1}, True),
    ('[{"exists": false}]', [], True),
    ('[{"exists": false}]', None, False),
    ('[{"exists": false}, "a"]', "a", True),
    ('[{"exists": false}, "a"]', "b", False),
    ('[{"cidr": "10.0.0.0/8"}]', "10.1.2.3", True),
    ('[{"cidr": "10.1.2.3/8"}]', "10.9.9.9", True),
    ('[{"cidr": "10.0.0.0/24"}]', "10.0.1.0", False),
    ('[{"cidr": "2001:db8::/32"}]', "2001:db8::1", True),
    ('[{"cidr": "10.0.0.0/8"}]', "no address", False),
]


@pytest.mark.parametrize(("values", "value", "verdict"), RULER)
def test_a_value_matches_as_in_event_ruler(values: str, value: Any, verdict: bool) -> None:
    record = {} if value == ABSENT else {"k": value}

    assert wants(f'{{"k": {values}}}', record) is verdict


# Likewise, of whole records.
RULER_RECORDS: list[tuple[str, str, bool]] = [
    ('{"a": [1], "b": [2]}', '{"a": 1, "b": 2, "c": 3}', True),
    ('{"a": [1], "b": [2]}', '{"a": 1, "b": 3}', False),
    ('{"a": {"b": [1]}}', '{"a": [[{"b": 1}]]}', True),
    ('{"a": {"b": [1], "c": [2]}}', '{"a": [{"b": 1}, {"c": 2}]}', False),
    ('{"a": {"b": [1], "c": [2]}}', '{"a": [{"b": 1}, {"b": 1, "c": 2}]}', True),
    ('{"a": {"b": [1], "c": [{"exists": false}]}}', '{"a": [{"b": 1}, {"c": 2}]}', True),
    ('{"a": {"c": [{"exists": false}]}}', '{"a": [{"b": 1}, {"c": 2}]}', False),
    ('{"a": {"c": [{"exists": false}]}}', '{"a": [{"b": 1}]}', True),
    ('{"a": {"c": [{"exists": false}]}}', '{"a": 3}', True),
    ('{"a": {"c": [{"exists": false}]}}', "{}", True),
    ('{"$or": [{"a": [1]}, {"b": [2]}]}', '{"b": 2}', True),
    ('{"$or": [{"a": [1]}, {"b": [2]}]}', '{"a": 2, "b": 1}', False),
    ('{"c": [3], "$or": [{"a": [1]}, {"b": [2]}]}', '{"b": 2}', False),
    ('{"$or": [{"a": [1]}, {"b": [2], "$or": [{"c": [3]}, {"d": [4]}]}]}', '{"b": 2, "d": 4}', True),
    ('{"x": {"$or": [{"a": [1]}, {"b": [2]}]}}', '{"x": {"b": 2}}', True),
    ('{"a": {"b": [1]}, "$or": [{"a": {"c": [2]}}, {"x": [3]}]}', '{"a": [{"b": 1}, {"c": 2}]}', False),
    ('{"a": {"b": [1]}, "$or": [{"a": {"c": [2]}}, {"x": [3]}]}', '{"a": [{"b": 1, "c": 2}]}', True),
]


@pytest.mark.parametrize(("pattern", "record", "verdict"), RULER_RECORDS)
def test_a_record_matches_as_in_event_ruler(pattern: str, record: str, verdict: bool) -> None:
    assert wants(pattern, json.loads(record)) is verdict


def test_one_of_several_patterns_is_enough() -> None:
    either = compile_filter(['{"eventName": ["INSERT"]}', '{"eventName": ["REMOVE"]}'])

    assert either.matches({"eventName": "REMOVE"})
    assert not either.matches({"eventName": "MODIFY"})


@pytest.mark.parametrize("patterns", [[], ["{}"], [{}], [{"eventName": ["NEVER"]}, {}]])
def test_no_pattern_or_an_empty_one_wants_every_record(patterns: list[object]) -> None:
    assert compile_filter(patterns).matches({})


def test_a_dot_in_a_name_is_a_dot() -> None:
    pattern = new_image(**{"a.b": {"S": ["x"]}})

    assert wants(pattern, item(**{"a.b": {"S": "x"}}))
    assert not wants(pattern, item(a={"b": {"S": "x"}}))


def test_case_is_ignored_as_unicode_folds_it() -> None:
    pattern = {"k": [{"equals-ignore-case": "STRASSE"}, {"prefix": {"equals-ignore-case": "ΑΣ"}}]}

    assert wants(pattern, {"k": "Straße"})
    assert wants(pattern, {"k": "ας, and more"})


def test_a_wildcard_of_many_stars_is_quick_on_a_long_value_that_nearly_matches() -> None:
    pattern = {"k": [{"wildcard": "*a" * 50 + "*b"}]}

    # An engine that tries every length of every star would not come back from this.
    assert not wants(pattern, {"k": "a" * 400_000})


# --- numbers ----------------------------------------------------------------------------------------------------------

DIGITS_38 = "1234567890123456789012345678901234567"


@pytest.mark.parametrize(
    ("values", "stored", "verdict"),
    [
        ('[{"numeric": [">", 5]}]', "10", True),
        ('[{"numeric": [">", 5]}]', "-10", False),
        (f'[{{"numeric": ["=", {DIGITS_38}8]}}]', f"{DIGITS_38}8", True),
        (f'[{{"numeric": ["=", {DIGITS_38}8]}}]', f"{DIGITS_38}9", False),
        (f'[{{"numeric": ["<", {DIGITS_38}9]}}]', f"{DIGITS_38}8", True),
        ('[{"numeric": ["=", 0.1]}]', "0.10", True),
        ('[{"numeric": ["=", 1e-130]}]', "1E-130", True),
        ("[5]", "5.00", True),
        ('["5"]', "5", True),
        ('["5"]', "5.00", False),
        ('[{"anything-but": 5}]', "5.0", False),
        ('[{"anything-but": "5"}]', "5.0", True),
        ('[{"numeric": [">", 5]}]', "NaN", False),
        ('[{"numeric": [">", 5]}]', "\uff11\uff10", False),
        ('[{"numeric": [">", 5]}]', "1_0", False),
        ('[{"numeric": [">", 5]}]', "9" * 1_000, False),
        ('[{"numeric": [">", 5]}]', "1E99999", False),
    ],
)
def test_a_number_of_an_item_is_compared_as_a_number_in_all_its_digits(values: str, stored: str, verdict: bool) -> None:
    pattern = f'{{"dynamodb": {{"NewImage": {{"size": {{"N": {values}}}}}}}}}'

    assert wants(pattern, item(size={"N": stored})) is verdict


def test_one_number_of_a_set_is_enough() -> None:
    pattern = new_image(sizes={"NS": [{"numeric": [">", 9]}]})

    assert wants(pattern, item(sizes={"NS": ["1", "10"]}))
    assert not wants(pattern, item(sizes={"NS": ["1", "9"]}))


def test_numbers_in_strings_stay_strings_elsewhere() -> None:
    assert not wants(new_image(size={"S": [{"numeric": [">", 5]}]}), item(size={"S": "10"}))
    assert not wants({"N": [{"numeric": [">", 5]}]}, {"N": "10"})


def test_a_number_given_as_a_float_means_what_was_written() -> None:
    assert wants(new_image(size={"N": [0.1]}), item(size={"N": "0.1"}))


# --- what has changed -------------------------------------------------------------------------------------------------


def change(event_name: str, **images: Any) -> dict[str, Any]:
    return {"eventName": event_name, "dynamodb": images}


A, B = {"phase": {"S": "A"}}, {"phase": {"S": "B"}}


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (change("MODIFY", OldImage=A, NewImage=B), True),
        (change("MODIFY", OldImage=A, NewImage=A), False),
        (change("MODIFY", OldImage={}, NewImage=A), True),
        (change("MODIFY", OldImage=A, NewImage={}), True),
        (change("MODIFY", OldImage={}, NewImage={}), False),
        (change("MODIFY", OldImage=A, NewImage=A | {"x": {"S": "1"}}), False),
        (change("INSERT", NewImage=A), True),
        (change("INSERT", NewImage={"x": {"S": "1"}}), False),
        (change("REMOVE", OldImage=A), True),
        (change("REMOVE", OldImage={"x": {"S": "1"}}), False),
    ],
)
def test_an_attribute_has_changed_if_it_differs_between_the_images(record: dict[str, Any], verdict: bool) -> None:
    assert compile_filter([], ["phase"]).matches(record) is verdict


@pytest.mark.parametrize(
    "record",
    [
        change("MODIFY", NewImage=A),
        change("MODIFY", OldImage=A),
        change("MODIFY", OldImage="?", NewImage=A),
        change("INSERT"),
        change("REMOVE"),
        {"eventName": "MODIFY"},
    ],
)
def test_where_an_image_is_missing_it_cannot_tell_and_takes_the_record_for_changed(record: dict[str, Any]) -> None:
    assert compile_filter([], ["phase"]).matches(record)


def test_a_set_in_another_order_has_not_changed() -> None:
    old, new = {"tags": {"SS": ["a", "b"]}}, {"tags": {"SS": ["b", "a"]}}
    changed = compile_filter([], ["tags"])

    assert not changed.matches(change("MODIFY", OldImage=old, NewImage=new))
    assert not changed.matches(
        change("MODIFY", OldImage={"tags": {"L": [{"M": old}]}}, NewImage={"tags": {"L": [{"M": new}]}})
    )


def test_a_list_in_another_order_has_changed() -> None:
    old, new = ({"tags": {"L": [{"S": first}, {"S": second}]}} for first, second in ("ab", "ba"))

    assert compile_filter([], ["tags"]).matches(change("MODIFY", OldImage=old, NewImage=new))


def test_a_list_that_grew_has_changed() -> None:
    old, new = {"tags": {"L": [{"S": "a"}]}}, {"tags": {"L": [{"S": "a"}, {"S": "b"}]}}

    assert compile_filter([], ["tags"]).matches(change("MODIFY", OldImage=old, NewImage=new))


def test_true_is_not_one() -> None:
    old, new = {"x": {"BOOL": True}}, {"x": {"BOOL": 1}}

    assert compile_filter([], ["x"]).matches(change("MODIFY", OldImage=old, NewImage=new))


def test_of_several_attributes_one_that_changed_is_enough() -> None:
    record = change("MODIFY", OldImage=A, NewImage=B)

    assert compile_filter([], ["id", "phase"]).matches(record)
    assert not compile_filter([], ["id", "size"]).matches(record)


def test_a_later_touch_of_a_completed_item_does_not_match_again() -> None:
    once = compile_filter([DEFAULT_PATTERN], ["phase"])
    touched = completed(note={"S": "touched"})
    touched["dynamodb"]["OldImage"] = completed()["dynamodb"]["NewImage"]

    assert not once.matches(touched)
    assert compile_filter([DEFAULT_PATTERN]).matches(touched)


# --- what is refused --------------------------------------------------------------------------------------------------

IMAGE = "dynamodb.NewImage"
OPERATORS = "prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, exists, cidr"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        ('{"a": [1]', "not JSON: Expecting ',' delimiter: line 1 column 10 (char 9)"),
        ("[1]", 'a pattern is an object such as {"eventName": ["MODIFY"]}, not [1]'),
        ('{"a": NaN}', "NaN is not JSON; write a number in digits"),
        ('{"a": [1e99999]}', "1e99999 is not a number that a table can hold (38 digits, exponents of -130 to 125)"),
        ('{"a": ["x"], "a": ["y"]}', "a: stands twice in one object; put all its values into one list"),
        ('{"a": {"b c": [1], "b c": [2]}}', 'a["b c"]: stands twice in one object; put all its values into one list'),
        ('{"eventName": "MODIFY"}', 'eventName: needs a list of values, ["MODIFY"], or an object of names'),
        ('{"a": {}}', "a: an empty object wants nothing; name what must match below it, or leave it out"),
        ('{"a": []}', "a: an empty list matches nothing; name at least one value"),
        ('{"a": [["x"]]}', "a[0]: a list stands in a list; name all values in one"),
        ('{"a": [{}]}', 'a[0]: an empty object is no operator; write one such as {"prefix": "abc"}'),
        ('{"a": [1, {"prefixx": "x"}]}', 'a[1].prefixx: no such operator; did you mean "prefix"?'),
        (
            '{"a": [{"?": "x"}]}',
            f'a[0]["?"]: no such operator; there are {OPERATORS}',
        ),
        (
            '{"a": [{"prefix": "x", "suffix": "y"}]}',
            "a[0]: needs one operator an object; several objects in the list match if any of them does",
        ),
        ('{"a": [{"prefix": 5}]}', 'a[0].prefix: needs a string such as "abc", not 5'),
        ('{"a": [{"prefix": {"suffix": "x"}}]}', 'a[0].prefix.suffix: only "equals-ignore-case" can stand here'),
        (
            '{"a": [{"prefix": {"equals-ignore-case": 5}}]}',
            'a[0].prefix.equals-ignore-case: needs a string such as "abc", not 5',
        ),
        ('{"a": [{"exists": "true"}]}', 'a[0].exists: needs true or false, not "true"'),
        ('{"a": [{"wildcard": "a**b"}]}', "a[0].wildcard: two stars in a row; one matches any run of characters"),
        (
            r'{"a": [{"wildcard": "a\\b"}]}',
            r"a[0].wildcard: a backslash stands before neither * nor \; to mean itself it is written twice",
        ),
        (
            '{"a": [{"numeric": [">"]}]}',
            'a[0].numeric: needs a comparison such as ["=", 5] or [">", 0, "<=", 5], not [">"]',
        ),
        ('{"a": [{"numeric": ["!=", 5]}]}', 'a[0].numeric[0]: "!=" is none of = > >= < <='),
        ('{"a": [{"numeric": [">", "5"]}]}', 'a[0].numeric[1]: needs a number such as 5, not "5"'),
        (
            '{"a": [{"numeric": ["<=", 5, ">", 0]}]}',
            'a[0].numeric: a range names its lower bound first: [">", 0, "<=", 5]',
        ),
        (
            '{"a": [{"numeric": [">", 5, "<", 5]}]}',
            "a[0].numeric: nothing lies between 5 and 5; the lower bound comes first",
        ),
        (
            '{"a": [{"anything-but": []}]}',
            "a[0].anything-but: an empty list excludes nothing; name at least one value",
        ),
        (
            '{"a": [{"anything-but": ["x", 1]}]}',
            'a[0].anything-but: needs strings only or numbers only, not ["x", 1]',
        ),
        ('{"a": [{"anything-but": null}]}', "a[0].anything-but: needs strings only or numbers only, not null"),
        (
            '{"a": [{"anything-but": {"numeric": ["=", 1]}}]}',
            "a[0].anything-but.numeric: only prefix, suffix, equals-ignore-case, wildcard can stand under anything-but",
        ),
        (
            '{"a": [{"anything-but": {"prefix": ["x", ""]}}]}',
            "a[0].anything-but.prefix[1]: no value is without an empty beginning and end; name a character",
        ),
        (
            '{"a": [{"anything-but": {"prefix": {"equals-ignore-case": "x"}}}]}',
            'a[0].anything-but.prefix: needs a string such as "abc", not {"equals-ignore-case": "x"}',
        ),
        (
            '{"a": [{"cidr": "10.0.0.1"}]}',
            'a[0].cidr: "10.0.0.1" has no length; write a range such as "10.0.0.0/24"',
        ),
        (
            '{"a": [{"cidr": "10.0.0/x"}]}',
            'a[0].cidr: "10.0.0/x" is not a range of addresses such as "10.0.0.0/24"',
        ),
        ('{"$or": [{"a": [1]}]}', "$or: needs a list of two or more objects, of which one must match"),
        ('{"$or": {"a": [1]}}', "$or: needs a list of two or more objects, of which one must match"),
        ('{"$or": ["a", "b"]}', "$or: needs a list of two or more objects, of which one must match"),
        (
            '{"$or": [{"a": [1]}, {}]}',
            "$or[1]: an empty object wants nothing; name what must match below it, or leave it out",
        ),
        (
            '{"a": [1], "$or": [{"a": [2]}, {"b": [3]}]}',
            "$or: a is named beside $or and in it; say it in one of the two",
        ),
        (
            '{"dynamodb": {"NewImage": {"phase": ["X"]}}}',
            f'{IMAGE}.phase: needs the type of the attribute around its values: {{"S": ["X"]}}',
        ),
        (
            '{"dynamodb": {"NewImage": [{"exists": true}]}}',
            f'{IMAGE}: is an object; name an attribute and its type in it: {{"phase": {{"S": ["A"]}}}}',
        ),
        (
            '{"NewImage": {"phase": {"S": ["X"]}}}',
            'NewImage.phase.S: the record has it under "dynamodb": {"dynamodb": {"NewImage": ...}}',
        ),
        ('{"Filters": [{"Pattern": "{}"}]}', "Filters: is Lambda's wrapping; give what stands in Pattern itself"),
        ('{"Pattern": "{}"}', "Pattern: is Lambda's wrapping; give what stands in Pattern itself"),
        (r'{"a": ["\ud800"]}', "a[0]: holds half of a surrogate pair, which no item can hold; write both"),
        ({"a": [object()]}, "a[0]: object is no type of JSON; write the value as a string or a number"),
        (
            {"a": [float("inf")]},
            "a[0]: inf is not a number that a table can hold (38 digits, exponents of -130 to 125)",
        ),
        ({5: ["x"]}, "the name 5 is not a string"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused_with_the_path_to_the_fault_and_its_mend(
    pattern: object, message: str
) -> None:
    with pytest.raises(PatternError) as refused:
        compile_filter([pattern])

    assert str(refused.value) == message
    assert message.startswith(refused.value.path)


def test_the_path_to_the_fault_is_there_by_itself() -> None:
    with pytest.raises(PatternError) as refused:
        compile_filter(['{"dynamodb": {"NewImage": {"phase": {"S": [{"prefix": 1}]}}}}'])

    assert refused.value.path == "dynamodb.NewImage.phase.S[0].prefix"


def test_among_several_patterns_the_path_begins_with_the_index() -> None:
    with pytest.raises(PatternError) as refused:
        compile_filter(["{}", '{"a": 5}'])

    assert refused.value.path == "[1].a"


@pytest.mark.parametrize("changed", ["phase", ["phase", ""], ["x"] * 101])
def test_changed_needs_a_list_of_names(changed: Any) -> None:
    with pytest.raises(PatternError, match="needs a list of at most 100 names"):
        compile_filter([], changed)


def test_a_pattern_outside_of_a_list_is_refused() -> None:
    with pytest.raises(PatternError, match="put this one into a list"):
        compile_filter("{}")


def nested(levels: int) -> str:
    return '{"a": ' * levels + '["x"]' + "}" * levels


def test_a_number_too_long_for_python_to_write_is_none_of_a_table() -> None:
    with pytest.raises(PatternError, match=r"^a\[0\]: 0x[0-9a-f]+ is not a number that a table can hold"):
        compile_filter([{"a": [10**5_000]}])


def test_a_refusal_is_a_line_however_long_what_is_refused() -> None:
    with pytest.raises(PatternError) as refused:
        compile_filter([{"x" * 30_000: [{"y" * 30_000: 1}]}])

    assert len(str(refused.value)) < 700
    assert str(refused.value).startswith("xxx")
    assert "no such operator; there are" in str(refused.value)
    assert len(refused.value.path) > 60_000


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        ([nested(DEPTH_MAX)], "nested deeper than 80 levels"),
        ([nested(5_000)], "nested deeper than 80 levels"),
        ([nested(20_000)], "more than 65,536 characters"),
        ([json.dumps({"a": ["x" * CHARACTERS_MAX]})], "more than 65,536 characters"),
        ([{"a": ["x" * CHARACTERS_MAX]}], "more than 65,536 characters"),
        ([{"a": ["x" * (CHARACTERS_MAX // 2)]}, {"b": ["x" * (CHARACTERS_MAX // 2)]}], "more than 65,536 characters"),
        ([{"a": list(range(NODES_MAX))}], "more than 10,000 names and values"),
        ([{"a": [{"wildcard": "*x"}] * (WILDCARDS_MAX + 1)}], "more than 100 wildcards"),
        ([{"a": [{"anything-but": {"wildcard": ["*x"] * (WILDCARDS_MAX + 1)}}]}], "more than 100 wildcards"),
        ([{}] * 101, "101 patterns are more than 100"),
        ([{f"{n}": {"$or": [{"a": [1]}, {"b": [1]}]} for n in range(11)}], "more than 1,000 alternatives"),
        ([{"$or": [{f"{n}": [1]} for n in range(1_001)]}], "more than 1,000 alternatives"),
        (
            [{"a": {f"{n}": [1] for n in range(100)}, "$or": [{f"{n}": [1]} for n in range(100)]}],
            "or 10,000 comparisons in them",
        ),
        (
            [{"a": [{"prefix": f"{n}"} for n in range(101)], "$or": [{f"{n}": [1]} for n in range(100)]}],
            "or 10,000 comparisons in them",
        ),
        (
            [{"a": [{"anything-but": {"suffix": ["x"] * 101}}], "$or": [{f"{n}": [1]} for n in range(100)]}],
            "or 10,000 comparisons in them",
        ),
        (
            [{"a": [{"wildcard": f"*{n}"} for n in range(11)], "$or": [{f"{n}": [1]} for n in range(100)]}],
            "or 10,000 comparisons in them",
        ),
        ([{"$or": [{f"{n}": [1]} for n in range(501)]}] * 2, r"the filter's \$or multiply out to more than 1,000"),
    ],
)
def test_a_filter_is_bounded(patterns: list[object], words: str) -> None:
    with pytest.raises(PatternError, match=words):
        compile_filter(patterns)


def test_a_value_may_be_as_deep_as_dynamodb_nests_it() -> None:
    levels = 32
    pattern = {"dynamodb": {"NewImage": json.loads('{"a": {"M": ' * levels + '{"a": {"S": ["x"]}}' + "}}" * levels)}}
    record = {"dynamodb": {"NewImage": json.loads('{"a": {"M": ' * levels + '{"a": {"S": "x"}}' + "}}" * levels)}}

    assert wants(pattern, record)


def test_lists_may_be_nested_deeper_than_python_recurses() -> None:
    deep: list[Any] = ["x"]
    for _ in range(5_000):
        deep = [deep]

    assert wants({"a": ["x"]}, {"a": deep})
    assert not wants({"a": {"b": ["x"]}}, {"a": deep})


# --- what it says of itself -------------------------------------------------------------------------------------------


def test_a_filter_names_the_ends_of_all_paths_that_it_reads() -> None:
    compiled = compile_filter([DEFAULT_PATTERN, {"$or": [{"a": [1]}, {"b": {"c": [2]}}]}])

    assert compiled.paths == {
        ("eventName",),
        ("dynamodb", "NewImage", "phase", "S"),
        ("a",),
        ("b", "c"),
    }


def test_changed_attributes_are_read_from_both_images() -> None:
    compiled = compile_filter([], ["phase"])

    assert compiled.paths == {("eventName",), ("dynamodb", "NewImage", "phase"), ("dynamodb", "OldImage", "phase")}
    assert compiled.changed == ("phase",)


@pytest.mark.parametrize(
    ("compiled", "new", "old"),
    [
        (compile_filter([DEFAULT_PATTERN]), True, False),
        (compile_filter([{"dynamodb": {"OldImage": {"a": {"S": ["x"]}}}}]), False, True),
        (compile_filter([], ["phase"]), True, True),
        (compile_filter([{"dynamodb": {"Keys": {"a": {"S": ["x"]}}}}]), False, False),
        (compile_filter([]), False, False),
    ],
)
def test_a_filter_says_which_images_it_reads(compiled: Filter, new: bool, old: bool) -> None:
    assert (compiled.reads_new_image, compiled.reads_old_image) == (new, old)


def test_a_filter_has_a_text_for_people() -> None:
    numbers = compile_filter(['{"a": [1.50, null, {"prefix": "é"}]}', '{"b": ["x"]}'], ["phase", "size"])

    assert numbers.text == '{"a": [1.50, null, {"prefix": "é"}]} or {"b": ["x"]}, if phase or size changed'
    assert compile_filter([]).text == "every record"
    assert compile_filter([{}], ["phase"]).text == "every record, if phase changed"


def test_a_verdict_is_explained_path_by_path() -> None:
    compiled = compile_filter([DEFAULT_PATTERN, {"dynamodb": {"NewImage": {"n": {"N": [{"exists": False}]}}}}])

    findings = compiled.explain(item(phase={"S": "CREATED"}))

    assert findings == (
        Finding("eventName", '["MODIFY"]', '"MODIFY"', True, 0),
        Finding("dynamodb.NewImage.phase.S", '["FILE_UPLOAD_COMPLETE"]', '"CREATED"', False, 0),
        Finding("dynamodb.NewImage.n.N", '[{"exists": false}]', "absent", True, 1),
    )


def test_changes_are_explained_with_both_values() -> None:
    compiled = compile_filter([], ["phase", "size"])

    assert compiled.explain(change("MODIFY", OldImage=A, NewImage=B)) == (
        Finding("dynamodb.NewImage.phase", "changed", '{"S": "A"} -> {"S": "B"}', True, None),
        Finding("dynamodb.NewImage.size", "changed", "absent -> absent", False, None),
    )
    assert compiled.explain(change("MODIFY", NewImage=B))[0].found == 'not in the record -> {"S": "B"}'


def test_what_was_found_is_shown_through_lists_and_within_bounds() -> None:
    compiled = compile_filter([new_image(tags={"L": {"S": ["b"]}})])

    (finding,) = compiled.explain(item(tags={"L": [{"S": "a"}, {"S": "b"}]}))
    (long,) = compiled.explain(item(tags={"L": [{"S": "x" * 1_000}]}))

    assert (finding.found, finding.ok) == ('"a", "b"', True)
    assert len(long.found) == 200


# --- what every wanted record holds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "needles"),
    [
        (['{"eventName": ["MODIFY"], "dynamodb": {"NewImage": {"phase": {"S": ["COMPLETE"]}}}}'], {b'"COMPLETE"'}),
        (['{"eventName": ["INSERT", "REMOVE"]}'], {b'"INSERT"', b'"REMOVE"'}),
        (
            ['{"eventName": ["INSERT"]}', '{"eventID": [{"prefix": "ab"}, {"suffix": "yz"}]}'],
            {b'"INSERT"', b'"ab', b'yz"'},
        ),
        (['{"$or": [{"eventName": ["INSERT"]}, {"eventID": ["abcd"]}]}'], {b'"INSERT"', b'"abcd"'}),
        (['{"eventName": ["INSERT"]}', '{"eventID": [{"exists": true}]}'], None),
        (['{"eventName": ["INSERT", {"anything-but": "REMOVE"}]}'], None),
        (['{"eventID": ["abcd", {"exists": false}]}'], None),
        (['{"eventID": [{"equals-ignore-case": "abcd"}]}'], None),
        (['{"eventID": ["a/b"]}'], None),
        (['{"eventID": ["a\\"b"]}'], None),
        (['{"eventID": ["na\\u00efve"]}'], None),
        (['{"eventID": [""]}'], None),
        (['{"dynamodb": {"NewImage": {"n": {"N": [5]}}}}'], None),
        (["{}"], None),
        ([], None),
    ],
)
def test_a_filter_tells_what_every_record_holds_that_it_wants(patterns: list[str], needles: set[bytes] | None) -> None:
    assert compile_filter(patterns).needles == needles
