"""`poller check`: asks AWS about everything that the settings name, and says what it found. It writes nothing."""
