"""`python -m clearline`: the command by the interpreter's own path, as processes start it."""

import signal
import sys

try:
    # Whoever started this may have held Ctrl-C back until here (clearline/house/command.py).
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    from clearline.cli import main

    main()
except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)
