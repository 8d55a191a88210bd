"""Train and compare vision architectures on MNIST.

Kept free of imports: a command line answers before torch is loaded.
"""

__version__ = "0.1.0"
