"""The R-CNN family of object detectors: train, evaluate and predict with R-CNN's descendants in PyTorch."""
