"""Lists the packages, which pyproject.toml cannot do for one that lies elsewhere: conf/."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["mnist_vision*"]), "mnist_vision.conf"])
