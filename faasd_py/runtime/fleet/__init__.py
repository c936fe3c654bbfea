"""A function's replicas, whatever each of them is: a process, a container, anything that serves HTTP when dialled."""
