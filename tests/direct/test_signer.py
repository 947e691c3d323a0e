"""The signer beside botocore's own, which it must equal in every case that comes about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from poller.aws.direct.signer import Keys, Signer

URL = "https://streams.dynamodb.eu-west-1.amazonaws.com/"
HOST = "streams.dynamodb.eu-west-1.amazonaws.com"

ids = st.text(st.characters(codec="ascii", categories=("Lu", "Nd")), min_size=1, max_size=32)
tokens = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=400)
keys = st.builds(Keys, ids, tokens, st.none() | tokens)
names = st.from_regex(r"x-amz-[a-z]{1,12}", fullmatch=True)
values = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)
headers = st.dictionaries(names, values, max_size=6).filter(lambda them: not {"x-amz-date"} & them.keys())
moments = st.integers(1_577_836_800, 4_102_444_800).map(lambda second: datetime.fromtimestamp(second, UTC))


def botocores(them: dict[str, str], signed_with: Keys, moment: datetime, body: bytes) -> str:
    """What botocore writes into `Authorization`."""
    request = AWSRequest("POST", URL, headers=them, data=body)
    credentials = Credentials(signed_with.access_key, signed_with.secret_key, signed_with.token)
    with patch("botocore.auth.get_current_datetime", lambda **_: moment.replace(tzinfo=None)):
        SigV4Auth(credentials, "dynamodb", "eu-west-1").add_auth(request)
    return str(request.headers["Authorization"])


def signer(them: dict[str, str]) -> Signer:
    return Signer(URL, {**them, "host": HOST}, "eu-west-1", "dynamodb")


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")


@given(headers, st.lists(st.tuples(keys, moments, st.binary(max_size=200)), min_size=1, max_size=4))
def test_every_signature_is_botocores(them: dict[str, str], requests: list[tuple[Keys, datetime, bytes]]) -> None:
    ours = signer(them)
    for signed_with, moment, body in requests:
        expected = botocores(them, signed_with, moment, body)
        assert ours.sign(signed_with, stamp(moment), body) == expected


def test_the_key_of_a_day_is_not_used_on_the_next() -> None:
    ours, signed_with = signer({}), Keys("AK", "secret", None)
    midnight = datetime(2026, 11, 25, tzinfo=UTC)
    for seconds in (-1, 0, -1):
        moment = midnight + timedelta(seconds=seconds)
        assert ours.sign(signed_with, stamp(moment), b"{}") == botocores({}, signed_with, moment, b"{}")


def test_renewed_credentials_are_used_at_once() -> None:
    ours, moment = signer({}), datetime(2026, 11, 25, tzinfo=UTC)
    for signed_with in (Keys("A", "one", "token"), Keys("A", "two", "token"), Keys("A", "two", None)):
        assert ours.sign(signed_with, stamp(moment), b"{}") == botocores({}, signed_with, moment, b"{}")


@pytest.mark.parametrize("url", ["https://here/path", "https://here/?x=1"])
def test_what_it_does_not_sign_it_refuses(url: str) -> None:
    with pytest.raises(ValueError, match="path or a query"):
        Signer(url, {}, "eu-west-1", "dynamodb")


def test_a_secret_shows_nowhere() -> None:
    assert repr(Keys("AKIA", "very secret", "token")) == "Keys(AKIA)"
