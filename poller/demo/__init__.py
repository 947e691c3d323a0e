"""`poller demo`: the user's side of the daemon, on an emulator: somebody who uploads and somebody who analyses.

Pure: story, ledger. The two sides, each a thread: writer, consumer. Their world: emulator, children, stage.
"""
