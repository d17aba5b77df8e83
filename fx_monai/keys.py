"""Keys of the sample and batch dictionaries, in one place.

A sample (one image, one task) and a batch (stacked samples) use the same keys. Shape letters: B batch,
S side of the square network input in pixels, K classes of the task, N boxes of one image.

======================  =================================================================================
key                     value in a batch
======================  =================================================================================
``image``               (B, 1, S, S) float32 in [0, 1], display polarity (bone bright); the student's view
``teacher_image``       the same geometry, an independent intensity augmentation; only when training
``labels``              (B, K) float32: 1 present, 0 absent, NaN unknown; classification
``boxes``               list of B tensors (N, 4) float32, xyxy in pixels of the network input; localization
``box_labels``          list of B tensors (N,) int64, class index of each box
``boxes_annotated``     (B, K) bool, classes whose boxes were looked for in the image
``masks``               (B, K, S, S) uint8, 0 or 1; segmentation
``masks_annotated``     (B, K) bool, classes that were looked for in the image
``row``                 (B,) int64, row of the image in its manifest
``filler``              there (True) when the images belong to another process's share and count for nothing
======================  =================================================================================

Dicts for MONAI transforms (:class:`fx_monai.data.items.ManifestItems`) begin as ``image`` (path), ``image_id`` and
``frame``, (width, height) of the annotation frame that boxes and masks refer to.
"""

from __future__ import annotations

IMAGE = "image"
TEACHER_IMAGE = "teacher_image"
LABELS = "labels"
BOXES = "boxes"
BOX_LABELS = "box_labels"
BOXES_ANNOTATED = "boxes_annotated"
MASKS = "masks"
MASKS_ANNOTATED = "masks_annotated"
ROW = "row"
FILLER = "filler"
IMAGE_ID = "image_id"
FRAME = "frame"
