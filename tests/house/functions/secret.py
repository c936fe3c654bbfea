"""A function that tells what its secret `word` is."""

import os
import sys
from pathlib import Path

sys.stdout.write((Path(os.environ["SECRETS_DIR"]) / "word").read_text())
