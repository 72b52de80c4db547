"""One LightningModule for each stage of learning; each file holds its settings and its loop, top to bottom.

encoder -> expert -> distill -> finetune. `base.py` makes runs resumable, `build.py` turns settings into a module.
"""
