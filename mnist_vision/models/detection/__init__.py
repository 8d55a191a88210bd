"""The two stages of Faster R-CNN: torchvision's steps for whole batches, without loops over images.

All images of a batch have the same number of proposals, anchors and digits: missing ones are
padding, marked by a mask. The tests hold each step to torchvision's own modules, put together in
`benchmarks/stock_detector.py`.
"""
