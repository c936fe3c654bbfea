"""What turns a request into a function's answer. Knows no lease, retry or callback."""
