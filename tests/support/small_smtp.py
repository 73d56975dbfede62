"""An SMTP server that keeps what it is sent, for tests of mail."""

from __future__ import annotations

import socketserver
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType


@dataclass
class SmallSmtp:
    """Takes every mail, or refuses all (`refuse`)."""

    mails: list[EmailMessage] = field(default_factory=list)
    refuse: bool = False

    def __enter__(self) -> SmallSmtp:
        outer = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer.serve(self)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def serve(self, session: socketserver.StreamRequestHandler) -> None:
        def say(line: str) -> None:
            session.wfile.write(f"{line}\r\n".encode())

        say("220 test")
        for raw in session.rfile:
            verb = raw.decode().strip().upper().partition(" ")[0]
            if verb == "DATA":
                say("354 go on")
                lines = iter(session.rfile.readline, b".\r\n")
                mail = message_from_bytes(b"".join(lines), policy=policy.default)
                assert isinstance(mail, EmailMessage)
                self.mails.append(mail)
                say("250 taken")
            elif verb == "RCPT" and self.refuse:
                say("550 no such user")
            elif verb == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")
