"""Training one member. A package, not a bare folder: any `train.py` further down the path would win over that."""
