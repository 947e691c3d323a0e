"""Which certificates are trusted: those that boto3 trusts."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from typing import Any

from botocore.httpsession import create_urllib3_context, get_cert_path


def certificates(session: Any) -> str:
    """The file of trusted certificates, as botocore chooses it: ca_bundle, AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE, its own.

    `session`: a botocore session.
    """
    # The order of `botocore.session.Session.create_client` and `botocore.endpoint.EndpointCreator`.
    chosen = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    return str(chosen or get_cert_path(True))


@lru_cache(maxsize=1)
def context(certificates: str) -> ssl.SSLContext:
    """botocore's own kind of context, checking names and certificates. Takes some 20 ms. OSError: no such file."""
    made: ssl.SSLContext = create_urllib3_context()
    made.load_verify_locations(cafile=certificates)
    made.set_alpn_protocols(["http/1.1"])
    return made
