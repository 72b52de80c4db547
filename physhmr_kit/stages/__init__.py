"""One LightningModule for each stage of learning; each file holds a loop, top to bottom; `settings.py` all settings.

encoder -> expert -> distill -> finetune. `base.py` makes runs resumable, `build.py` turns settings into a module.
"""
