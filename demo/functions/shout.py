#!/usr/bin/env python3
"""Answer each line in capitals, as soon as it comes."""

import sys

for line in sys.stdin:
    sys.stdout.write(line.upper())
    sys.stdout.flush()
