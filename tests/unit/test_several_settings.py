"""The settings of several applications in one process: what each file says, what must hold between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from poller.errors import ConfigurationError
from poller.settings import InvalidSettings, Settings, load, load_all
from poller.settings.several import OWN, PROCESS
from poller.settings.sources import sections, variables

NOW = 1_795_420_800.0  # 2026-11-23T08:00:00Z
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/{}/stream/2026-11-23T08:00:00.000"
QUEUE = '[[route]]\nqueue = "jobs"\n'

Loading = Callable[..., tuple[Settings, ...]]


def text(table: str, more: str = "", *, stream: str = "") -> str:
    """A file for that table, with more in its [stream], and more sections."""
    return f'[stream]\ntable = "{table}"\n{stream}{more}{QUEUE}'


@pytest.fixture
def loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loading:
    """Loads files that say these texts, named a.toml, b.toml and so on; keywords are variables."""
    monkeypatch.chdir(tmp_path)

    def load_texts(*texts: str, **environ: str) -> tuple[Settings, ...]:
        paths = [Path(f"{name}.toml") for name, _ in zip("abcdef", texts, strict=False)]
        for path, content in zip(paths, texts, strict=True):
            path.write_text(content, "utf-8")
        return load_all(environ, paths, now=NOW)

    return load_texts


def faults(loading: Loading, *texts: str, **environ: str) -> list[str]:
    with pytest.raises(InvalidSettings) as raised:
        loading(*texts, **environ)
    return list(raised.value.faults)


# --- one file, or none ------------------------------------------------------------------------------------------------


def test_one_file_or_none_is_what_it_always_was(loading: Loading) -> None:
    own = {"POLLER_TABLE": "Uploads", "POLLER_QUEUE": "jobs", "POLLER_WORKER_ID": "me"}

    assert load_all(own, []) == (load(own, None),)
    [one] = loading(text("Orders"), POLLER_QUEUE="others", POLLER_START_POSITION="LATEST")
    assert (one.file, one.stream.table_name, one.routes[0].queue) == ("a.toml", "Orders", "others")
    assert load_all({**own, "POLLER_CONFIG": "a.toml"}, [])[0].file == "a.toml"


# --- each its own -----------------------------------------------------------------------------------------------------


def test_each_file_is_an_application_with_a_stream_routes_and_lease_table_of_its_own(loading: Loading) -> None:
    first, second = loading(text("Orders"), text("Payments", '[lease]\ntable = "Places"\nduration = "20s"\n'))

    assert (first.stream.table_name, first.lease_table, first.lease.duration_s) == ("Orders", "Orders-leases", 10.0)
    assert (second.stream.table_name, second.lease_table, second.lease.duration_s) == ("Payments", "Places", 20.0)


def test_the_variable_that_names_a_file_gives_way_to_those_of_the_command_line(loading: Loading) -> None:
    assert len(loading(text("Orders"), text("Payments"), POLLER_CONFIG="/nowhere/poller.toml")) == 2


def test_a_variable_that_means_no_one_application_is_for_all_of_them_and_before_their_files(loading: Loading) -> None:
    settings = loading(
        text("Orders", '[lease]\nduration = "30s"\n'), text("Payments"), POLLER_LEASE__DURATION="20s", AWS_REGION="x-1"
    )

    assert [one.lease.duration_s for one in settings] == [20.0, 20.0]


@pytest.mark.parametrize(
    "setting", [setting for setting in variables() if setting == "lease.table" or setting.split(".")[0] in OWN]
)
def test_a_variable_that_would_have_to_mean_one_of_them_is_refused(setting: str, loading: Loading) -> None:
    variable = variables()[setting]

    assert faults(loading, text("Orders"), text("Payments"), **{variable: "x"}) == [
        (
            f'{variable}="x": there are 2 files, and a variable does not say for which of them;'
            f" write {setting} into the one that is meant"
        )
    ]


# --- the process's own ------------------------------------------------------------------------------------------------


def test_what_is_the_processs_own_may_stand_in_any_file_and_is_the_same_for_all(loading: Loading) -> None:
    settings = loading(
        text("Orders", '[log]\nlevel = "DEBUG"\n'),
        text("Payments", '[http]\nport = 9000\n[log]\nlevel = "debug"\n'),
        text("Refunds", '[metrics]\nper_shard = false\n[lease]\nworker_id = "me"\n'),
    )

    said = {(one.http.port, one.log.level, one.metrics.per_shard, one.lease.worker_id) for one in settings}
    assert said == {(9000, "debug", False, "me")}
    assert str(settings[0].origin("http.port")) == "file b.toml, line 4"


def test_a_worker_id_that_nobody_gave_is_the_same_for_all(loading: Loading) -> None:
    first = loading(text("Orders"), text("Payments"))

    assert len({one.lease.worker_id for one in first}) == 1
    assert first[0].origin("lease.worker_id").kind == "default"


def test_files_that_disagree_about_the_process_are_refused_and_a_variable_decides(loading: Loading) -> None:
    texts = [text("Orders", "[http]\nport = 9000\n"), text("Payments", "[http]\nport = 9001\n")]

    assert faults(loading, *texts) == [
        (
            "http.port = 9001 (b.toml, line 4): a.toml, line 4 says 9000, and there is only one for the whole process;"
            " leave it out of one of the files, or set POLLER_HTTP_PORT"
        )
    ]
    assert [one.http.port for one in loading(*texts, POLLER_HTTP_PORT="9002")] == [9002, 9002]


def test_every_setting_is_the_processs_an_applications_or_for_each_alike() -> None:
    assert {kind.split(".")[0] for kind in (*PROCESS, *OWN)} <= set(sections())
    assert not set(PROCESS) & set(OWN)
    assert {kind for kind in (*PROCESS, *OWN) if "." in kind} <= set(variables())


# --- twice the same ---------------------------------------------------------------------------------------------------


def test_a_file_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^--config a\.toml: given twice; leave one of them out$"):
        load_all({}, [Path("a.toml"), Path("b.toml"), Path("a.toml")])


SAME: list[tuple[str, str, str]] = [
    (
        text("Orders"),
        text("Orders"),
        (
            'stream.table = "Orders" (b.toml, line 2): a.toml reads a table of this name already;'
            " leave one out, or run it in another process"
        ),
    ),
    (
        text("Orders"),
        f'[stream]\narn = "{ARN.format("Orders")}"\n{QUEUE}',
        (
            f'stream.arn = "{ARN.format("Orders")}" (b.toml, line 2): a.toml reads a table of this name already;'
            " leave one out, or run it in another process"
        ),
    ),
    (
        text("Orders"),
        text("Payments", '[lease]\ntable = "Orders-leases"\n'),
        (
            'lease.table = "Orders-leases" (b.toml, line 4): Orders-leases is the lease table of a.toml, and two'
            " applications with one overwrite each other's checkpoints; name another table"
        ),
    ),
    (
        text("Payments", '[lease]\ntable = "Orders-leases"\n'),
        text("Orders"),
        (
            "lease.table (b.toml): Orders-leases is the lease table of a.toml, and two applications with one overwrite"
            " each other's checkpoints; name another table"
        ),
    ),
    (
        text("Payments", '[lease]\ntable = "Orders"\n'),
        text("Orders"),
        (
            'lease.table = "Orders" (a.toml, line 4): Orders is the table that b.toml reads; lease rows need one of'
            " their own"
        ),
    ),
    (
        text("Orders"),
        text("Orders-leases"),
        "lease.table (a.toml): Orders-leases is the table that b.toml reads; lease rows need one of their own",
    ),
]


@pytest.mark.parametrize(("first", "second", "line"), SAME)
def test_the_same_application_twice_or_one_lease_table_for_two_is_refused(
    first: str, second: str, line: str, loading: Loading
) -> None:
    assert faults(loading, first, second) == [line]


def test_tables_of_one_name_in_two_regions_are_two_lease_tables(loading: Loading) -> None:
    settings = loading(
        text("Orders", '[lease]\ntable = "Places"\n', stream='region = "eu-west-1"\n'),
        text("Payments", '[lease]\ntable = "Places"\n', stream='region = "eu-central-1"\n'),
    )

    assert [(one.region, one.lease_table) for one in settings] == [("eu-west-1", "Places"), ("eu-central-1", "Places")]


# --- faults -----------------------------------------------------------------------------------------------------------

BROKEN: list[tuple[str, str, dict[str, str], str]] = [
    (
        "an unknown setting",
        text("Payments", "[polling]\nidle_maximum = '1s'\n"),
        {},
        "polling.idle_maximum (b.toml, line 4): no such setting; did you mean polling.idle_max?",
    ),
    (
        "a value",
        text("Payments", '[lease]\nduration = "10"\n'),
        {},
        'lease.duration = "10" (b.toml, line 4): a duration needs its unit; write "10s" or "10ms"',
    ),
    (
        "a setting that is missing",
        '[stream]\ntable = "Payments"\n[[route]]\nname = "jobs"\n',
        {},
        "route.queue (b.toml, line 3): not set; name the queue that matches are sent to",
    ),
    (
        "a value that does not go with a variable",
        text("Payments", '[aws]\nrequest_timeout = "2s"\nconnect_timeout = "1s"\n'),
        {"POLLER_LEASE__DURATION": "7s"},
        'a.toml: POLLER_LEASE__DURATION="7s": must be longer than three times aws.request_timeout (3s)',
    ),
    (
        "a variable",
        text("Payments"),
        {"POLLER_LEASE__DURATION": "10"},
        'POLLER_LEASE__DURATION="10": a duration needs its unit; write "10s" or "10ms"',
    ),
    (
        "the process's own",
        text("Payments", "[http]\nport = 65536\n"),
        {},
        "http.port = 65536 (b.toml, line 4): must be at most 65535",
    ),
    (
        "an unknown variable",
        text("Payments"),
        {"POLLER_HTTP_PROT": "1"},
        "POLLER_HTTP_PROT: no such setting; did you mean POLLER_HTTP_PORT?",
    ),
]


@pytest.mark.parametrize(("second", "environ", "line"), [one[1:] for one in BROKEN], ids=[one[0] for one in BROKEN])
def test_a_fault_is_one_line_that_names_the_file_in_which_it_is(
    second: str, environ: dict[str, str], line: str, loading: Loading
) -> None:
    assert faults(loading, text("Orders"), second, **environ) == [line]


def test_the_faults_of_all_files_are_told(loading: Loading) -> None:
    wrong = '[lease]\nduration = "10"\n'

    assert faults(loading, text("Orders", wrong), text("Payments", wrong)) == [
        f'lease.duration = "10" ({name}, line 4): a duration needs its unit; write "10s" or "10ms"'
        for name in ("a.toml", "b.toml")
    ]


def test_what_region_and_clock_have_against_a_file_is_told_with_it(loading: Loading) -> None:
    late = text("Payments", stream='start_position = "2999-01-01T00:00:00Z"\n')
    with pytest.raises(ConfigurationError, match=r"^stream\.start_position = .* \(b\.toml, line 3\): is in the future"):
        loading(text("Orders"), late)

    elsewhere = f'[stream]\narn = "{ARN.format("Payments")}"\n{QUEUE}'
    with pytest.raises(ConfigurationError) as raised:
        loading(text("Orders"), elsewhere, AWS_REGION="us-east-1")
    assert str(raised.value) == (
        f'stream.arn = "{ARN.format("Payments")}" (b.toml, line 2): the stream is in eu-west-1, and AWS_REGION is'
        ' us-east-1; set AWS_REGION=eu-west-1, or stream.region = "eu-west-1" to leave AWS_REGION as it is'
    )


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "poller.toml" for folder in ("orders", "payments")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(text(path.parent.name, "[http]\nport = 1.5\n" if path == paths[1] else ""), "utf-8")

    with pytest.raises(InvalidSettings) as raised:
        load_all({}, paths)
    assert str(raised.value) == f"http.port = 1.5 ({paths[1]}, line 4): must be a whole number"


def test_a_file_that_cannot_be_read_is_named_as_it_was_given(tmp_path: Path, loading: Loading) -> None:
    loading(text("Orders"))
    with pytest.raises(ConfigurationError, match=r"^--config nowhere\.toml: no such file; create it, or name another$"):
        load_all({}, [Path("a.toml"), Path("nowhere.toml")])
