"""Delivery of notices to receivers: Alertmanager, webhooks, chat and mail, the journal, a command."""
