"""``python -m landscape.cli``."""

from landscape.cli import main

raise SystemExit(main())
