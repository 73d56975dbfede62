"""The service: its two processes, the messages between them, the control socket, and systemd's files."""
