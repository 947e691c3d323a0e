"""Real servers for tests, each a process of its own: DynamoDB Local, ElasticMQ, moto; and a relay to cut them off.

`with ElasticMq(folder) as server:` listens at `server.url` until the block ends.
"""

from tests.servers.local import DynamoDbLocal, ElasticMq, Moto, missing_for_real_servers
from tests.servers.process import ServerError, ServerProcess
from tests.servers.relay import Relay

__all__ = [
    "DynamoDbLocal",
    "ElasticMq",
    "Moto",
    "Relay",
    "ServerError",
    "ServerProcess",
    "missing_for_real_servers",
]
