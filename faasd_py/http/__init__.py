"""HTTP/1.1 on trio with llhttp: a server, a pooled client, and nothing about functions or queues."""
