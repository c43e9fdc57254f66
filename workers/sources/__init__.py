"""Where media comes from: one module per source, each a `Source` (see `base.py`)."""
