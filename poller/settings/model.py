"""All settings together, and what must hold between them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Self

from pydantic import Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from poller.errors import ConfigurationError
from poller.settings.origins import Origin, Origins
from poller.settings.sections import (
    AwsSettings,
    CheckpointSettings,
    CostSettings,
    HttpSettings,
    LeaseSettings,
    LogSettings,
    MetricsSettings,
    PollingSettings,
    RouteSettings,
    StreamSettings,
    TraceSettings,
    refused,
)
from poller.settings.units import format_duration

ROUTES_MAX = 64


class Settings(BaseSettings):
    """Everything that can be set, valid and frozen. `poller.settings.load` makes it from the environment and a file."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    stream: StreamSettings
    lease: LeaseSettings = Field(default_factory=LeaseSettings)
    polling: PollingSettings = Field(default_factory=PollingSettings)
    checkpoint: CheckpointSettings = Field(default_factory=CheckpointSettings)
    aws: AwsSettings = Field(default_factory=AwsSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    trace: TraceSettings = Field(default_factory=TraceSettings)
    cost: CostSettings = Field(default_factory=CostSettings)
    routes: tuple[RouteSettings, ...] = Field(alias="route", max_length=ROUTES_MAX)

    _origins: Origins = PrivateAttr(default_factory=Origins)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: the process's environment is read in one place, and its faults are told in one form."""
        return (init_settings,)

    @classmethod
    def with_origins(cls, values: Mapping[str, Any], origins: Origins) -> Self:
        """Settings that know who wrote them. pydantic.ValidationError: some value cannot be used."""
        settings = cls(**values)
        settings._origins = origins
        return settings

    def with_parts(self, parts: Mapping[str, Any], new: Self, taken_over: Collection[str]) -> Self:
        """These with other sections or routes, in which `taken_over` (dotted paths) has the values of `new`."""
        settings = self.model_copy(update=dict(parts))
        settings._origins = self._origins.with_those_of(new._origins, taken_over)
        return settings

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        for disagreement in self._disagreements():
            raise disagreement
        return self

    def _disagreements(self) -> Iterator[PydanticCustomError]:
        if self.lease_table == self.stream.table_name:
            yield refused("is the stream's own table; lease rows need a table of their own", "lease.table")
        if len(self.lease_table) > 255:
            yield refused("the table's name with -leases is too long for a table; name the lease table", "lease.table")
        for name, timeout_s in (
            ("request_timeout", self.aws.request_timeout_s),
            ("connect_timeout", self.aws.connect_timeout_s),
        ):
            if 3 * timeout_s < self.lease.duration_s:
                continue
            # A request that hangs must leave time for two more before the lease is over.
            if f"{name}_s" in self.aws.model_fields_set:
                lease = format_duration(self.lease.duration_s)
                yield refused(f"must be below a third of lease.duration ({lease})", f"aws.{name}")
            timeout = format_duration(timeout_s)
            yield refused(f"must be longer than three times aws.{name} ({timeout})", "lease.duration")
        if not self.routes:
            yield refused("none; a stream without a route goes nowhere", "route")
        names = [route.name for route in self.routes]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield refused(
                    f'another route is named "{name}"; give each [[route]] a name of its own', f"route.{index}.name"
                )

    @property
    def lease_table(self) -> str:
        """The lease table's name: as set, or `<table>-leases`."""
        return self.lease.table or f"{self.stream.table_name}-leases"

    @property
    def region(self) -> str | None:
        """The region to work in: as set, or the stream ARN's; None: the one that the AWS_* variables and files name."""
        return self.stream.region or self.stream.arn_region

    @property
    def file(self) -> str:
        """The file they are from: its name, or, of several in one process, as their user named it; "" without one."""
        return self._origins.file

    def origin(self, setting: str) -> Origin:
        """Where the value of a setting comes from. `setting`: its dotted path, `lease.duration` or `route.0.filter`."""
        return self._origins.of(setting)

    def fault(self, setting: str, problem: str) -> ConfigurationError:
        """What to raise when a setting proves wrong later on: names it as its user wrote it, with its value.

        `problem` says what is wrong and what to do about it.
        """
        return ConfigurationError(self._origins.fault(setting, problem))
