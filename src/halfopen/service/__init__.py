"""The process that stays: its two halves, what runs between them, the control socket and what systemd needs."""
