"""Importers: motion files, videos, results of other tools and benchmarks become the kit's `Clip`, `KeypointTrack` or `VisualTrack`.

One module per source. `retargeting/` moves captured motion onto SMPL's 24 joints, `keypoints/` reads keypoint files and tracks one
person in them, `detectors/` holds scripts that run in environments of their own.
"""
