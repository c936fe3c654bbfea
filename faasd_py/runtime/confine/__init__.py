"""What keeps a function's processes within bounds: its share of the machine, its user, the files it sees, its system calls.

cgroup.py      the share: a control group for each confined function (the daemon's end)
host.py        what this machine can enforce, found out once
bounds.py      from a function's settings to what is to be enforced, and what stands against it
runner.py      a program: the spawn helper of one function, which confines itself first; what it starts inherits that
kernel.py, landlock.py, seccomp.py, syscalls.py, identity.py, files.py    each step of it; the standard library only
"""
