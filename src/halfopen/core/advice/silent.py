"""Listeners where a client that was given up is hurt silently: the server speaks first, and the client waits for it.

A client whose last ACK was lost, and whose request is gone, believes that it is connected. If it speaks first, its data
meets a RST and it knows; if it waits for the server's greeting, it hangs until its own time runs out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from halfopen.core.sample import Process

# By the port that IANA gave the protocol; implicit TLS (465, 993, 995) is not among them: there the client begins.
BY_PORT: Final = {
    21: "FTP",
    22: "SSH",
    23: "Telnet",
    25: "SMTP",
    110: "POP3",
    119: "NNTP",
    143: "IMAP",
    587: "SMTP",
    3306: "MySQL",
    4190: "ManageSieve",
    5900: "VNC",
    33060: "MySQL X",
}
BY_PROGRAM: Final = {
    "sshd": "SSH",
    "dropbear": "SSH",
    "mysqld": "MySQL",
    "mariadbd": "MySQL",
    "vsftpd": "FTP",
    "proftpd": "FTP",
    "pure-ftpd": "FTP",
    "exim": "SMTP",
    "exim4": "SMTP",
    "smtpd": "SMTP",
    "telnetd": "Telnet",
    "Xvnc": "VNC",
}


def speaks_first(port: int, processes: Iterable[Process]) -> str:
    """The protocol in which the server probably speaks first, by the name of the program that listens or the port; "":
    none is known. Only the traffic itself would tell for certain.
    """
    for process in processes:
        if process.name in BY_PROGRAM:
            return BY_PROGRAM[process.name]
    return BY_PORT.get(port, "")
