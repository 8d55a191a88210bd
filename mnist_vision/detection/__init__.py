"""The two stages of Faster R-CNN for whole batches: torchvision's steps, without loops over images.

An image has as many proposals, anchors or digits as any other: what is missing is padding, and a
mask says so. `stock.py` puts the same network together from torchvision's own modules; the tests
hold each step here to those.
"""
