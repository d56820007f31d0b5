"""A watch: the loop that joins monitor, ledger and work, with its log, heartbeat and metrics."""
