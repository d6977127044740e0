"""Tables of finished runs, with published values beside them: collect.py output/ [--format html --out table.html]."""

from mdistiller_icc.commands.collect import main
from mdistiller_icc.errors import exit_status

if __name__ == "__main__":
    raise SystemExit(exit_status(main))
