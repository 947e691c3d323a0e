"""The adapters of the ports in `poller.run.ports` to AWS: the only place that knows boto3."""
