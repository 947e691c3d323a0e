"""Where a test stands in the way of a call: before it takes effect, or between the effect and its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from poller.errors import AwsError, PollerError, Unavailable

# Awaited with the operation's name and the resource; raises to fail the call, waits to delay it.
Gate = Callable[[str, str], Awaitable[None]]


async def open_gate(operation: str, resource: str) -> None:
    """Lets everything pass."""


def failing(error: Callable[[str, str], PollerError], *operations: str, times: int | None = None) -> Gate:
    """Fails the operations (all without names), the first `times` calls or all of them."""
    left = times

    async def gate(operation: str, resource: str) -> None:
        nonlocal left
        if (operations and operation not in operations) or left == 0:
            return
        if left is not None:
            left -= 1
        raise error(operation, resource)

    return gate


def fault(kind: type[AwsError], operation: str, resource: str, code: str) -> AwsError:
    """An answer of the service's that is an error."""
    text = f"{operation} on {resource}: {code}"
    if issubclass(kind, Unavailable):
        return kind(text, operation=operation, resource=resource, code=code, answered=True)
    return kind(text, operation=operation, resource=resource, code=code)


def no_answer(operation: str, resource: str) -> Unavailable:
    """What a caller sees of a lost answer."""
    text = f"{operation} on {resource}: no answer"
    return Unavailable(text, operation=operation, resource=resource, code="ReadTimeoutError", answered=False)
