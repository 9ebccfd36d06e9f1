"""Cross-validate an ensemble: `python -m train.folds train/recipes/chest-*.toml --output runs/folds/chest`."""

from medseg.training.folds import main

if __name__ == "__main__":
    main()
