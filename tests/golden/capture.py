"""Made the captures beside it: `sudo .venv/bin/python tests/golden/capture.py`. Real answers of a real kernel."""

from __future__ import annotations

import json
from pathlib import Path

from halfopen.kernel import sockdiag
from halfopen.lab import Lab
from halfopen.wire import inet_diag

HERE = Path(__file__).parent


def raw(lab: Lab, states: int, extensions: int = 0) -> bytes:
    """The bytes of one dump in the server's namespace."""
    with lab.server.run(sockdiag.open_socket) as s:
        pieces = sockdiag.receive(s, inet_diag.dump_request(states, extensions=extensions))
        return b"".join(bytes(piece) for piece in pieces)


def main() -> None:
    """Five half-open connections each over IPv4, IPv6 and IPv4 to an IPv6 listener, as everybody shows them."""
    with Lab(seed=1) as lab:
        four = lab.server.listen(8080)
        both = lab.server.listen(8081, address="::")
        sent = [
            lab.client.half_open(four, 5),
            lab.client.half_open(both, 5, family=6),
            lab.client.half_open(both, 5, family=4),
        ]
        lab.settle(15)
        (HERE / "syn_recv.bin").write_bytes(raw(lab, sockdiag.SYN_RECV_STATES))
        (HERE / "listen.bin").write_bytes(raw(lab, sockdiag.LISTEN_STATES, 1 << 6))
        for name in ("tcp", "tcp6", "snmp", "netstat"):
            text = lab.server.run(lambda name=name: Path(f"/proc/thread-self/net/{name}").read_bytes())  # type: ignore[misc]
            (HERE / f"{name}.txt").write_bytes(text)
        truth = sorted([a, int(p)] for s in sent for a, p in zip(s.addresses(), s.source_port, strict=True))
        (HERE / "truth.json").write_text(json.dumps(truth) + "\n")


if __name__ == "__main__":
    main()
