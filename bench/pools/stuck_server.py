"""A server program of a scene: http.server with a thread for each client, all of which wait for a lock that is held.

`stuck_server.py ADDRESS PORT`. Says "ready".
"""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HELD = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """Answers nobody."""

    def do_GET(self) -> None:
        with HELD:
            self.send_response(200)


HELD.acquire()
server = ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
print("ready", flush=True)
server.serve_forever()
