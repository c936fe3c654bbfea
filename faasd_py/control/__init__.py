"""A desk: the control plane, a quart-trio app on a private unix socket."""
