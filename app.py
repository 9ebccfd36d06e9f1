"""The page: `python app.py` starts it on this machine, and a Hugging Face Space runs the same file."""

import signal
import sys

if __name__ == "__main__":  # a stop in mid-start ends with 0, as a later one does, and leaves no folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

from medseg.app.page import demo, main

__all__ = ["demo"]  # what `gradio app.py` reloads

if __name__ == "__main__":
    main()
