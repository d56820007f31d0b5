"""How a watch is: its heartbeat, what is wrong with it, its status, a check beforehand, metrics."""
