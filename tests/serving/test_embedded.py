"""The embedded Postgres runs as long as somebody uses it, and survives what befalls it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from gateway.errors import Unavailable
from gateway.postgres.account import runnable, server_account
from gateway.postgres.embedded import running
from gateway.postgres.postmaster import SOCKET, Postmaster

FAST = {"fsync": "off"}
HOLD = """
import sys
from pathlib import Path
from gateway.postgres.account import runnable, server_account
from gateway.postgres.embedded import running
with running(Path(sys.argv[1]), {"fsync": "off"}) as dsn:
    print(dsn, flush=True)
    sys.stdin.read()
"""


def answers(directory: Path) -> bool:
    return (directory / "postmaster.pid").exists()


async def asked(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def test_what_was_written_is_there_at_the_next_start(data_dir: Path) -> None:
    with running(data_dir / "postgres", FAST) as dsn:
        await asked(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert await asked(dsn, "SHOW unix_socket_permissions") == "0700"
        assert await asked(dsn, "SHOW listen_addresses") == ""
    assert not answers(data_dir / "postgres")
    with running(data_dir / "postgres", FAST) as dsn:
        assert await asked(dsn, "SELECT answer FROM kept") == 42


async def test_the_last_to_leave_stops_it(data_dir: Path) -> None:
    with running(data_dir / "postgres", FAST) as outer:
        with running(data_dir / "postgres", FAST) as inner:
            assert inner == outer
        assert await asked(outer, "SELECT 1") == 1
    assert not answers(data_dir / "postgres")


async def test_a_user_that_was_killed_does_not_keep_it_alive(data_dir: Path) -> None:
    directory = data_dir / "postgres"
    holder = subprocess.Popen(
        (sys.executable, "-c", HOLD, str(directory)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    holder.stdin.close()
    assert answers(directory)  # it went on, and is found
    with running(directory, FAST) as dsn:
        assert await asked(dsn, "SELECT 1") == 1
    assert not answers(directory)


async def test_an_old_pid_that_another_process_has_now_is_no_server(data_dir: Path) -> None:
    directory = data_dir / "postgres"
    with running(directory, FAST) as dsn:
        pid = int((directory / "postmaster.pid").read_text().splitlines()[0])
        lines = (directory / "postmaster.pid").read_text().splitlines()[1:]
        os.kill(pid, signal.SIGQUIT)  # as a power cut: nothing is tidied up
        while Path(f"/proc/{pid}").exists():
            pass
        (directory / SOCKET).unlink(missing_ok=True)
        (directory / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines]))
        with running(directory, FAST) as dsn:
            assert await asked(dsn, "SELECT 1") == 1


async def test_a_long_or_odd_path_is_no_obstacle(data_dir: Path) -> None:
    directory = data_dir / "a path's" / ("x" * 120) / "postgres"
    with running(directory, FAST) as dsn:
        assert await asked(dsn, "SELECT 1") == 1
        sockets = Path(str(await asked(dsn, "SHOW unix_socket_directories")).strip('"'))
    assert sockets != directory
    assert sockets.stat().st_mode & 0o077 == 0
    sockets.rmdir()


def test_data_of_another_version_is_left_alone(data_dir: Path) -> None:
    directory = data_dir / "postgres"
    directory.mkdir()
    (directory / "PG_VERSION").write_text("16\n")
    with (
        pytest.raises(Unavailable, match="made by Postgres 16"),
        running(directory, FAST),
    ):
        pass


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="Postgres has an account of its own as root")


def modes(*paths: Path) -> list[int]:
    return [path.stat().st_mode & 0o777 for path in paths]


@as_root
async def test_as_root_it_runs_in_a_place_that_is_closed_to_its_account(data_dir: Path) -> None:
    home = data_dir / "home"
    home.mkdir(mode=0o700)
    inside = home / "project" / ".gateway"
    with running(inside / "postgres", FAST) as dsn:
        await asked(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        await asked(dsn, "CHECKPOINT")
        with running(inside / "postgres", FAST) as again:
            assert await asked(again, "SELECT answer FROM kept") == 42
    assert modes(data_dir, home, inside, inside / "postgres") == [0o700] * 4
    assert not answers(inside / "postgres")
    with running(inside / "postgres", FAST) as dsn:
        assert await asked(dsn, "SELECT answer FROM kept") == 42


@as_root
async def test_as_root_a_crash_leaves_nothing_that_stops_the_next_start(data_dir: Path) -> None:
    directory = data_dir / "postgres"
    with running(directory, FAST) as dsn:
        assert await asked(dsn, "SELECT 1") == 1
        pid = int((directory / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGQUIT)
        while Path(f"/proc/{pid}").exists():
            pass
        with running(directory, FAST) as again:
            assert await asked(again, "SELECT 1") == 1


@as_root
def test_as_root_binaries_in_a_closed_place_are_copied_and_stay_as_they_are(
    data_dir: Path,
) -> None:
    account = server_account()
    package = Postmaster(data_dir / "postgres", {}).install.parent
    closed, copies = data_dir / "closed", data_dir / "copies"
    closed.mkdir(mode=0o700)
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, closed / part.name, symlinks=True)
    data_dir.chmod(0o755)
    installed = closed / package.name / "pginstall18"
    copy = runnable(installed, account, copies)
    assert copy.is_relative_to(copies)
    assert runnable(installed, account, copies) == copy
    assert runnable(copy, account, copies) == copy
    assert modes(closed) == [0o700]
    for program in ("initdb", "postgres", "pg_ctl"):
        line = (copy / "bin" / program, "--version")
        subprocess.run(line, user="pgserver", cwd="/", check=True)
    assert len(list(copies.iterdir())) == 1
