"""The health of a watch: heartbeat, problems, status, metrics, and a check before it starts."""
