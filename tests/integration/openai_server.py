"""A small HTTP server with OpenAI's API, which answers as a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ScriptedEndpoint:
    """`script`: what each call gets, in order; the last one also serves later calls. A list of texts is streamed; a
    dict is a call of the tool with these arguments; "hang" sends nothing, "garbage" sends no JSON, "error" is HTTP 500.
    A pause in seconds may stand in a list. A call without streaming gets a text.
    """

    def __init__(self, script: Sequence[Any], usage: dict[str, int] | None = None) -> None:
        self.script, self.usage, self.requests = list(script), usage, list[dict[str, Any]]()
        self.released = threading.Event()

    def next(self) -> Any:
        return self.script[min(len(self.requests), len(self.script)) - 1]


@contextmanager
def serving(endpoint: ScriptedEndpoint) -> Iterator[str]:
    """Gives the base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            endpoint.requests.append(json.loads(body))
            answer = endpoint.next()
            if answer == "hang":
                endpoint.released.wait(20)
                return
            is_stream = endpoint.requests[-1].get("stream", False)
            self.send_response(500 if answer == "error" else 200)
            self.send_header("Content-Type", "text/event-stream" if is_stream else "application/json")
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # the client has given up
                self._send(answer)

        def _send(self, answer: Any) -> None:
            if not endpoint.requests[-1].get("stream") and answer not in ("garbage", "error"):
                choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
                self.wfile.write(json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}).encode())
                return
            if answer in ("garbage", "error"):
                self.wfile.write(b"data: \xff\xfe{not json\n\ndata: 7\n\n")
                return
            if isinstance(answer, dict):
                call = {"index": 0, "id": "call_1", "type": "function"}
                for part in ({"name": "read_details", "arguments": ""}, {"arguments": json.dumps(answer)}):
                    self._chunk({"tool_calls": [call | {"function": part}]})
            else:
                for piece in answer:
                    if isinstance(piece, float):
                        endpoint.released.wait(piece)
                    else:
                        self._chunk({"content": piece})
            if endpoint.usage:
                self._event({"choices": [], "usage": endpoint.usage})
            self.wfile.write(b"data: [DONE]\n\n")

        def _chunk(self, delta: dict[str, Any]) -> None:
            self._event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

        def _event(self, content: dict[str, Any]) -> None:
            whole = {"id": "1", "object": "chat.completion.chunk", "created": int(time.time()), "model": "m"} | content
            self.wfile.write(f"data: {json.dumps(whole)}\n\n".encode())
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        endpoint.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
