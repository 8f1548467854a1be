# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib
import grp
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fedagent.errors import FedagentError, StorageError, UnavailableError
from fedagent.site import control
from fedagent.transport import control_socket
from tests.fakes.daemon import FakeDaemon
from tests.fakes.scenes import NAME, STUDY, sending, site

NOBODY = 65534


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def daemon(runtime: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(runtime, sending()) as running:
        yield running


def spoken(runtime: Path, line: bytes) -> bytes:
    """What comes back for this line, until the daemon ends the connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10.0)
        connection.connect(str(control.socket_path(runtime)))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(line)
            return connection.makefile("rb").read()
    return b""


# --- what may be asked ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("daemon")
def test_the_daemon_tells_its_status(runtime: Path) -> None:
    answer = control.ask(runtime, control.AskStatus())
    assert isinstance(answer, control.StatusAnswer)
    assert (answer.status.site, answer.status.studies[0].study) == ("clinic-a", NAME)


@pytest.mark.usefixtures("daemon")
def test_the_daemon_tells_what_a_study_is(runtime: Path) -> None:
    answer = control.ask(runtime, control.AskStudy(name=NAME))
    assert isinstance(answer, control.StudyAnswer)
    assert answer.study == STUDY
    assert answer.note == "waits for the aggregator to take the update"


@pytest.mark.usefixtures("daemon")
def test_what_the_daemon_refuses_is_an_error(runtime: Path) -> None:
    with pytest.raises(FedagentError, match="no study 'lung-1' is known here"):
        control.ask(runtime, control.AskStudy(name="lung-1"))


def test_whoever_runs_the_daemon_pauses_and_resumes_it(runtime: Path, daemon: FakeDaemon) -> None:
    assert control.ask(runtime, control.AskPause(for_s=60.0, reason="MRI")) == control.Done(text="paused")
    pause = daemon.state.record.pause
    assert pause is not None
    assert pause.reason == "MRI"
    assert control.ask(runtime, control.AskResume()) == control.Done(text="resumed")
    assert daemon.state.record.pause is None
    assert {asked.user for asked in daemon.asked} == {pause.by}


# --- who may ------------------------------------------------------------------------------------------------------------

AS_SOMEBODY = """
import os, sys
from pathlib import Path
from fedagent.errors import FedagentError
from fedagent.site import control
runtime, user, group = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
request = {"status": control.AskStatus(), "pause": control.AskPause(), "resume": control.AskResume()}[sys.argv[4]]
os.chdir(runtime)
os.setgroups([])
os.setgid(group)
os.setuid(user)
try:
    print(type(control.ask(Path("."), request)).__name__)
except FedagentError as error:
    print(error)
"""


def as_somebody(runtime: Path, ask: str, *, user: int = NOBODY, group: int = NOBODY) -> str:
    runtime.chmod(0o755)
    command = [sys.executable, "-c", AS_SOMEBODY, str(runtime), str(user), str(group), ask]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    return ran.stdout.strip()


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@root_only
def test_everybody_may_read_the_status(runtime: Path, daemon: FakeDaemon) -> None:
    assert as_somebody(runtime, "status") == "StatusAnswer"
    assert [asked.user for asked in daemon.asked] == [control._user_name(NOBODY)]


@root_only
@pytest.mark.parametrize("ask", ["pause", "resume"])
def test_not_everybody_may_pause_and_resume(runtime: Path, daemon: FakeDaemon, ask: str) -> None:
    assert as_somebody(runtime, ask) == "only root and group fedagent-admin may pause and resume; try sudo"
    assert daemon.asked == []


@root_only
@pytest.mark.usefixtures("daemon")
def test_the_administrators_group_may(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ADMINISTRATORS", grp.getgrgid(1).gr_name)
    assert as_somebody(runtime, "pause", group=1) == "Done"
    assert as_somebody(runtime, "pause").startswith("only root and group")


@root_only
@pytest.mark.usefixtures("daemon")
def test_a_user_without_a_name_is_a_number(runtime: Path, daemon: FakeDaemon) -> None:
    assert as_somebody(runtime, "status", user=54321) == "StatusAnswer"
    assert [asked.user for asked in daemon.asked] == ["54321"]


def test_a_member_of_the_group_may_whatever_group_the_process_has(monkeypatch: pytest.MonkeyPatch) -> None:
    group = next((each for each in grp.getgrall() if each.gr_mem), None)
    if group is None:
        pytest.skip("no group of this machine lists a member")
    monkeypatch.setattr(control, "ADMINISTRATORS", group.gr_name)
    monkeypatch.setattr(control, "_user_name", lambda _: group.gr_mem[0])
    assert control._may_administrate(control_socket.Peer(54321, 54321))


# --- what is not understood -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"\n", id="nothing"),
        pytest.param(b"status\n", id="no JSON"),
        pytest.param(b"{}\n", id="no request"),
        pytest.param(b'{"ask":"format-the-disk"}\n', id="no such request"),
        pytest.param(b'{"ask":"status","more":1}\n', id="an unknown field"),
        pytest.param(b'{"ask":"study"}\n', id="a field is missing"),
        pytest.param(b'{"ask":"pause","for_s":0}\n', id="a pause of no time"),
        pytest.param(b'{"ask":"pause","for_s":1e12}\n', id="a pause of centuries"),
        pytest.param(b'{"ask":"pause","reason":"' + b"a" * 201 + b'"}\n', id="a reason too long"),
        pytest.param(b'{"ask":"study","name":"\xff"}\n', id="no UTF-8"),
        pytest.param(b"[" * 100_000 + b"\n", id="very deep"),
        pytest.param(b"\x00\xff\x80\n", id="noise"),
    ],
)
def test_what_is_not_understood_is_said_and_harms_nobody(
    runtime: Path, daemon: FakeDaemon, line: bytes
) -> None:
    answer = msgspec.json.decode(spoken(runtime, line), type=control.AnyAnswer)
    assert isinstance(answer, control.Problem)
    assert answer.said.text.startswith("the request is not understood: ")
    assert "(at $" not in answer.said.text
    assert daemon.asked == []
    assert isinstance(control.ask(runtime, control.AskStatus()), control.StatusAnswer)


@pytest.mark.usefixtures("daemon")
def test_a_line_without_end_is_cut_off(runtime: Path) -> None:
    assert spoken(runtime, b"a" * (3 * control_socket.LINE_BYTES)) == b""
    assert isinstance(control.ask(runtime, control.AskStatus()), control.StatusAnswer)


@pytest.mark.usefixtures("daemon")
def test_whoever_asks_and_leaves_disturbs_nobody(runtime: Path) -> None:
    for line in (b"", b'{"ask":', b'{"ask":"status"}\n'):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(control.socket_path(runtime)))
            connection.sendall(line)
    assert isinstance(control.ask(runtime, control.AskStatus()), control.StatusAnswer)


# --- nobody there -----------------------------------------------------------------------------------------------------


def test_a_daemon_that_is_not_there_is_unavailable(runtime: Path) -> None:
    with pytest.raises(
        UnavailableError, match=r"fedagent is not running .*; systemctl start fedagent"
    ) as told:
        control.ask(runtime, control.AskStatus())
    assert told.value.exit_code == 69


def test_a_daemon_that_ended_without_a_word_is_unavailable(runtime: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left_behind:
        left_behind.bind(str(control.socket_path(runtime)))
    with pytest.raises(UnavailableError, match="fedagent is not running"):
        control.ask(runtime, control.AskStatus())
    with FakeDaemon(runtime, site()):
        assert isinstance(control.ask(runtime, control.AskStatus()), control.StatusAnswer)


def test_a_daemon_that_hangs_is_unavailable_in_time(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ANSWER_S", 0.2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.bind(str(control.socket_path(runtime)))
        deaf.listen()
        with pytest.raises(UnavailableError, match="does not answer"):
            control.ask(runtime, control.AskStatus())


def test_a_daemon_gives_up_on_an_answer_in_time(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ANSWER_S", 0.2)
    with FakeDaemon(runtime, site(), deaf=True):
        assert spoken(runtime, b'{"ask":"status"}\n') == b""


def test_the_socket_cannot_be_made_where_there_is_no_folder(tmp_path: Path) -> None:
    async def fails() -> None:
        await control.serve(tmp_path / "missing" / "control.sock", lambda _: None)

    with pytest.raises(StorageError, match="cannot listen on"):
        asyncio.run(fails())


def test_the_socket_is_everybody_s_to_ask(runtime: Path, daemon: FakeDaemon) -> None:
    assert daemon.asked == []
    path = control.socket_path(runtime)
    assert path.stat().st_mode & 0o777 == 0o666
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        assert select.select([], [connection], [], 5.0)[1] == [connection]


@root_only
def test_a_folder_that_may_not_be_entered_is_said_so(runtime: Path, daemon: FakeDaemon) -> None:
    (runtime / "inner").mkdir(mode=0o700)
    control.socket_path(runtime).rename(runtime / "inner" / "control.sock")
    script = AS_SOMEBODY.replace('Path(".")', 'Path("inner")')
    runtime.chmod(0o755)
    command = [sys.executable, "-c", script, str(runtime), str(NOBODY), str(NOBODY), "status"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    assert ran.stdout == "cannot reach fedagent at inner/control.sock: Permission denied; try sudo\n"
    assert daemon.asked == []
