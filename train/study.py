"""Compare members, blends and baselines: `medseg study chest-small`, also `python -m train.study chest-small`."""

from medseg.training.study import main

if __name__ == "__main__":
    main()
