"""The two stages of Faster R-CNN for whole batches: torchvision's steps, without loops over images.

An image has as many proposals, anchors or digits as any other: what is missing is padding, and a
mask says so. The tests hold each step to torchvision's own modules, put together in
`benchmarks/stock_detector.py`.
"""
