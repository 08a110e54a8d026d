"""A real Redis on a free port."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

import redis

# The manifests' configuration: Redis refuses to start with a directive that it does not know.
_CONF = Path(__file__).parents[2] / "deploy" / "k8s" / "components" / "redis" / "redis.conf"


class RedisServer:
    """A redis-server that writes every command to disk before it answers. `more`: further options of redis-server."""

    def __init__(self, folder: Path, *more: str, password: str = "") -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._folder, self._more, self._password = folder, more, password
        self.start()

    def start(self) -> None:
        configuration = self._folder / "redis.conf"
        configuration.write_text(_CONF.read_text().replace("dir /data", f"dir {self._folder}"))
        # Without the manifests' TLS, whose certificate is a secret.
        plain = ["--port", str(self.port), "--tls-port", "0", "--bind", "127.0.0.1", "--save", ""]
        command = ["redis-server", str(configuration), *plain, "--requirepass", self._password, *self._more]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        client = self.client()
        deadline = time.monotonic() + 20
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)  # between two tries to connect

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=self._password or None)
