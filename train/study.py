"""Repeat a study of the seed systems: `python -m train.study chest-small`."""

from medseg.training.study import main

if __name__ == "__main__":
    main()
