"""`gateway serve` as a user meets it: two starts, the printed example, the end."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client import bearer
from tests.ports import free_port

RecordProperty = Callable[[str, object], None]
PATIENCE = 60


@pytest.fixture
def environment(data_dir: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "GATEWAY_PORT": str(free_port()),
        "GATEWAY_DATA_DIR": str(data_dir / "data"),
    }


def gateway(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "gateway", *arguments),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


SERVE = (sys.executable, "-m", "gateway", "serve")


class Served:
    """A running `gateway serve`: how long it took to be ready, and what it printed."""

    def __init__(
        self,
        environment: Mapping[str, str],
        out: Path,
        *,
        command: tuple[str, ...] = SERVE,
        directory: Path | None = None,
    ) -> None:
        self.port = int(environment["GATEWAY_PORT"])
        self.out = out
        self._began = time.monotonic()
        with out.open("w") as stdout, out.with_suffix(".log").open("w") as stderr:
            self.process = subprocess.Popen(
                command, cwd=directory, env=environment, stdout=stdout, stderr=stderr
            )

    def await_ready(self) -> float:
        """Seconds from the start of Python until `/health/ready` answered 200."""
        while time.monotonic() < self._began + PATIENCE:
            if self.answers():
                return time.monotonic() - self._began
            assert self.process.poll() is None, self.out.with_suffix(".log").read_text()
            time.sleep(0.01)
        raise TimeoutError

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def printed(self) -> str:
        """What stands on stdout once the example is there."""
        deadline = time.monotonic() + 10
        while "print(" not in self.out.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.out.read_text()

    def end(self, number: int = signal.SIGTERM) -> float:
        """Seconds that it took to end."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        return time.monotonic() - began


@contextmanager
def serving(
    environment: Mapping[str, str], out: Path, command: tuple[str, ...] = SERVE
) -> Iterator[Served]:
    served = Served(environment, out, command=command)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
            served.process.wait()


def example(printed: str) -> str:
    lines = printed.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("from "))
    return "\n".join(lines[start : start + 3])


def run_example(printed: str) -> str:
    told = subprocess.run(
        (sys.executable, "-c", example(printed)), capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_two_starts_and_the_printed_example(
    environment: dict[str, str],
    tmp_path: Path,
    data_dir: Path,
    record_property: RecordProperty,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = data_dir / "data"
    with serving(environment, tmp_path / "first") as served:
        first = served.await_ready()
        printed = served.printed()
        key = re.search(r"agw_root_\S{43}", printed)
        assert key is not None
        assert "REHEARSAL" in printed
        assert f"http://127.0.0.1:{served.port}/api/agency/1" in printed
        assert (data / "root_key").stat().st_mode & 0o777 == 0o600
        assert (data / "root_key").read_text().strip() == key[0]
        assert run_example(printed).strip()
        log = served.out.with_suffix(".log").read_text()
        assert "rehearsal" in log
        assert key[0] not in log
        assert served.end() < 10
        assert served.process.returncode == 0
    assert not (data / "postgres" / "postmaster.pid").exists()

    with serving(environment, tmp_path / "second") as served:
        second = served.await_ready()
        printed = served.printed()
        assert key[0] not in printed
        assert str(data / "root_key") in printed
        assert run_example(printed).strip()
        assert served.end(signal.SIGINT) < 10
    assert not (data / "postgres" / "postmaster.pid").exists()
    record_property("first_start", first)
    record_property("second_start", second)
    with capsys.disabled():
        sys.stdout.write(
            f"\nready {first:.2f} s after the first start, {second:.2f} s after the second\n"
        )
    assert second < 15


def test_a_port_that_is_taken_is_said_in_a_sentence(environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(environment["GATEWAY_PORT"])))
        taken.listen()
        ended = gateway(environment, "serve")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "can't be used" in ended.stderr
    assert "GATEWAY_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_proxy_in_the_environment_is_no_way_to_this_machine(
    environment: dict[str, str], tmp_path: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    proxied = {"HTTP_PROXY": nobody, "HTTPS_PROXY": nobody, "ALL_PROXY": nobody}
    with serving({**environment, **proxied}, tmp_path / "out") as served:
        served.await_ready()
        assert "NO_PROXY=127.0.0.1" in served.printed()
        assert run_example(served.printed()).strip()


def test_a_supervisor_may_close_the_standard_streams(
    environment: dict[str, str], tmp_path: Path
) -> None:
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *SERVE)
    with serving(environment, tmp_path / "out", command=closed) as served:
        served.await_ready()


def test_commands_work_beside_a_gateway_and_alone(
    environment: dict[str, str], tmp_path: Path
) -> None:
    made = gateway(environment, "keys", "create", "ann", "--scope", "chat", "--scope", "agencies")
    assert made.returncode == 0, made.stderr
    assert re.fullmatch(r"agw_[0-9a-f]{16}_\S{43}\n", made.stdout)
    with serving(environment, tmp_path / "out") as served:
        served.await_ready()
        key_id = made.stdout.split("_")[1]
        listed = gateway(environment, "keys", "list")
        assert f"{key_id}  ann" in listed.stdout
        assert made.stdout.strip() not in listed.stdout
        assert gateway(environment, "keys", "revoke", key_id).returncode == 0
        assert "revoked" in gateway(environment, "keys", "list").stdout
        assert served.answers()
        again = gateway(environment, "serve")
        assert (again.returncode, "already serves" in again.stderr) == (1, True)
        served.end()
    assert gateway(environment, "keys", "revoke", "root").returncode == 1
    assert gateway(environment, "keys", "revoke", "nobody").returncode == 1
    assert "up to date" in gateway(environment, "migrate").stdout


def test_a_gateway_that_was_killed_is_not_in_the_way_of_the_next(
    environment: dict[str, str], tmp_path: Path, data_dir: Path
) -> None:
    with serving(environment, tmp_path / "killed") as served:
        served.await_ready()
        served.end(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while served.answers() and time.monotonic() < deadline:  # its worker sees that it is alone
        time.sleep(0.05)
    with serving(environment, tmp_path / "next") as served:
        served.await_ready()
        served.end()
    assert not (data_dir / "data" / "postgres" / "postmaster.pid").exists()


def test_the_operators_root_key_is_the_only_one(
    environment: dict[str, str], tmp_path: Path, data_dir: Path
) -> None:
    for key in ("My-first-key", "My-second-key"):
        with serving({**environment, "GATEWAY_ROOT_KEY": key}, tmp_path / "out") as served:
            served.await_ready()
            assert key not in served.printed()
            for tried in ("My-first-key", "My-second-key"):
                connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
                headers = bearer(tried)
                connection.request("GET", "/api/me", headers=headers)
                assert (connection.getresponse().status == 200) is (tried == key)
                connection.close()
            served.end()
    assert not (data_dir / "data" / "root_key").exists()


def test_secrets_are_read_from_files(environment: dict[str, str], tmp_path: Path, dsn: str) -> None:
    for name, value in (("DATABASE_URL", dsn), ("GATEWAY_ROOT_KEY", "agw_root_kept")):
        (tmp_path / name).write_text(f"{value}\n")
        environment[f"{name}_FILE"] = str(tmp_path / name)
    with serving(environment, tmp_path / "out") as served:
        served.await_ready()
        printed = served.printed()
        assert "agw_root_kept" not in printed
        key = re.search(r"api_key=(open\(.*?\)\.read\(\)\.strip\(\))", printed)
        assert key is not None
        told = subprocess.run(
            (sys.executable, "-c", f"print({key[1]})"), capture_output=True, text=True, check=True
        )
        assert told.stdout.strip() == "agw_root_kept"
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
        connection.request("GET", "/api/me", headers={"x-api-key": "agw_root_kept"})
        assert connection.getresponse().status == 200
        connection.close()
        served.end()


@pytest.mark.parametrize("variable", ["GATEWAY_PORT", "GATEWAY_WORKERS", "GATEWAY_ROOT_KEY"])
def test_a_setting_that_cannot_be_used_is_named(environment: dict[str, str], variable: str) -> None:
    value = "agw_someone_secret" if variable == "GATEWAY_ROOT_KEY" else "many"
    ended = gateway({**environment, variable: value}, "serve")
    assert ended.returncode == 1
    assert variable in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["serve", "migrate", "doctor"])
def test_a_place_that_cannot_hold_files_is_named(
    environment: dict[str, str], tmp_path: Path, command: str
) -> None:
    """As a read-only folder is, which root may write to all the same."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "in", Path("/proc/gateway")):
        ended = gateway({**environment, "GATEWAY_DATA_DIR": str(place)}, command)
        assert ended.returncode == 1
        told = ended.stderr + ended.stdout
        assert str(place) in told
        assert "Traceback" not in told


def test_the_doctor_finds_all_well_where_nothing_is_set(environment: dict[str, str]) -> None:
    told = gateway(environment, "doctor")
    assert told.returncode == 0, told.stdout
    assert re.search(r"ok +postgres", told.stdout)
    assert re.search(r"ok +chroma +embedded", told.stdout)
    assert re.search(r"ok +upstream +rehearsal", told.stdout)


def test_the_doctor_says_what_to_do_about_each_failure(environment: dict[str, str]) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    away = {
        "DATABASE_URL": f"postgresql://x@{nobody}/x",
        "REDIS_URL": f"redis://{nobody}",
        "CHROMA_URL": f"http://{nobody}",
        "OPENAI_BASE_URL": f"http://{nobody}/v1",
    }
    told = gateway({**environment, **away}, "doctor")
    assert told.returncode == 1
    for name in ("postgres", "redis", "chroma", "upstream"):
        assert re.search(rf"failed +{name}", told.stdout), told.stdout
    assert all(variable in told.stdout for variable in away)
    assert "Traceback" not in told.stderr
