"""The hot calls without boto3's call path: one HTTP/1.1 client on the event loop, and a signer that keeps its key.

What is sent where, with which credentials and under which trust is boto3's own decision (`blueprint`, `trust`,
`credentials`); only the way is another.
"""
