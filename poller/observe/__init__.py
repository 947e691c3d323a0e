"""What the world sees: log lines, metrics and HTTP pages, all made from `poller.events`."""
