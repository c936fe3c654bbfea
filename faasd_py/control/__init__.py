"""The control plane: quart-trio on hypercorn behind private unix sockets, never on the data path.

control.sock   what the door proxies to: /healthz, /metrics and, with authentication, the operator's `/system`
admin.sock     what the CLI talks to, trusted by the file's permissions: `/system`, and reload
"""
