"""The page: `python app.py` starts it on this machine, and a Hugging Face Space runs the same file."""

from medseg.app.page import demo, main

__all__ = ["demo"]  # what `gradio app.py` reloads

if __name__ == "__main__":
    main()
