"""The page: `python app.py` starts it on this machine, and a Hugging Face Space runs the same file."""

import atexit
import os
import signal

if __name__ == "__main__":
    # a stop in mid-start ends with 0, as a later one does, and leaves no folder: at once, as an exception would end in
    # what is imported just then, as another one or as none
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda *_: (atexit._run_exitfuncs(), os._exit(0)))
    from medseg.commands.app import read_arguments

    read_arguments()

from medseg.app.page import demo, main

__all__ = ["demo"]  # what `gradio app.py` reloads

if __name__ == "__main__":
    main()
