"""The LightningModule, data module and settings of each training stage: encoder -> expert -> distill -> finetune.

`base.py` makes runs resumable, `build.py` builds a module from settings, `settings.py` holds all settings.
"""
