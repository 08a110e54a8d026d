"""A real PostgreSQL on a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Self

import psutil
import psycopg

_START_S = 60


def postgres_path() -> str:
    """Where PostgreSQL's programs are: Debian keeps them out of PATH. As PATH, the newest version first."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: -float(folder.parent.name))
    return os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")])


class PostgresServer:
    """A PostgreSQL that writes every commit to disk before it answers. It refuses to run as root: it then runs as the
    user that Debian's package makes.
    """

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        # Not below pytest's own folder, which only its user can enter.
        self._folder = Path(tempfile.mkdtemp(prefix="kairos-postgres-"))
        # Before each command. Not `user=` of Popen: it would fork, which may hang where gRPC has threads.
        self._as: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        initdb = [
            *self._as,
            self._program("initdb"),
            "-D",
            self._data,
            "-U",
            "kairos",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=self._folder)
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Returns when it takes connections."""
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "16MB"}
        command = [*self._as, self._program("postgres"), "-D", self._data, "-p", str(self.port)]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        deadline = time.monotonic() + _START_S
        self._process = self._started(command)
        while True:
            try:
                psycopg.connect(f"postgresql://kairos@127.0.0.1:{self.port}/postgres", connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                if self._process.poll() is not None:
                    self._process = self._started(command)
                time.sleep(0.05)  # between two tries to connect

    def kill(self) -> None:
        """SIGKILL for all of its processes, which have sessions of their own."""
        members = [psutil.Process(self._process.pid)]
        members += members[0].children(recursive=True)
        for member in members:
            member.send_signal(signal.SIGKILL)
        self._process.wait()
        while any(map(_runs, members[1:])):
            time.sleep(0.01)  # until the kernel has ended them

    def database(self) -> str:
        """A new empty database. Its address, as SQLAlchemy writes it."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(f"postgresql://kairos@127.0.0.1:{self.port}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://kairos@127.0.0.1:{self.port}/{name}"

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _program(self, name: str) -> str:
        found = shutil.which(name, path=postgres_path())
        assert found is not None, f"{name} is missing"
        return found

    def _started(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
