"""Measured figures: each module prints greppable lines `name: value unit`. `make bench` runs them all."""
